"""The Deep Interest Network."""

from __future__ import annotations

from dataclasses import dataclass

from beam_jobs.options import setting
from trainer.keras import keras, tf
from trainer.layers.activation_unit import ActivationUnit
from trainer.layers.tower import Tower
from trainer.models.base import Inputs
from trainer.models.behaviors import behaviors_of, field, flat_without
from trainer.models.mlp_network import FullyConnected, MLPNetwork


class DIN(MLPNetwork):
    """An MLP in whose input the user's history is weighted by the target item (Zhou et al.
    2018, equation 3), where other models have the history's mean.

    Every history attends for itself: that of item ids by the item, that of categories by the
    item's category, and so on.
    """

    @dataclass(frozen=True)
    class Options(MLPNetwork.Options):
        """
        Attributes:
            attention_units: the widths of the hidden layers of the activation unit.
        """

        attention_units: list[int] = setting([36], minimum=1)

    def build_network(self) -> None:
        self.behaviors = behaviors_of(self)
        self.attention = [ActivationUnit(self.options.attention_units,
                                         name=f'attention_{behaviors.history.name}')
                          for behaviors in self.behaviors]
        self.tower = Tower(self.config.hidden_units, self.config.dropout, name='tower')
        self.head = keras.layers.Dense(1, name='head')

    def shareable(self) -> dict[str, keras.layers.Layer]:
        return {behaviors.history.name: layer for behaviors, layer
                in zip(self.behaviors, self.attention, strict=True)}

    def attend(self, inputs: Inputs, training: bool) -> dict[str, tf.Tensor]:
        attended = dict(inputs.attended)
        for layer, (history, target) in zip(self.attention, self.behaviors, strict=True):
            if history.name not in attended:
                sequence = inputs.sequences[history.name]
                attended[history.name] = layer(
                    (field(self, inputs, target.name), sequence.vectors), sequence.mask)
        return attended

    def tower_input(self, inputs: Inputs, training: bool) -> tf.Tensor:
        histories = [each.history.name for each in self.behaviors]
        others = flat_without(self, inputs, set(histories))
        return tf.concat([others, *(inputs.attended[name] for name in histories)], axis=1)

    def fully_connected(self) -> FullyConnected:
        return FullyConnected(self.tower.hidden, self.tower.dropouts, self.head)
