"""The base model with an adversarial domain discriminator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from beam_jobs.options import setting
from trainer.keras import keras, tf
from trainer.layers.domain_discriminator import DomainDiscriminator
from trainer.layers.tower import Tower
from trainer.models.base import CTRModel, Inputs


class MulANN(CTRModel):
    """`mlp`, trained so that the domain cannot be told from its last hidden layer
    (Schoenauer-Sebag et al. 2019; STAR 4.1). It scores as `mlp` does."""

    @dataclass(frozen=True)
    class Options(CTRModel.Options):
        """
        Attributes:
            discriminator_units: the widths of the discriminator's ReLU layers.
            strength: of the reversed gradient, once it has grown.
            ramp_steps: the training steps over which it grows.
        """

        discriminator_units: list[int] = setting([64], minimum=1)
        strength: float = setting(0.1, minimum=0)
        ramp_steps: int = setting(1000, minimum=1)

    @property
    def batches(self) -> Literal['domain', 'mixed']:
        """Mixed: a batch of one domain has nothing to tell apart."""
        return 'mixed'

    def build_network(self) -> None:
        options = self.options
        self.tower = Tower(self.config.hidden_units, self.config.dropout, name='tower')
        self.head = keras.layers.Dense(1, name='head')
        self.discriminator = DomainDiscriminator(
            self.num_domains, options.discriminator_units, options.strength,
            options.ramp_steps, name='discriminator')

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        shared = self.tower(inputs.flat, training=training)
        self.discriminator(shared, inputs.rows, training=training)
        return tf.squeeze(self.head(shared), axis=1)
