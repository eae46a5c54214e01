"""Features with a user's past behaviors, and the item features that they correspond to."""

from __future__ import annotations

from typing import NamedTuple

from mdctr.errors import UserError
from mdctr.manifest import Feature
from trainer.keras import tf
from trainer.models.base import CTRModel, Inputs


class Behaviors(NamedTuple):
    """A history, and the feature of the row's item of which it has past values.

    Attributes:
        history: Sequence feature, most recent first.
        target: Categorical feature with the same vocabulary.
    """

    history: Feature
    target: Feature


def find_behaviors(model: CTRModel) -> list[Behaviors]:
    """Finds every history to which a feature of the row's item corresponds, in order.

    Raises:
        UserError: There is none.
    """
    targets = {
        feature.vocabulary: feature
        for feature in reversed(model.features)
        if feature.kind == 'categorical'
        and feature.vocabulary
        and (feature.owner == 'item' or feature.name == 'item_id')
    }
    behaviors = [
        Behaviors(feature, targets[feature.vocabulary])
        for feature in model.features
        if feature.history and feature.vocabulary in targets
    ]
    if not behaviors:
        raise UserError(
            f'The model {model.config.name} attends to what the user clicked before, which '
            'the dataset does not contain: add a feature of the kind history, of item_id or '
            'another feature of the item.'
        )
    return behaviors


def field_vectors(model: CTRModel, inputs: Inputs, name: str) -> tf.Tensor:
    """Returns the embeddings [batch, dim] of one feature."""
    return inputs.fields[:, model.fields.index(name)]


def concatenate_fields_without(model: CTRModel, inputs: Inputs, names: set[str]) -> tf.Tensor:
    """Concatenates the embeddings of all features but those of `names`, [batch, units]."""
    kept = [place for place, name in enumerate(model.fields) if name not in names]
    fields = tf.gather(inputs.fields, kept, axis=1)
    return tf.reshape(fields, [-1, len(kept) * model.config.embedding_dim])
