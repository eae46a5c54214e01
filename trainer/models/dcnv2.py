"""DCN-V2, plain and in the star."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trainer.keras import keras, tf
from trainer.layers.domain_rows import DomainRows
from trainer.layers.star_dense import StarDense
from trainer.models.backbone import Backbone, ReplacedCross
from trainer.models.base import Inputs


class DCNv2(Backbone):
    """DCN-V2 (Wang et al. 2021), one for all domains; its cross layers are TFRS's."""

    @dataclass(frozen=True)
    class Options(Backbone.Options):
        """`Backbone`'s, with another default."""

        backbone: Literal['dcnv2'] = 'dcnv2'


class DCNv2Star(ReplacedCross):
    """DCN-V2 as STAR (3.3 to 3.5) makes it: every matrix, those of the cross layers and the
    output's among them, is a shared one times the domain's own; partitioned normalization and
    the auxiliary network."""

    NORMALIZATION = 'pn'
    AUXILIARY = True

    @dataclass(frozen=True)
    class Options(Backbone.Options):
        """`Backbone`'s, with another default."""

        backbone: Literal['dcnv2'] = 'dcnv2'

    def make_dense(self, units: int, activation: str | None, name: str) -> keras.layers.Layer:
        return StarDense(units, self.num_domains, activation=activation, name=name)

    def start(self, inputs: Inputs, training: bool) -> tuple[DomainRows, bool]:
        return inputs.rows, training

    def dense(self, layer: keras.layers.Layer, values: tf.Tensor,
              now: tuple[DomainRows, bool]) -> tf.Tensor:
        rows, training = now
        return layer(values, rows, training=training)
