"""Which features are a user's past behaviors, and of what."""

from __future__ import annotations

from typing import NamedTuple

from beam_jobs.dataset import Feature
from beam_jobs.errors import UserError
from trainer.keras import tf
from trainer.models.base import CTRModel, Inputs


class Behaviors(NamedTuple):
    """A history, and the feature of the row's item that it remembers of past clicks.

    Attributes:
        history: a sequence, most recent first.
        target: categorical, with the ids of the same vocabulary.
    """

    history: Feature
    target: Feature


def behaviors_of(model: CTRModel) -> list[Behaviors]:
    """Every history of which the row's own item has a value too, in the features' order.

    Raises:
        UserError: there is none.
    """
    targets = {feature.vocabulary: feature for feature in reversed(model.features)
               if feature.kind == 'categorical' and feature.vocabulary
               and (feature.owner == 'item' or feature.name == 'item_id')}
    found = [Behaviors(feature, targets[feature.vocabulary]) for feature in model.features
             if feature.history and feature.vocabulary in targets]
    if not found:
        raise UserError(f'The model {model.config.name} attends to what the user clicked '
                        'before, of which the dataset has nothing: give it a feature of the '
                        'kind history, of item_id or another feature of the item.')
    return found


def field(model: CTRModel, inputs: Inputs, name: str) -> tf.Tensor:
    """The vectors [batch, dim] of one feature."""
    return inputs.fields[:, model.fields.index(name)]


def flat_without(model: CTRModel, inputs: Inputs, names: set[str]) -> tf.Tensor:
    """The fields side by side, [batch, units], less some."""
    kept = [place for place, name in enumerate(model.fields) if name not in names]
    fields = tf.gather(inputs.fields, kept, axis=1)
    return tf.reshape(fields, [-1, len(kept) * model.config.embedding_dim])
