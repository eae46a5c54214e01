"""A trained model for a dataset that has grown: longer vocabularies, more domains."""

from __future__ import annotations

import dataclasses
from typing import Any

from beam_jobs.dataset import Feature, Manifest
from beam_jobs.errors import UserError
from beam_jobs.options import to_mapping
from trainer.keras import keras, tf
from trainer.layers.domain_layer import DomainLayer
from trainer.layers.dropout import RandomSeeds
from trainer.layers.feature_embedding import FeatureEmbedding
from trainer.layers.item_category import ItemCategory
from trainer.models import like
from trainer.models.base import CTRModel


def grown(model: CTRModel, manifest: Manifest) -> CTRModel:
    """A copy of `model` for a manifest with more values and domains.

    An added value gets a fresh embedding; an added domain starts as the shared model, which
    scored it while it was unseen. Nothing else changes, and the rows without either get the
    scores that they got.

    Args:
        model: trained.
        manifest: whose features are those of the model's dataset, and whose ids and domains
            are the model's, and more after them.

    Raises:
        UserError: the manifest has fewer domains or other features, or the architecture's
            other variables follow the number of domains too.
    """
    larger = like(model, manifest)
    copy_weights(larger, model)
    return larger


def continue_model(model: CTRModel, other: CTRModel, name: str) -> None:
    """Goes on with what another model has learned.

    Args:
        model: with values and domains as the other has them, and more.
        other: trained, of the same architecture, or of one that this one is built around.
        name: what to call it in an error.

    Raises:
        UserError: it is of another architecture or of other features.
    """
    for layer, old in model.continued(other):
        if isinstance(old, CTRModel):
            _check_same(layer, old, name)
        copy_weights(layer, old)


def _check_same(model: CTRModel, other: CTRModel, name: str) -> None:
    mine, theirs = _settings(model), _settings(other)
    for key, value in mine.items():
        if theirs[key] != value:
            raise UserError(f'The model {name} has {key} {theirs[key]} and this run has '
                            f'{value}: continue it with the settings that it was trained with, '
                            'or take only its embeddings.')
    mine, theirs = ({feature.name: _meaning(feature) for feature in each.features}
                    for each in (model, other))
    if mine != theirs:
        differing = sorted(feature for feature in mine.keys() | theirs.keys()
                           if mine.get(feature) != theirs.get(feature))
        raise UserError(f'The model {name} was trained with other features than this run has, '
                        f'of which {", ".join(differing)} differ: continue it on a dataset of '
                        'the same features, or exclude those that it does not know '
                        '(model.exclude).')


def _settings(model: CTRModel) -> dict[str, Any]:
    return {'the architecture': model.config.name, 'embedding_dim': model.config.embedding_dim,
            'hidden_units': list(model.config.hidden_units),
            'normalization': type(model.normalization).__name__,
            'auxiliary': model.auxiliary is not None, 'options': to_mapping(model.options)}


def _meaning(feature: Feature) -> Feature:
    """A feature without what grows."""
    return dataclasses.replace(feature, size=0, known={})


def copy_weights(layer: keras.layers.Layer, old: keras.layers.Layer) -> None:
    """Gives a layer, or a model, the weights of a smaller one of the same structure.

    Args:
        layer: of which each variable is as large as the old one's or larger.
        old: with the variables of the same layers, in the same order.

    Raises:
        UserError: it is of another structure.
    """
    layers, old_layers = _layers(layer), _layers(old)
    if [type(each) for each in layers] != [type(each) for each in old_layers]:
        raise UserError(f'The layers of {old.name} and of {layer.name} differ: continue a '
                        'model with the settings that it was trained with.')
    for each, before in zip(layers, old_layers, strict=True):
        if isinstance(each, FeatureEmbedding):
            _copy_embedding(each, before)
            continue
        for variable, value in zip(_own_variables(each), _own_variables(before), strict=True):
            variable.assign(_grown(before, value, variable.shape))


def _layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Every layer that has learned something; draws of dropout go on anywhere."""
    return [each for each in layer._flatten_layers() if not isinstance(each, RandomSeeds)]


def _own_variables(layer: keras.layers.Layer) -> list[tf.Variable]:
    return [*layer._trainable_weights, *layer._non_trainable_weights]


def _copy_embedding(layer: FeatureEmbedding, old: FeatureEmbedding) -> None:
    names = [feature.name for feature in old.features]
    if (names != [feature.name for feature in layer.features] or layer.dim != old.dim
            or any(feature.size < before.size for feature, before
                   in zip(layer.features, old.features, strict=True))):
        raise UserError(f'A model with the embedding {old.table.name} of shape '
                        f'{old.table.shape} cannot get that of shape {layer.table.shape}: add '
                        'values and domains only, and keep features and options as they were.')
    layer.copy_rows(old, names)


def _grown(layer: keras.layers.Layer, old: tf.Variable, shape: tf.TensorShape) -> tf.Tensor:
    values = tf.convert_to_tensor(old)
    if values.shape == shape:
        return values
    added = ([new - before for new, before in zip(shape, values.shape, strict=True)]
             if len(shape) == len(values.shape) else [-1])
    if not isinstance(layer, (DomainLayer, ItemCategory)) or min(added) < 0:
        raise UserError(f'A model with the variable {old.name} of shape {values.shape} cannot '
                        f'get domains added, which would need the shape {shape}: add domains '
                        'only, and keep features and options as they were.')
    if isinstance(layer, ItemCategory):  # of an added item it is unknown
        return tf.pad(values, [[0, added[0]]])
    row = layer.shared_row(old)
    values = tf.concat([values, *[row[None]] * added[0]], axis=0)
    # An axis that follows the domains too is how much each counts for others: not at all yet.
    return tf.pad(values, [[0, 0], *([0, more] for more in added[1:])])
