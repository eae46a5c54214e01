"""Gradients in hand, for frameworks that combine those of several domains into one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer.examples import Batch
from trainer.frameworks.core import summed
from trainer.keras import keras, tf
from trainer.models.base import CTRModel
from trainer.step import TrainStep, batch_signature, loss_of

Gradient = list[Any]  # tensors, and for rows IndexedSlices, of the variables that have any


class GradientStep(TrainStep):
    """A training step in parts: gradients of one-domain batches, then one update.

    Args:
        model: with its variables made.
        optimizer: of the update.
        xla: as of `TrainStep`.
    """

    def __init__(self, model: CTRModel, optimizer: keras.optimizers.Optimizer,
                 xla: bool = False):
        super().__init__(model, optimizer, None, xla)
        self._active: list[tf.Variable] = []  # that have a gradient, and whether by row
        self._by_row: list[bool] = []
        self._curvature: Any = None
        self._updates: Any = None

    def gradient(self, batch: Batch) -> tuple[tf.Tensor, Gradient]:
        """The loss of a batch and its gradient; each row of a variable once."""
        loss, gradients = super().__call__(batch)
        return loss, gradients

    def update(self, gradient: Gradient) -> None:
        """One step of the optimizer."""
        if self._updates is None:
            self._updates = tf.function(
                lambda gradient: self.optimizer.apply_gradients(
                    list(zip(gradient, self._active, strict=True))),
                autograph=False, input_signature=[self._signature()])
        self._updates([_as_rows(each) for each in gradient])

    def descend(self, gradient: Gradient, rate: float) -> Gradient:
        """theta <- theta - rate * gradient; what `put_back` needs."""
        before: Gradient = []
        for each, variable in zip(gradient, self._active, strict=True):
            if isinstance(each, tf.IndexedSlices):
                old = tf.gather(variable, each.indices)
                before.append(tf.IndexedSlices(old, each.indices))
                variable.scatter_update(tf.IndexedSlices(
                    old - rate * each.values, each.indices))
            else:
                before.append(variable.read_value())
                variable.assign_sub(rate * each)
        return before

    def put_back(self, before: Gradient) -> None:
        """Undoes `descend`."""
        for old, variable in zip(before, self._active, strict=True):
            if isinstance(old, tf.IndexedSlices):
                variable.scatter_update(old)
            else:
                variable.assign(old)

    def curvature(self, batch: Batch, vector: Gradient) -> Gradient:
        """The Hessian of a batch's loss times a vector; where `vector` has a row once."""
        if self._curvature is None:
            features, click = batch_signature(self.model, True)
            self._curvature = tf.function(
                self._hessian_product, autograph=False,
                input_signature=[features, click, self._signature()])
        names = [*(feature.name for feature in self.model.features), 'domain']
        return self._curvature({name: batch[name] for name in names}, batch['click'],
                               [_as_rows(each) for each in vector])

    def _step(self, gradients_of, features, click):
        loss, gradients = gradients_of(features, click)
        if self._scaled:
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        pairs = [(each, variable) for each, variable
                 in zip(gradients, self.variables, strict=True) if each is not None]
        self._active = [variable for _, variable in pairs]
        self._by_row = [isinstance(each, tf.IndexedSlices) for each, _ in pairs]
        return loss, [summed(each, variable) if isinstance(each, tf.IndexedSlices) else each
                      for each, variable in pairs]

    def _hessian_product(self, features, click, vector):
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                loss = loss_of(self.model, features, click)
            gradients = inner.gradient(loss, self._active)
            product = tf.add_n([_dot(each, other) for each, other
                                in zip(gradients, vector, strict=True)])
        second = outer.gradient(product, self._active)
        made = []
        for each, first, variable in zip(second, gradients, self._active, strict=True):
            if isinstance(first, tf.IndexedSlices):
                made.append(_as_rows(summed(each, variable)))
            else:
                made.append(tf.zeros_like(first) if each is None
                            else tf.convert_to_tensor(each))
        return made

    def _signature(self):
        return [tf.IndexedSlicesSpec(variable.shape, variable.dtype, tf.int64)
                if by_row else tf.TensorSpec(variable.shape, variable.dtype)
                for variable, by_row in zip(self._active, self._by_row, strict=True)]


def total(gradients: Sequence[Gradient], weights: Sequence[float]) -> Gradient:
    """The weighted sum of gradients; a row is there as often as they have it."""
    made: Gradient = []
    for parts in zip(*gradients, strict=True):
        if isinstance(parts[0], tf.IndexedSlices):
            made.append(tf.IndexedSlices(
                tf.concat([weight * part.values for part, weight
                           in zip(parts, weights, strict=True)], axis=0),
                tf.concat([tf.cast(part.indices, tf.int64) for part in parts], axis=0)))
        else:
            made.append(tf.add_n([weight * part for part, weight
                                  in zip(parts, weights, strict=True)]))
    return made


def rows_once(gradient: Gradient) -> Gradient:
    """The same gradient with each row once."""
    return [tf.IndexedSlices(*_sum_rows(each)) if isinstance(each, tf.IndexedSlices) else each
            for each in gradient]


def _sum_rows(each: tf.IndexedSlices) -> tuple[tf.Tensor, tf.Tensor]:
    numbers, places = tf.unique(each.indices)
    return tf.math.unsorted_segment_sum(each.values, places, tf.size(numbers)), numbers


def _as_rows(each: Any) -> Any:
    if not isinstance(each, tf.IndexedSlices):
        return each
    return tf.IndexedSlices(each.values, tf.cast(each.indices, tf.int64))


def _dot(gradient: Any, vector: Any) -> tf.Tensor:
    """The inner product of two gradients of one variable; `vector` has a row once."""
    if not isinstance(gradient, tf.IndexedSlices):
        return tf.reduce_sum(gradient * vector)
    order = tf.argsort(vector.indices)
    numbers, values = tf.gather(vector.indices, order), tf.gather(vector.values, order)
    wanted = tf.cast(gradient.indices, tf.int64)
    place = tf.minimum(tf.cast(tf.searchsorted(numbers, wanted), tf.int32),
                       tf.size(numbers) - 1)
    found = tf.gather(numbers, place) == wanted
    found = tf.reshape(found, tf.concat(
        [tf.shape(found), tf.ones([len(values.shape) - 1], tf.int32)], 0))
    return tf.reduce_sum(gradient.values * tf.where(found, tf.gather(values, place), 0))
