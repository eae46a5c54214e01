"""Adaptive parameter generation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from beam_jobs.options import setting
from trainer.keras import keras, tf
from trainer.layers.apg_dense import APGDense
from trainer.models.backbone import Backbone, ReplacedCross
from trainer.models.base import Inputs
from trainer.models.domain_aware import DomainAware, DomainAwareBackbone


class APG(ReplacedCross, DomainAwareBackbone):
    """Every matrix but the output's is U S V, with S generated from the domain-aware embedding
    (Yan et al. 2022, low-rank, as AdaSparse 4.1.2 compares it)."""

    @dataclass(frozen=True)
    class Options(DomainAwareBackbone.Options):
        """
        Attributes:
            rank: of the generated S.
        """

        rank: int = setting(32, minimum=1)

    def make_dense(self, units: int, activation: str | None, name: str) -> keras.layers.Layer:
        if name == 'head':  # of rank one: there is nothing to decompose
            return Backbone.make_dense(self, units, activation, name)
        return APGDense(units, self.options.rank, activation, name=name)

    def start(self, inputs: Inputs, training: bool) -> DomainAware:
        return self.domain_aware(inputs)

    def dense(self, layer: keras.layers.Layer, values: tf.Tensor,
              now: DomainAware) -> tf.Tensor:
        if not isinstance(layer, APGDense):
            return layer(values)
        return layer((values, now.vectors), now.rows)


class DCNv2APG(APG):
    """`APG` on DCN-V2."""

    @dataclass(frozen=True)
    class Options(APG.Options):
        """`APG`'s, with another default."""

        backbone: Literal['dcnv2'] = 'dcnv2'
