"""DCN-V2, plain and with STAR."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainer.keras import keras, tf
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.star_dense import StarDense
from trainer.models.backbone import Backbone, DenseCross
from trainer.models.base import Inputs


class DCNv2(Backbone):
    """DCN-V2 (Wang et al. 2021), shared by all domains; its cross layers are TFRS's."""

    class Options(Backbone.Options):
        """Options of DCN-V2."""

        backbone: Literal['dcnv2'] = Field(default='dcnv2', description='DCN-V2.')


class DCNv2Star(DenseCross):
    """DCN-V2 with the modifications of STAR (3.3 to 3.5).

    Every matrix, those of the cross layers and of the output included, is the product of a
    shared one and the domain's own; partitioned normalization and the auxiliary network are
    added.
    """

    NORMALIZATION = 'pn'
    AUXILIARY = True

    class Options(Backbone.Options):
        """Options of DCN-V2 with STAR."""

        backbone: Literal['dcnv2'] = Field(default='dcnv2', description='DCN-V2.')

    def make_dense(self, units: int, activation: str | None, name: str) -> keras.layers.Layer:
        return StarDense(units, self.num_domains, activation=activation, name=name)

    def start(self, inputs: Inputs, training: bool) -> tuple[DomainBatch, bool]:
        return inputs.domains, training

    def dense(
        self, layer: keras.layers.Layer, values: tf.Tensor, context: tuple[DomainBatch, bool]
    ) -> tf.Tensor:
        domains, training = context
        return layer(values, domains, training=training)
