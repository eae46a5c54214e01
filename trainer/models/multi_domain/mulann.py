"""MulANN: an MLP with an adversarial domain discriminator."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainer.config import Units
from trainer.keras import keras, tf
from trainer.layers.basic.tower import Tower
from trainer.layers.domain.domain_discriminator import DomainDiscriminator
from trainer.models.base import CTRModel, Inputs


class MulANN(CTRModel):
    """`mlp`, trained so that its last hidden layer does not reveal the domain
    (Schoenauer-Sebag et al. 2019; STAR 4.1). It scores as `mlp` does."""

    class Options(CTRModel.Options):
        """Options of MulANN."""

        discriminator_units: list[Units] = Field(
            default=[64], description="Widths of the discriminator's ReLU layers."
        )
        adversarial_weight: float = Field(
            default=0.1, ge=0, description='Final weight of the reversed gradient.'
        )
        ramp_steps: int = Field(
            default=1000,
            ge=1,
            description='Training steps over which that weight grows from 0.',
        )

    options: Options

    @property
    def batches(self) -> Literal['domain', 'mixed']:
        """Mixed: in a batch of one domain, there is nothing to discriminate."""
        return 'mixed'

    def build_network(self) -> None:
        options = self.options
        self.tower = Tower(self.config.hidden_units, self.config.dropout, name='tower')
        self.head = keras.layers.Dense(1, name='head')
        self.discriminator = DomainDiscriminator(
            self.num_domains,
            options.discriminator_units,
            options.adversarial_weight,
            options.ramp_steps,
            name='discriminator',
        )

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        shared = self.tower(inputs.flat, training=training)
        self.discriminator(shared, inputs.domains, training=training)
        return tf.squeeze(self.head(shared), axis=1)
