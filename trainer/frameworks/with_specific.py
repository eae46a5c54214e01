"""What frameworks with parameters of each domain's own have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.examples import Batch
from trainer.frameworks.base import Framework
from trainer.frameworks.domain_models import DomainModels
from trainer.frameworks.specific import SpecificParameters
from trainer.keras import tf


class WithSpecific(Framework):
    """Scores, checkpoints and exports a model with its `specific` parameters."""

    specific: SpecificParameters

    def weights(self) -> dict[str, Any]:
        return {**super().weights(), 'specific': self.specific.trackable()}

    def predict(self, batch: Batch) -> tf.Tensor:
        self.specific.enter(int(batch['domain']))
        try:
            return super().predict(batch)
        finally:
            self.specific.leave(keep=False)

    def domain_embeddings(self) -> dict[str, np.ndarray]:
        return {name: self.specific.own_rows(variable)
                for name, variable in self.model.domain_embeddings().items()}

    def serving_model(self) -> DomainModels:
        return DomainModels(self.specific, super().serving_model())
