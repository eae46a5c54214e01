"""A trained model for domains that were not there when it was trained."""

from __future__ import annotations

from beam_jobs.dataset import Manifest
from beam_jobs.errors import UserError
from trainer.keras import keras, tf
from trainer.layers.domain_layer import DomainLayer
from trainer.models import build_model
from trainer.models.base import CTRModel


def with_added_domains(model: CTRModel, manifest: Manifest) -> CTRModel:
    """A copy of `model` with a row more in its per-domain variables for every added domain.

    An added domain starts as the shared model, which scored it while it was unseen; nothing
    else changes, and the rows of all other domains get the scores that they got.

    Args:
        model: trained.
        manifest: whose features are those of the model's dataset, and whose domains are the
            model's, under the ids that they had, and more after them.

    Raises:
        UserError: the manifest has fewer domains or other features, or the architecture's
            other variables follow the number of domains too.
    """
    larger = build_model(manifest, model.config)
    for layer, old_layer in zip(larger._flatten_layers(), model._flatten_layers(), strict=True):
        for variable, old in zip(_own_variables(layer), _own_variables(old_layer), strict=True):
            variable.assign(_grown(old_layer, old, variable.shape))
    return larger


def _own_variables(layer: keras.layers.Layer) -> list[tf.Variable]:
    return [*layer._trainable_weights, *layer._non_trainable_weights]


def _grown(layer: keras.layers.Layer, old: tf.Variable, shape: tf.TensorShape) -> tf.Tensor:
    values = tf.convert_to_tensor(old)
    if values.shape == shape:
        return values
    added = [new - before for new, before in zip(shape, values.shape, strict=True)]
    if not isinstance(layer, DomainLayer) or min(added) < 0:
        raise UserError(f'A model with the variable {old.name} of shape {values.shape} cannot '
                        f'get domains added, which would need the shape {shape}: add domains '
                        'only, and keep features and options as they were.')
    row = layer.shared_row(old)
    values = tf.concat([values, *[row[None]] * added[0]], axis=0)
    # An axis that follows the domains too is how much each counts for others: not at all yet.
    return tf.pad(values, [[0, 0], *([0, more] for more in added[1:])])
