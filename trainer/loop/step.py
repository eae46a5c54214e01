"""One training step: loss, gradients and optimizer update."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from trainer.data.batching import Batch
from trainer.keras import keras, tf
from trainer.layers.sparse.paths import forced_path
from trainer.loop.non_finite import LossGuard
from trainer.models.base import CTRModel


def loss_of(model: CTRModel, features: dict[str, tf.Tensor], click: tf.Tensor) -> tf.Tensor:
    """Returns the mean cross-entropy of a batch (STAR, equation 8) plus the model's own losses.

    Args:
        model: Model that is trained.
        features: Ids by feature name, and `domain`.
        click: Labels, float32 [batch].
    """
    logits = model(features, training=True)
    loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(click, logits))
    return loss + sum(tf.cast(extra, tf.float32) for extra in model.losses)


def batch_signature(
    model: CTRModel, single_domain: bool
) -> tuple[dict[str, tf.TensorSpec], tf.TensorSpec]:
    """Returns the signature of a batch of any size.

    Args:
        model: Model that reads the batch.
        single_domain: Whether all rows of a batch are of one domain, a scalar.

    Returns:
        Specifications of the ids by feature name, with `domain`, and of the clicks.
    """
    features = {
        feature.name: tf.TensorSpec(
            [None, feature.length] if feature.kind == 'sequence' else [None],
            tf.int32,
            name=feature.name,
        )
        for feature in model.features
    }
    features['domain'] = tf.TensorSpec([] if single_domain else [None], tf.int32, name='domain')
    if (frozen := getattr(model, 'frozen_rows', None)) is not None:
        features |= frozen.signature()
    return features, tf.TensorSpec([None], tf.float32, name='click')


class TrainStep:
    """Training step of a model.

    It is traced at most twice, for batches of one domain and for mixed batches, whatever their
    sizes.

    Args:
        model: Model with its variables built.
        optimizer: Optimizer, which is built here.
        variables: Variables to train; all trainable variables of the model if None.
        xla: Whether to compile the loss and its gradients with XLA, for batches of one domain:
            the domains of a mixed batch are not known at compile time.

    Attributes:
        guard: Checks the loss of every step, if set.
    """

    def __init__(
        self,
        model: CTRModel,
        optimizer: keras.optimizers.Optimizer,
        variables: Sequence[tf.Variable] | None = None,
        xla: bool = False,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.guard: LossGuard | None = None
        self.variables = list(model.trainable_variables if variables is None else variables)
        self._scaled = isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer)
        (optimizer.inner_optimizer if self._scaled else optimizer).build(self.variables)
        compiled = (
            tf.function(self._dense_gradients, jit_compile=True, autograph=False)
            if xla
            else self._gradients
        )
        self._steps = {
            single: tf.function(
                lambda features, click, gradients=gradients: self._step(
                    gradients, features, click
                ),
                autograph=False,
                input_signature=batch_signature(model, single),
            )
            for single, gradients in ((True, compiled), (False, self._gradients))
        }

    def __call__(self, batch: Batch) -> tf.Tensor:
        """Trains on a batch of `Examples`; returns the loss before the update, a scalar."""
        return self.run(batch)[0]

    def run(self, batch: Batch) -> tuple[tf.Tensor, Any]:
        """Runs the step on a batch; returns the loss, and what else `_step` returns."""
        features = _inputs(self.model, batch)
        step = self._steps[len(features['domain'].shape) == 0]
        loss, result = step(features, batch['click'])
        if self.guard is not None:
            self.guard.add(loss, features['domain'])
        return loss, result

    def _gradients(
        self, features: dict[str, tf.Tensor], click: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor | tf.IndexedSlices | None]]:
        with tf.GradientTape() as tape:
            loss = loss_of(self.model, features, click)
            target = self.optimizer.get_scaled_loss(loss) if self._scaled else loss
        return loss, tape.gradient(target, self.variables)

    def _dense_gradients(
        self, features: dict[str, tf.Tensor], click: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor | tf.IndexedSlices | None]]:
        """Same as `_gradients`, without sparse operations, which XLA does not have."""
        with forced_path(sparse=False):
            return self._gradients(features, click)

    def _step(
        self,
        gradients_of: Callable[..., tuple[tf.Tensor, list[Any]]],
        features: dict[str, tf.Tensor],
        click: tf.Tensor,
    ) -> tuple[tf.Tensor, Any]:
        loss, gradients = gradients_of(features, click)
        if self._scaled:
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        self.optimizer.apply_gradients(
            [
                (gradient, variable)
                for gradient, variable in zip(gradients, self.variables, strict=True)
                if gradient is not None
            ]
        )
        return loss, None


class Predict:
    """Inference function of a model; traced at most twice, as `TrainStep` is.

    Args:
        model: Model with its variables built.
    """

    def __init__(self, model: CTRModel) -> None:
        self.model = model
        self._calls = {
            single: tf.function(
                lambda features: model(features, training=False),
                autograph=False,
                input_signature=batch_signature(model, single)[:1],
            )
            for single in (True, False)
        }

    def __call__(self, batch: Batch) -> tf.Tensor:
        """Returns the logits of a batch of `Examples`, float32 [batch]."""
        features = _inputs(self.model, batch)
        return self._calls[len(features['domain'].shape) == 0](features)


def _inputs(model: CTRModel, batch: Batch) -> dict[str, tf.Tensor]:
    inputs = {
        name: batch[name] for name in (*(feature.name for feature in model.features), 'domain')
    }
    if (frozen := getattr(model, 'frozen_rows', None)) is not None:
        inputs |= frozen(inputs)
    return inputs
