"""A model of your own: two towers, one of the item and one of everything else.

mdctr train shops.yaml --model custom_model:TwoTowers
"""

from __future__ import annotations

from pydantic import Field

from trainer.config import Units
from trainer.keras import keras, tf
from trainer.layers.basic.tower import Tower
from trainer.models.base import CTRModel, Inputs


class TwoTowers(CTRModel):
    """The logit is the scaled dot product of the outputs of two towers, plus a bias.

    `CTRModel` looks up the embeddings, and adds the auxiliary network if it is asked for; a
    model implements `build_network`, its layers, and `network`, its logit.
    """

    NORMALIZATION = 'none'  # the default of `train.model.normalization`

    class Options(CTRModel.Options):
        """Options of the model, in `train.model.options`."""

        output_units: Units = Field(default=16, description="Dimension of the towers' outputs.")

    def build_network(self) -> None:
        owners = {feature.name: feature.owner for feature in self.features}
        items = [n for n, name in enumerate(self.fields) if owners.get(name) == 'item']
        others = [n for n in range(len(self.fields)) if n not in items]
        self.places = {'item': items, 'user': others}
        self.towers = {
            side: Tower(self.config.hidden_units, self.config.dropout, name=f'{side}_tower')
            for side in self.places
        }
        self.projections = {
            side: keras.layers.Dense(self.options.output_units, name=f'{side}_output')
            for side in self.places
        }
        self.bias = self.add_weight('bias', (), initializer='zeros')

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        user, item = (self._output(side, inputs, training) for side in ('user', 'item'))
        scale = self.options.output_units**-0.5
        return tf.reduce_sum(user * item, axis=1) * scale + self.bias

    def _output(self, side: str, inputs: Inputs, training: bool) -> tf.Tensor:
        """The output of a tower, [batch, output_units]."""
        fields = tf.gather(inputs.fields, self.places[side], axis=1)  # [batch, fields, dim]
        flat = tf.reshape(fields, [-1, len(self.places[side]) * self.config.embedding_dim])
        return self.projections[side](self.towers[side](flat, training=training))
