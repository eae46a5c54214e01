"""Moving moments in frameworks that move parameters otherwise than by a step.

Batch normalization's averages follow the batches. After a pass over one domain they are that
domain's, and after an outer update they belong to parameters that are no more: so shared ones
are measured again at the end of an epoch, as weight averaging does it (Izmailov et al., 2018,
section 3.2), and a domain that has parameters of its own has averages of its own. Partitioned
normalization has a row a domain and needs neither.
"""

from __future__ import annotations

import itertools

from trainer.examples import Examples
from trainer.keras import keras, tf
from trainer.layers.batch_normalization import BatchNormalization
from trainer.layers.domain_layer import DomainLayer
from trainer.models.base import CTRModel
from trainer.step import batch_signature

_BATCHES = 20


def shared_moments(model: CTRModel) -> list[tf.Variable]:
    """The moving averages that all domains share, their counts with them."""
    return [variable for layer in model._flatten_layers()
            if isinstance(layer, (BatchNormalization, keras.layers.BatchNormalization))
            and layer.trainable  # a frozen tower's never move
            for variable in layer.non_trainable_variables]


class SharedMoments:
    """Measures the averages that all domains share again, with the parameters as they are.

    Args:
        model: with its variables made.
        examples: the training split.
        batch_size: rows a batch.
        seed: of the choice of rows.
    """

    def __init__(self, model: CTRModel, examples: Examples, batch_size: int, seed: int):
        self._model, self._examples = model, examples
        self._size, self._seed = batch_size, seed
        self._layers = [layer for layer in model._flatten_layers()
                        if isinstance(layer, BatchNormalization) and layer.trainable]
        self._forward = tf.function(
            lambda features: model(features, training=True), autograph=False,
            input_signature=batch_signature(model, False)[:1])

    @property
    def needed(self) -> bool:
        """Whether the model has such averages."""
        return bool(self._layers)

    def measure(self, epoch: int) -> None:
        """By mixed batches, a twentieth of the epoch's and no more than twenty."""
        if not self.needed:
            return
        for layer in self._layers:
            layer.moving_count.assign(0.0)  # the next batch sets the averages
        count = min(_BATCHES, -(-self._examples.num_batches(self._size, 'mixed') // 20))
        names = [*(feature.name for feature in self._model.features), 'domain']
        batches = self._examples.epoch(epoch, self._size, 'mixed', self._seed + 1)
        for batch in itertools.islice(batches, count):
            self._forward({name: tf.constant(batch[name]) for name in names})


class Unmoved:
    """Puts moments back: the steps on a helper's rows are to leave none (algorithm 2, line 4).

    Those are of other rows than the target's or, in a helper's own row of partitioned
    normalization, of another domain's parameters.

    Args:
        model: with its variables made.
    """

    def __init__(self, model: CTRModel):
        self._whole = shared_moments(model)
        led = domain_led(model)
        self._rows = [variable for variable in model.non_trainable_variables
                      if id(variable) in led]
        self._reads = tf.function(self._read, autograph=False,
                                  input_signature=[tf.TensorSpec([2], tf.int32)])

    def read(self, domain: int) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """What steps on a domain's rows can move; to be passed to `put_back`."""
        rows = tf.constant([0, domain])
        return rows, self._reads(rows)

    def put_back(self, saved: tuple[tf.Tensor, list[tf.Tensor]]) -> None:
        rows, values = saved
        whole = len(self._whole)
        for variable, value in zip(self._whole, values[:whole], strict=True):
            variable.assign(value)
        for variable, value in zip(self._rows, values[whole:], strict=True):
            variable.scatter_update(tf.IndexedSlices(value, rows))

    def _read(self, rows):
        return [*(variable.read_value() for variable in self._whole),
                *(tf.gather(variable, rows) for variable in self._rows)]


def domain_led(model: CTRModel) -> set[int]:
    """Identities of the variables that have a row for each domain."""
    return {id(variable) for layer in model._flatten_layers() if isinstance(layer, DomainLayer)
            for variable in layer.variables
            if variable.name.split('/')[-1].startswith('domain_')}
