"""The Deep Interest Network."""

from __future__ import annotations

from dataclasses import dataclass

from beam_jobs.options import setting
from trainer.keras import keras, tf
from trainer.layers.activation_unit import ActivationUnit
from trainer.layers.tower import Tower
from trainer.models.base import CTRModel, Inputs
from trainer.models.behaviors import behaviors_of, field, flat_without


class DIN(CTRModel):
    """An MLP in whose input the user's history is weighted by the target item (Zhou et al.
    2018, equation 3), where other models have the history's mean.

    Every history attends for itself: that of item ids by the item, that of categories by the
    item's category, and so on.
    """

    @dataclass(frozen=True)
    class Options(CTRModel.Options):
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

    def tower_input(self, inputs: Inputs, training: bool) -> tf.Tensor:
        attended = [
            layer((field(self, inputs, target.name), inputs.sequences[history.name].vectors),
                  inputs.sequences[history.name].mask)
            for layer, (history, target) in zip(self.attention, self.behaviors, strict=True)]
        others = flat_without(self, inputs, {each.history.name for each in self.behaviors})
        return tf.concat([others, *attended], axis=1)

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        outputs = self.tower(inputs.flat, training=training)
        return tf.squeeze(self.head(outputs), axis=1)
