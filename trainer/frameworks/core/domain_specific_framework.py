"""Base class of frameworks with domain-specific parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.data.batching import Batch
from trainer.frameworks.core.base import Framework
from trainer.frameworks.core.domain_specific import DomainSpecificParameters
from trainer.frameworks.core.domain_specific_model import DomainSpecificModel
from trainer.keras import tf


class DomainSpecificFramework(Framework):
    """Scores, saves and exports a model with its domain-specific parameters."""

    domain_specific: DomainSpecificParameters

    def weights(self) -> dict[str, Any]:
        return {**super().weights(), 'specific': self.domain_specific.trackable()}

    def predict(self, batch: Batch) -> tf.Tensor:
        self.domain_specific.enter(int(batch['domain']))
        try:
            return super().predict(batch)
        finally:
            self.domain_specific.leave(keep=False)

    def domain_embeddings(self) -> dict[str, np.ndarray]:
        return {
            name: self.domain_specific.domain_rows(variable)
            for name, variable in self.model.domain_embeddings().items()
        }

    def serving_model(self) -> DomainSpecificModel:
        return DomainSpecificModel(self.domain_specific, self.float32_model())
