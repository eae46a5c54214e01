"""Copying a trained model's weights into one for a dataset that has grown.

A grown dataset has longer vocabularies and more domains.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from mdctr.errors import UserError
from mdctr.manifest import Feature, Manifest
from mdctr.settings import to_mapping
from trainer.keras import keras, tf
from trainer.layers.basic.dropout import RandomSeeds
from trainer.layers.domain.domain_layer import DomainLayer
from trainer.layers.inputs.feature_embedding import FeatureEmbedding
from trainer.layers.inputs.item_category import ItemCategory
from trainer.models import clone_architecture
from trainer.models.base import CTRModel


def extend_model(model: CTRModel, manifest: Manifest) -> CTRModel:
    """Copies a model for a manifest with more values and domains.

    An added value gets a new embedding; an added domain starts as the shared model, which
    scored it while it was unseen. Scores of rows without either do not change.

    Args:
        model: Trained model.
        manifest: Manifest with the features of the model's dataset, and with its ids and
            domains followed by more.

    Raises:
        UserError: The manifest has fewer domains or different features, or other variables of
            the architecture depend on the number of domains too.
    """
    larger = clone_architecture(model, manifest)
    copy_weights(larger, model)
    return larger


def continue_model(model: CTRModel, other: CTRModel, name: str) -> None:
    """Copies what another model has learned, to continue its training.

    Args:
        model: Model with the values and domains of the other, followed by more.
        other: Trained model of the same architecture, or of one that this is built around.
        name: Name of the other model for errors.

    Raises:
        UserError: The other model has a different architecture or different features.
    """
    for layer, old in model.layers_to_restore(other):
        if isinstance(layer, CTRModel) and isinstance(old, CTRModel):
            _check_same(layer, old, name)
        copy_weights(layer, old)


def _check_same(model: CTRModel, other: CTRModel, name: str) -> None:
    settings, old_settings = _settings(model), _settings(other)
    for key, value in settings.items():
        if old_settings[key] != value:
            raise UserError(
                f'The model {name} has {key} {old_settings[key]}, but this run has {value}: '
                'continue it with the settings that it was trained with, or use only its '
                'embeddings.'
            )
    features, old_features = _comparable_features(model), _comparable_features(other)
    if features != old_features:
        differing = sorted(
            feature
            for feature in features.keys() | old_features.keys()
            if features.get(feature) != old_features.get(feature)
        )
        raise UserError(
            f'The model {name} was trained with other features than this run has; '
            f'{", ".join(differing)} differ: continue it on a dataset with the same features, '
            'or exclude those that it does not know (model.exclude_features).'
        )


def _settings(model: CTRModel) -> dict[str, Any]:
    return {
        'the architecture': model.config.name,
        'embedding_dim': model.config.embedding_dim,
        'hidden_units': list(model.config.hidden_units),
        'normalization': type(model.normalization).__name__,
        'auxiliary_network': model.auxiliary is not None,
        'options': to_mapping(model.options),
    }


def _comparable_features(model: CTRModel) -> dict[str, Feature]:
    """Features by name, without what grows."""
    return {
        feature.name: dataclasses.replace(feature, size=0, known={})
        for feature in model.features
    }


def copy_weights(layer: keras.layers.Layer, old: keras.layers.Layer) -> None:
    """Copies the weights of a layer, or a model, into a larger one of the same structure.

    Args:
        layer: Layer whose variables are at least as large as those of the old one.
        old: Layer with the same layers in the same order.

    Raises:
        UserError: The structures differ.
    """
    layers, old_layers = _layers_with_weights(layer), _layers_with_weights(old)
    if [type(part) for part in layers] != [type(part) for part in old_layers]:
        raise UserError(
            f'The layers of {old.name} and of {layer.name} differ: continue a model with the '
            'settings that it was trained with.'
        )
    for part, old_part in zip(layers, old_layers, strict=True):
        if isinstance(part, FeatureEmbedding):
            _copy_embedding(part, old_part)
            continue
        for variable, old_variable in zip(
            _own_variables(part), _own_variables(old_part), strict=True
        ):
            variable.assign(_extend_variable(old_part, old_variable, variable.shape))


def _layers_with_weights(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """All layers but the random state of dropout, which may start anywhere."""
    return [part for part in layer._flatten_layers() if not isinstance(part, RandomSeeds)]


def _own_variables(layer: keras.layers.Layer) -> list[tf.Variable]:
    return [*layer._trainable_weights, *layer._non_trainable_weights]


def _copy_embedding(layer: FeatureEmbedding, old: FeatureEmbedding) -> None:
    names = [feature.name for feature in old.features]
    same_names = names == [feature.name for feature in layer.features]
    if (
        not same_names
        or layer.dim != old.dim
        or any(
            feature.size < old_feature.size
            for feature, old_feature in zip(layer.features, old.features, strict=True)
        )
    ):
        raise UserError(
            f'The embedding {old.table.name} of shape {old.table.shape} cannot be extended to '
            f'the shape {layer.table.shape}: only add values and domains, and keep features '
            'and options as they were.'
        )
    layer.copy_rows(old, names)


def _extend_variable(
    layer: keras.layers.Layer, old: tf.Variable, shape: tf.TensorShape
) -> tf.Tensor:
    """Extends the values of a layer's variable to a larger shape."""
    values = tf.convert_to_tensor(old)
    if values.shape == shape:
        return values
    added = [-1]
    if len(shape) == len(values.shape):
        added = [size - old_size for size, old_size in zip(shape, values.shape, strict=True)]
    if not isinstance(layer, (DomainLayer, ItemCategory)) or min(added) < 0:
        raise UserError(
            f'The variable {old.name} of shape {values.shape} cannot be extended to the shape '
            f'{shape}: only add domains, and keep features and options as they were.'
        )
    if isinstance(layer, ItemCategory):  # the category of an added item is unknown
        return tf.pad(values, [[0, added[0]]])
    row = layer.shared_row(old)
    values = tf.concat([values, *[row[None]] * added[0]], axis=0)
    # A second axis of domains is their weight for the others, which is zero at first.
    return tf.pad(values, [[0, 0], *([0, size] for size in added[1:])])
