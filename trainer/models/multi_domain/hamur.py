"""HAMUR: hyper adapter for multi-domain recommendation."""

from __future__ import annotations

from pydantic import Field

from mdctr.errors import UserError
from trainer.config import Units
from trainer.keras import keras, tf
from trainer.layers.basic.tower import Tower, make_dropouts
from trainer.layers.domain.domain_dense import DomainDense
from trainer.layers.experts.hyper_adapter import HyperAdapter
from trainer.models.base import CTRModel, Inputs


class HAMUR(CTRModel):
    """MLP of each domain with adapters whose weights a shared hyper-network generates (Li et
    al. 2023, as in the authors' code).

    For a row x of domain p, the hyper-network makes a matrix of k x k entries, which all
    adapters of the row use (`HyperAdapter`):

        R = reshape(W ReLU-layers(x) + b)
        h^l = ReLU(W_p^l h^{l-1} + b_p^l),  and for the last `adapters` layers
        h^l = Adapter^l_p(ReLU(W_p^l h^{l-1} + b_p^l), R)

    The paper's small network has two hidden layers and one adapter (`hidden_units: [256, 128]`,
    `adapters: 1`), its large one seven and two. An unseen domain has the mean of the domains'
    layers, and the adapters' normalization by the averages of all rows.
    """

    class Options(CTRModel.Options):
        """Options of HAMUR."""

        adapters: int = Field(
            default=1,
            ge=1,
            description='Number of hidden layers, from the top, that an adapter follows.',
        )
        adapter_units: Units = Field(
            default=32, description="Width of the adapters' bottleneck."
        )
        hyper_units: list[Units] = Field(
            default=[64], description='Widths of the ReLU layers of the hyper-network.'
        )
        rank: int = Field(
            default=16, ge=1, description='Number of rows and columns k of the matrix R.'
        )

    options: Options

    def build_network(self) -> None:
        config, options, domains = self.config, self.options, self.num_domains
        if options.adapters > len(config.hidden_units):
            raise UserError(
                f'model.options.adapters of {config.name} is {options.adapters}, but '
                f'model.hidden_units has only {len(config.hidden_units)} layers for an adapter '
                'to follow: change one of the two.'
            )
        self.hyper_hidden = Tower(options.hyper_units, name='hyper_hidden')
        self.hyper_output = keras.layers.Dense(options.rank**2, name='hyper_output')
        self.hidden = [
            DomainDense(units, domains, activation='relu', name=f'hidden_{i}')
            for i, units in enumerate(config.hidden_units)
        ]
        self.dropouts = make_dropouts(len(self.hidden), config.dropout, seed=10)
        self.adapters = [
            HyperAdapter(domains, options.adapter_units, name=f'adapter_{i}')
            for i in range(options.adapters)
        ]
        self.head = DomainDense(1, domains, name='head')

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        outputs, domains, rank = inputs.flat, inputs.domains, self.options.rank
        matrices = tf.reshape(self.hyper_output(self.hyper_hidden(outputs)), [-1, rank, rank])
        first = len(self.hidden) - len(self.adapters)
        for i, (layer, dropout) in enumerate(zip(self.hidden, self.dropouts, strict=True)):
            outputs = dropout(layer(outputs, domains, training=training), training=training)
            if i >= first:
                adapter = self.adapters[i - first]
                outputs = adapter((outputs, matrices), domains, training=training)
        return tf.squeeze(self.head(outputs, domains, training=training), axis=1)
