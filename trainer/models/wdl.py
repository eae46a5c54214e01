"""Wide & Deep."""

from __future__ import annotations

from dataclasses import dataclass

from beam_jobs.errors import UserError
from beam_jobs.options import setting
from trainer.keras import keras, tf
from trainer.layers.cross_product import CrossProduct
from trainer.layers.tower import Tower
from trainer.models.base import CTRModel, Inputs
from trainer.models.linear import linear_term


class WDL(CTRModel):
    """A linear model over ids and cross-products beside a network over embeddings (Cheng et
    al. 2016, equation 3): w_wide^T [x, phi(x)] + w_deep^T a + b."""

    @dataclass(frozen=True)
    class Options(CTRModel.Options):
        """
        Attributes:
            crosses: combinations of features, each a list of names, whose cross-products
                phi(x) the wide part has; sequences cannot be crossed.
            cross_buckets: the weights of each, to which its combinations are hashed.
        """

        crosses: list[list[str]] = setting([])
        cross_buckets: int = setting(100_000, minimum=1)

    def build_network(self) -> None:
        self.wide = linear_term(self)
        self.crosses = None
        if self.options.crosses:
            self._check_crosses()
            self.crosses = CrossProduct(self.options.crosses, self.options.cross_buckets,
                                        name='crosses')
        self.tower = Tower(self.config.hidden_units, self.config.dropout, name='tower')
        self.head = keras.layers.Dense(1, name='head')

    def _check_crosses(self) -> None:
        known = [feature.name for feature in self.features if feature.kind != 'sequence']
        for names in self.options.crosses:
            for name in names:
                if name not in known:
                    raise UserError(f'model.options.crosses of wdl names {name}, which is no '
                                    f'feature of one id that the model sees; these can be '
                                    f'crossed: {", ".join(known)}.')
            if len(names) < 2:
                raise UserError('model.options.crosses of wdl has a cross of fewer than two '
                                f'features, {names}: name two at least.')

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        logit = self.wide(inputs.ids, inputs.rows, training=training)
        if self.crosses is not None:
            logit += self.crosses(inputs.ids)
        deep = self.head(self.tower(inputs.flat, training=training))
        return logit + tf.squeeze(deep, axis=1)
