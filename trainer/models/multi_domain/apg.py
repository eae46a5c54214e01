"""APG: adaptive parameter generation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainer.keras import keras, tf
from trainer.layers.domain.apg_dense import APGDense
from trainer.models.backbone import Backbone, DenseCross
from trainer.models.base import Inputs
from trainer.models.multi_domain.domain_aware import DomainAware, DomainAwareBackbone


class APG(DenseCross, DomainAwareBackbone):
    """Backbone whose matrices, except the output's, are U S V, with S generated from the
    domain-aware embedding (Yan et al. 2022, low-rank, as compared in AdaSparse 4.1.2)."""

    class Options(DomainAwareBackbone.Options):
        """Options of APG."""

        rank: int = Field(default=32, ge=1, description='Rank of the generated matrix S.')

    options: Options

    def make_dense(self, units: int, activation: str | None, name: str) -> keras.layers.Layer:
        if name == 'head':  # its rank is one
            return Backbone.make_dense(self, units, activation, name)
        return APGDense(units, self.options.rank, activation, name=name)

    def start(self, inputs: Inputs, training: bool) -> DomainAware:
        return self.domain_aware(inputs)

    def dense(
        self, layer: keras.layers.Layer, values: tf.Tensor, context: DomainAware
    ) -> tf.Tensor:
        if not isinstance(layer, APGDense):
            return layer(values)
        return layer((values, context.vectors), context.domains)


class DCNv2APG(APG):
    """`APG` on DCN-V2."""

    class Options(APG.Options):
        """Options of `apg` on DCN-V2."""

        backbone: Literal['dcnv2'] = Field(default='dcnv2', description='DCN-V2.')
