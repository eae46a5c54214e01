"""Cross-stitch networks."""

from __future__ import annotations

from pydantic import Field

from trainer.keras import tf
from trainer.layers.domain.domain_dense import DomainDense
from trainer.layers.experts.cross_stitch_network import CrossStitchNetwork
from trainer.models.base import CTRModel, Inputs
from trainer.models.hidden_units import split_hidden_units


class CrossStitch(CTRModel):
    """Network per domain, with cross-stitch units after every hidden layer (Misra et al. 2016;
    STAR 4.1), and a logit per domain.

    Every row goes through all domains' networks, which the architecture requires: see
    `CrossStitchNetwork`.
    """

    class Options(CTRModel.Options):
        """Options of cross-stitch networks."""

        same_domain_weight: float = Field(
            default=0.9,
            gt=0,
            le=1,
            description="Initial weight of a domain's own activations; the other domains' "
            'share the rest equally.',
        )

    options: Options

    def build_network(self) -> None:
        units, _ = split_hidden_units(
            self.config, len(self.config.hidden_units), 'own', least=1
        )
        self.stitched = CrossStitchNetwork(
            units,
            self.num_domains,
            self.options.same_domain_weight,
            self.config.dropout,
            name='stitched',
        )
        self.head = DomainDense(1, self.num_domains, name='head')

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        outputs = self.stitched(inputs.flat, inputs.domains, training=training)
        return tf.squeeze(self.head(outputs, inputs.domains, training=training), axis=1)
