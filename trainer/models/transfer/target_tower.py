"""Transfer models: a target tower plus information from a source model."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from mdctr.errors import UserError
from mdctr.manifest import Feature
from mdctr.settings import Settings
from trainer.keras import keras
from trainer.layers.inputs.feature_embedding import FeatureEmbedding
from trainer.models import build_model
from trainer.models.base import CTRModel
from trainer.models.mlp_network import MLPNetwork


class TargetTowerModel(CTRModel):
    """Target tower, a complete model of the registry, and layers that connect it to a source.

    The tower has the run's `embedding_dim`, `hidden_units`, normalization and so on. A warm
    start from a model of its architecture continues that model's weights (CTNet, algorithm 1,
    line 3).

    Attributes:
        target: Target tower, itself a model.
    """

    class Options(Settings):
        """Options of an architecture around a target tower."""

        target_tower: str = Field(
            default='taobao_base',
            description='Architecture of the target tower, which must end in an MLP: `mlp`, '
            '`din` or `taobao_base`.',
        )
        target_tower_options: dict[str, Any] = Field(
            default_factory=dict, description='Options of that architecture.'
        )

    options: Options

    def build_inputs(self) -> None:
        options = self.options
        self.target = build_model(
            self.manifest,
            self.config.replace(
                name=options.target_tower,
                options=options.target_tower_options,
                exclude_features=[*self.config.exclude_features, *self.excluded()],
            ),
        )
        if not isinstance(self.target, MLPNetwork):
            raise UserError(
                f'model.options.target_tower of {self.config.name} is {options.target_tower}, '
                'which does not end in an MLP: choose mlp, din or taobao_base.'
            )
        self.fields = self.target.fields
        self.numeric_slopes = self.target.numeric_slopes
        self.normalization, self.auxiliary = self.target.normalization, self.target.auxiliary

    def set_prior(self, log_odds: float) -> None:
        self.target.set_prior(log_odds)

    def excluded(self) -> list[str]:
        """Features that only the target tower does not use."""
        return []

    @property
    def embedding(self) -> FeatureEmbedding:  # type: ignore[override]
        """Embedding of the target tower."""
        return self.target.embedding

    @property
    def batches(self) -> Literal['domain', 'mixed']:
        return self.target.batches

    def extra_layers(self) -> list[keras.layers.Layer]:
        """Layers in addition to the target tower that are restored with it."""
        return []

    def layers_to_restore(
        self, other: CTRModel
    ) -> list[tuple[keras.layers.Layer, keras.layers.Layer]]:
        if not isinstance(other, type(self)):
            return [(self.target, other)]
        layers, old_layers = self.extra_layers(), other.extra_layers()
        if len(layers) != len(old_layers):
            raise UserError(
                f'The {self.config.name} to continue has {len(old_layers)} layers between its '
                f'towers, but this run has {len(layers)}: continue it with the settings '
                'that it was trained with.'
            )
        return [(self.target, other.target), *zip(layers, old_layers, strict=True)]


def check_shared(features: list[Feature], source: list[Feature], model: str) -> None:
    """Checks that ids mean the same to both models.

    Args:
        features: Features of the dataset.
        source: Features of the source model; each side may have some that the other lacks.
        model: Name of the architecture, for the error.

    Raises:
        UserError: A feature of both has different ids in the source model.
    """
    source_features = {feature.name: feature for feature in source}
    for feature in features:
        other = source_features.get(feature.name)
        if other is not None and (
            (feature.kind, feature.vocabulary, feature.boundaries)
            != (other.kind, other.vocabulary, other.boundaries)
        ):
            raise UserError(
                f'The feature {feature.name} of the source model of {model} has other ids than '
                'that of this dataset: use a source model of the same dataset, or exclude the '
                'feature (model.exclude_features).'
            )
