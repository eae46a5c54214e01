"""Explicit gradients for frameworks that combine several domains' gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from trainer.data.batching import Batch
from trainer.frameworks.core.snapshot import deduplicate
from trainer.keras import keras, tf
from trainer.layers.sparse.paths import forced_path
from trainer.loop.step import TrainStep, batch_signature, loss_of
from trainer.models.base import CTRModel
from trainer.optimizers.row_gradients import deduplicate_rows

# One entry per variable that has a gradient: a tensor, or IndexedSlices for sparse gradients.
Gradient = list[Any]


class GradientStep(TrainStep):
    """A training step in parts: gradients of one-domain batches, then one update.

    Args:
        model: Model, already built.
        optimizer: Optimizer of the update.
        xla: Whether to compile the gradients with XLA, as for `TrainStep`.
    """

    def __init__(
        self, model: CTRModel, optimizer: keras.optimizers.Optimizer, xla: bool = False
    ):
        super().__init__(model, optimizer, None, xla)
        self._active: list[tf.Variable] = []  # the variables that have a gradient
        self._is_sparse: list[bool] = []  # whether the gradient of each is sparse
        self._hessian_function: Any = None
        self._update_function: Any = None

    def gradient(self, batch: Batch) -> tuple[tf.Tensor, Gradient]:
        """Returns the loss of a batch and its gradient, with unique row indices.

        Args:
            batch: Batch of one domain.
        """
        return self.run(batch)

    def update(self, gradient: Gradient) -> None:
        """Applies one step of the optimizer.

        Args:
            gradient: Gradient of the step.
        """
        if self._update_function is None:
            self._update_function = tf.function(
                lambda gradient: self.optimizer.apply_gradients(
                    list(zip(gradient, self._active, strict=True))
                ),
                autograph=False,
                input_signature=[self._signature()],
            )
        self._update_function([_with_int64_indices(part) for part in gradient])

    def descend(self, gradient: Gradient, rate: float) -> Gradient:
        """Takes a gradient descent step: theta <- theta - rate * gradient.

        Args:
            gradient: Gradient, with unique row indices.
            rate: Learning rate.

        Returns:
            The previous values, for `undo`.
        """
        previous: Gradient = []
        for part, variable in zip(gradient, self._active, strict=True):
            if isinstance(part, tf.IndexedSlices):
                old = tf.gather(variable, part.indices)
                previous.append(tf.IndexedSlices(old, part.indices))
                variable.scatter_update(
                    tf.IndexedSlices(old - rate * part.values, part.indices)
                )
            else:
                previous.append(variable.read_value())
                variable.assign_sub(rate * part)
        return previous

    def undo(self, previous: Gradient) -> None:
        """Undoes `descend`.

        Args:
            previous: Values that `descend` returned.
        """
        for old, variable in zip(previous, self._active, strict=True):
            if isinstance(old, tf.IndexedSlices):
                variable.scatter_update(old)
            else:
                variable.assign(old)

    def hessian_vector_product(self, batch: Batch, vector: Gradient) -> Gradient:
        """Returns the Hessian of a batch's loss times a vector.

        Args:
            batch: Batch of one domain.
            vector: Vector of the form of a gradient, with unique row indices.
        """
        if self._hessian_function is None:
            features, click = batch_signature(self.model, True)
            self._hessian_function = tf.function(
                self._hessian_vector_product,
                autograph=False,
                input_signature=[features, click, self._signature()],
            )
        names = [*(feature.name for feature in self.model.features), 'domain']
        return self._hessian_function(
            {name: batch[name] for name in names},
            batch['click'],
            [_with_int64_indices(part) for part in vector],
        )

    def _step(
        self,
        gradients_of: Callable[..., tuple[tf.Tensor, list[Any]]],
        features: dict[str, tf.Tensor],
        click: tf.Tensor,
    ) -> tuple[tf.Tensor, Gradient]:
        loss, gradients = gradients_of(features, click)
        if self._scaled:
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        pairs = [
            (gradient, variable)
            for gradient, variable in zip(gradients, self.variables, strict=True)
            if gradient is not None
        ]
        self._active = [variable for _, variable in pairs]
        self._is_sparse = [isinstance(gradient, tf.IndexedSlices) for gradient, _ in pairs]
        return loss, [
            deduplicate(gradient, variable)
            if isinstance(gradient, tf.IndexedSlices)
            else gradient
            for gradient, variable in pairs
        ]

    def _hessian_vector_product(
        self, features: dict[str, tf.Tensor], click: tf.Tensor, vector: Gradient
    ) -> Gradient:
        """Differentiates the inner product of the gradient and the vector."""
        # TensorFlow's sparse lookups can be differentiated only once.
        with forced_path(sparse=False), tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                loss = loss_of(self.model, features, click)
            gradients = inner.gradient(loss, self._active)
            product = tf.add_n(
                [_dot(gradient, part) for gradient, part in zip(gradients, vector, strict=True)]
            )
        products = outer.gradient(product, self._active)
        result: Gradient = []
        for part, gradient, variable in zip(products, gradients, self._active, strict=True):
            if isinstance(gradient, tf.IndexedSlices):
                result.append(_with_int64_indices(deduplicate(part, variable)))
            elif part is None:
                result.append(tf.zeros_like(gradient))
            else:
                result.append(tf.convert_to_tensor(part))
        return result

    def _signature(self) -> list[tf.IndexedSlicesSpec | tf.TensorSpec]:
        """Returns the signature of a gradient."""
        return [
            tf.IndexedSlicesSpec(variable.shape, variable.dtype, tf.int64)
            if is_sparse
            else tf.TensorSpec(variable.shape, variable.dtype)
            for variable, is_sparse in zip(self._active, self._is_sparse, strict=True)
        ]


def weighted_sum(gradients: Sequence[Gradient], weights: Sequence[float]) -> Gradient:
    """Returns the weighted sum of gradients, whose row indices may repeat.

    Args:
        gradients: Gradients of the same variables.
        weights: Weight of each gradient.
    """
    result: Gradient = []
    for parts in zip(*gradients, strict=True):
        if isinstance(parts[0], tf.IndexedSlices):
            values = [weight * part.values for part, weight in zip(parts, weights, strict=True)]
            indices = [tf.cast(part.indices, tf.int64) for part in parts]
            result.append(tf.IndexedSlices(tf.concat(values, 0), tf.concat(indices, 0)))
        else:
            result.append(
                tf.add_n([weight * part for part, weight in zip(parts, weights, strict=True)])
            )
    return result


def deduplicate_gradient(gradient: Gradient) -> Gradient:
    """Returns the same gradient with unique row indices."""
    return [
        deduplicate_rows(part) if isinstance(part, tf.IndexedSlices) else part
        for part in gradient
    ]


def _with_int64_indices(part: Any) -> Any:
    if not isinstance(part, tf.IndexedSlices):
        return part
    return tf.IndexedSlices(part.values, tf.cast(part.indices, tf.int64))


def _dot(gradient: Any, vector: Any) -> tf.Tensor:
    """Returns the inner product of two gradients of one variable.

    Args:
        gradient: Gradient, whose row indices may repeat.
        vector: Gradient with unique row indices.
    """
    if not isinstance(gradient, tf.IndexedSlices):
        return tf.reduce_sum(gradient * vector)
    order = tf.argsort(vector.indices)
    indices, values = tf.gather(vector.indices, order), tf.gather(vector.values, order)
    wanted = tf.cast(gradient.indices, tf.int64)
    position = tf.minimum(
        tf.cast(tf.searchsorted(indices, wanted), tf.int32), tf.size(indices) - 1
    )
    found = tf.gather(indices, position) == wanted
    found = tf.reshape(
        found, tf.concat([tf.shape(found), tf.ones([len(values.shape) - 1], tf.int32)], 0)
    )
    return tf.reduce_sum(gradient.values * tf.where(found, tf.gather(values, position), 0))
