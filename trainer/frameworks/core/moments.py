"""Moving moments of normalization, for frameworks that also move parameters without a step.

The moving averages of batch normalization follow the batches. After a pass over one domain they
describe that domain, and after an outer update they belong to parameters that no longer exist.
Shared ones are therefore measured again at the end of an epoch, as in weight averaging
(Izmailov et al., Averaging Weights Leads to Wider Optima, 2018, section 3.2), and a domain that
has its own parameters has its own averages. Partitioned normalization has a row per domain and
needs neither.
"""

from __future__ import annotations

import itertools

from trainer.data.examples import Examples
from trainer.keras import keras, tf
from trainer.layers.basic.batch_normalization import WarmUpBatchNormalization
from trainer.layers.domain.domain_layer import DomainLayer
from trainer.loop.step import batch_signature
from trainer.models.base import CTRModel

_MAX_BATCHES = 20


def shared_moments(model: CTRModel) -> list[tf.Variable]:
    """Returns the moving averages that all domains share, and their counts.

    Args:
        model: Model, already built.
    """
    return [
        variable
        for layer in model._flatten_layers()
        if isinstance(layer, (WarmUpBatchNormalization, keras.layers.BatchNormalization))
        and layer.trainable  # the averages of a frozen tower never move
        for variable in layer.non_trainable_variables
    ]


class SharedMoments:
    """Measures the moving averages that all domains share, with the current parameters.

    Args:
        model: Model, already built.
        examples: Training split.
        batch_size: Maximum rows of a batch.
        seed: Random seed of the choice of rows.
    """

    def __init__(self, model: CTRModel, examples: Examples, batch_size: int, seed: int):
        self._model, self._examples = model, examples
        self._size, self._seed = batch_size, seed
        self._layers = [
            layer
            for layer in model._flatten_layers()
            if isinstance(layer, WarmUpBatchNormalization) and layer.trainable
        ]
        self._forward = tf.function(
            lambda features: model(features, training=True),
            autograph=False,
            input_signature=batch_signature(model, False)[:1],
        )

    @property
    def needed(self) -> bool:
        """Whether the model has such averages."""
        return bool(self._layers)

    def measure(self, epoch: int) -> None:
        """Measures the averages on a twentieth of the mixed batches of an epoch, at most 20.

        Args:
            epoch: Number of the epoch.
        """
        if not self.needed:
            return
        for layer in self._layers:
            layer.moving_count.assign(0.0)  # so that the next batch replaces the averages
        count = min(_MAX_BATCHES, -(-self._examples.num_batches(self._size, 'mixed') // 20))
        names = [*(feature.name for feature in self._model.features), 'domain']
        batches = self._examples.epoch(epoch, self._size, 'mixed', self._seed + 1)
        for batch in itertools.islice(batches, count):
            self._forward({name: tf.constant(batch[name]) for name in names})


class PreservedMoments:
    """Saves and restores moments around the steps on a helper's rows (algorithm 2, line 4).

    Those steps would move them by rows of another domain than the target or, in the helper's
    own row of partitioned normalization, with another domain's parameters.

    Args:
        model: Model, already built.
    """

    def __init__(self, model: CTRModel):
        self._shared = shared_moments(model)
        per_domain = per_domain_variable_ids(model)
        self._per_domain = [
            variable for variable in model.non_trainable_variables if id(variable) in per_domain
        ]
        self._read_function = tf.function(
            self._read, autograph=False, input_signature=[tf.TensorSpec([2], tf.int32)]
        )

    def save(self, domain: int) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Returns the moments that steps on a domain's rows can move, for `restore`.

        Args:
            domain: Id of the domain.
        """
        rows = tf.constant([0, domain])
        return rows, self._read_function(rows)

    def restore(self, saved: tuple[tf.Tensor, list[tf.Tensor]]) -> None:
        """Restores the moments.

        Args:
            saved: Moments that `save` returned.
        """
        rows, values = saved
        count = len(self._shared)
        for variable, value in zip(self._shared, values[:count], strict=True):
            variable.assign(value)
        for variable, value in zip(self._per_domain, values[count:], strict=True):
            variable.scatter_update(tf.IndexedSlices(value, rows))

    def _read(self, rows: tf.Tensor) -> list[tf.Tensor]:
        return [
            *(variable.read_value() for variable in self._shared),
            *(tf.gather(variable, rows) for variable in self._per_domain),
        ]


def per_domain_variable_ids(model: CTRModel) -> set[int]:
    """Returns the identities (`id`) of the variables that have a row per domain.

    Args:
        model: Model, already built.
    """
    return {
        id(variable)
        for layer in model._flatten_layers()
        if isinstance(layer, DomainLayer)
        for variable in layer.variables
        if variable.name.split('/')[-1].startswith('domain_')
    }
