"""The Deep Interest Network."""

from __future__ import annotations

from pydantic import Field

from trainer.config import Units
from trainer.keras import keras, tf
from trainer.layers.attention.activation_unit import ActivationUnit
from trainer.layers.basic.tower import Tower
from trainer.models.base import Inputs
from trainer.models.behaviors import concatenate_fields_without, field_vectors, find_behaviors
from trainer.models.mlp_network import FullyConnected, MLPNetwork


class DIN(MLPNetwork):
    """MLP whose input has the user's history weighted by the target item (Zhou et al. 2018,
    equation 3), where other models have the history's mean.

    Each history has its own attention: that of item ids by the item, that of categories by the
    item's category, and so on.
    """

    class Options(MLPNetwork.Options):
        """Options of DIN."""

        attention_units: list[Units] = Field(
            default=[36], description='Widths of the hidden layers of the activation unit.'
        )

    options: Options

    def build_network(self) -> None:
        self.behaviors = find_behaviors(self)
        self.attention = [
            ActivationUnit(
                self.options.attention_units, name=f'attention_{behaviors.history.name}'
            )
            for behaviors in self.behaviors
        ]
        self.tower = Tower(self.config.hidden_units, self.config.dropout, name='tower')
        self.head = keras.layers.Dense(1, name='head')

    def shareable_attentions(self) -> dict[str, keras.layers.Layer]:
        return {
            behaviors.history.name: layer
            for behaviors, layer in zip(self.behaviors, self.attention, strict=True)
        }

    def attend(self, inputs: Inputs, training: bool) -> dict[str, tf.Tensor]:
        attended = dict(inputs.attended)
        for layer, (history, target) in zip(self.attention, self.behaviors, strict=True):
            if history.name not in attended:
                sequence = inputs.sequences[history.name]
                attended[history.name] = layer(
                    (field_vectors(self, inputs, target.name), sequence.vectors), sequence.mask
                )
        return attended

    def tower_input(self, inputs: Inputs, training: bool) -> tf.Tensor:
        histories = [behaviors.history.name for behaviors in self.behaviors]
        others = concatenate_fields_without(self, inputs, set(histories))
        return tf.concat([others, *(inputs.attended[name] for name in histories)], axis=1)

    def fully_connected(self) -> FullyConnected:
        return FullyConnected(self.tower.hidden, self.tower.dropouts, self.head)
