"""Wide & Deep."""

from __future__ import annotations

from pydantic import Field

from mdctr.errors import UserError
from trainer.keras import keras, tf
from trainer.layers.basic.tower import Tower
from trainer.layers.interaction.cross_product import CrossProduct
from trainer.models.base import CTRModel, Inputs
from trainer.models.linear_part import make_linear_term


class WDL(CTRModel):
    """Linear model over ids and cross-products, next to a network over embeddings (Cheng et al.
    2016, equation 3): w_wide^T [x, phi(x)] + w_deep^T a + b.

    Both parts are trained by the run's optimizer; the paper has FTRL with L1 regularization for
    the wide part and AdaGrad for the deep part.
    """

    class Options(CTRModel.Options):
        """Options of wide and deep learning."""

        crosses: list[list[str]] = Field(
            default=[],
            description='Combinations of features, each a list of names, whose cross-products '
            'phi(x) the wide part has; sequences cannot be crossed.',
        )
        cross_buckets: int = Field(
            default=100_000,
            ge=1,
            description='Number of weights to which the combinations of each cross are hashed.',
        )

    options: Options

    def build_network(self) -> None:
        self.wide = make_linear_term(self)
        self.crosses = None
        if self.options.crosses:
            self._check_crosses()
            self.crosses = CrossProduct(
                self.options.crosses, self.options.cross_buckets, name='crosses'
            )
        self.tower = Tower(self.config.hidden_units, self.config.dropout, name='tower')
        self.head = keras.layers.Dense(1, name='head')

    def _check_crosses(self) -> None:
        known = [feature.name for feature in self.features if feature.kind != 'sequence']
        for names in self.options.crosses:
            for name in names:
                if name not in known:
                    raise UserError(
                        f'model.options.crosses of wdl names {name}, which is not a feature '
                        'of one id that the model uses; these can be crossed: '
                        f'{", ".join(known)}.'
                    )
            if len(names) < 2:
                raise UserError(
                    'model.options.crosses of wdl has a cross of fewer than two features, '
                    f'{names}: name at least two.'
                )

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        logit = self.wide(inputs.ids, inputs.domains, training=training)
        if self.crosses is not None:
            logit += self.crosses(inputs.ids)
        deep = self.head(self.tower(inputs.flat, training=training))
        return logit + tf.squeeze(deep, axis=1)
