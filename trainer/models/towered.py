"""Models around the model of one domain, to which a source model of another adds something."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from beam_jobs.dataset import Feature
from beam_jobs.errors import UserError
from trainer.keras import keras
from trainer.layers.feature_embedding import FeatureEmbedding
from trainer.models import build_model
from trainer.models.base import CTRModel
from trainer.models.mlp_network import MLPNetwork


class Towered(CTRModel):
    """A target tower, which is a whole model of the registry, with something beside it.

    It has the run's `embedding_dim`, `hidden_units`, normalization and so on, and goes on with
    the weights of a model of that architecture where training starts from one (CTNet,
    algorithm 1, line 3).

    Attributes:
        target: the tower, itself a model.
    """

    @dataclass(frozen=True)
    class Options:
        """
        Attributes:
            tower: the architecture of the target tower, one that ends in an MLP: `mlp`, `din`
                or `taobao_base`.
            tower_options: what that architecture takes in `model.options`.
        """

        tower: str = 'taobao_base'
        tower_options: dict[str, Any] = field(default_factory=dict)

    def build_inputs(self) -> None:
        options = self.options
        self.target = build_model(self.manifest, dataclasses.replace(
            self.config, name=options.tower, options=options.tower_options,
            exclude=[*self.config.exclude, *self.excluded()]))
        if not isinstance(self.target, MLPNetwork):
            raise UserError(f'model.options.tower of {self.config.name} is {options.tower}, '
                            'which does not end in an MLP: choose mlp, din or taobao_base.')
        self.fields = self.target.fields
        self.numeric_slopes = self.target.numeric_slopes
        self.normalization, self.auxiliary = self.target.normalization, self.target.auxiliary

    def start_at(self, log_odds: float) -> None:
        self.target.start_at(log_odds)

    def excluded(self) -> list[str]:
        """Features that the target tower alone does not see."""
        return []

    @property
    def embedding(self) -> FeatureEmbedding:
        """The target tower's own."""
        return self.target.embedding

    @property
    def batches(self) -> Literal['domain', 'mixed']:
        return self.target.batches

    def beside(self) -> list[keras.layers.Layer]:
        """The layers beside the target tower that are continued with it."""
        return []

    def continued(self, other: CTRModel) -> list[tuple[keras.layers.Layer,
                                                       keras.layers.Layer]]:
        if not isinstance(other, type(self)):
            return [(self.target, other)]
        mine, theirs = self.beside(), other.beside()
        if len(mine) != len(theirs):
            raise UserError(f'One {self.config.name} has {len(theirs)} layers between its '
                            f'towers and the other {len(mine)}: continue it with the settings '
                            'that it was trained with.')
        return [(self.target, other.target), *zip(mine, theirs, strict=True)]


def check_shared(features: list[Feature], source: list[Feature], model: str) -> None:
    """Makes sure that ids mean the same to both models.

    Args:
        features: of the dataset.
        source: of the source model; those that only one side has are fine.
        model: the architecture, for the error.

    Raises:
        UserError: a feature of both is another one to the source model.
    """
    of_source = {feature.name: feature for feature in source}
    for feature in features:
        other = of_source.get(feature.name)
        if other is not None and (
                (feature.kind, feature.vocabulary, feature.boundaries)
                != (other.kind, other.vocabulary, other.boundaries)):
            raise UserError(f'The feature {feature.name} is another one to the source model of '
                            f'{model} than in this dataset: take a source model of the same '
                            'dataset, or exclude the feature (model.exclude).')
