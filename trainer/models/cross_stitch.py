"""Cross-stitch networks."""

from __future__ import annotations

from dataclasses import dataclass

from beam_jobs.options import setting
from trainer.keras import tf
from trainer.layers.cross_stitch import CrossStitchNetwork
from trainer.layers.domain_dense import DomainDense
from trainer.models.base import CTRModel, Inputs
from trainer.models.split import split_hidden_units


class CrossStitch(CTRModel):
    """A network a domain, with cross-stitch units after every hidden layer (Misra et al. 2016;
    STAR 4.1), and a logit of its own for every domain.

    Every row goes through all domains' networks, which this architecture cannot do without:
    see `CrossStitchNetwork`.
    """

    @dataclass(frozen=True)
    class Options(CTRModel.Options):
        """
        Attributes:
            own: the weight of a domain's own activations at the start; the other domains'
                share the rest.
        """

        own: float = setting(0.9, above=0, maximum=1)

    def build_network(self) -> None:
        units, _ = split_hidden_units(self.config, len(self.config.hidden_units),
                                      'own', least=1)
        self.stitched = CrossStitchNetwork(units, self.num_domains, self.options.own,
                                           self.config.dropout, name='stitched')
        self.head = DomainDense(1, self.num_domains, name='head')

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        outputs = self.stitched(inputs.flat, inputs.rows, training=training)
        return tf.squeeze(self.head(outputs, inputs.rows, training=training), axis=1)
