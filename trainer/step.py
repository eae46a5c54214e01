"""One step of training: the loss, its gradients, the optimizer."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.examples import Batch
from trainer.keras import keras, tf
from trainer.models.base import CTRModel


def loss_of(model: CTRModel, features: dict[str, tf.Tensor], click: tf.Tensor) -> tf.Tensor:
    """The mean cross-entropy of the rows (STAR, equation 8), and the model's own losses."""
    logits = model(features, training=True)
    loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(click, logits))
    return loss + sum(tf.cast(extra, tf.float32) for extra in model.losses)


def batch_signature(model: CTRModel, single_domain: bool) -> tuple[dict, tf.TensorSpec]:
    """Of the ids that the model reads, with `domain`, and of the clicks; any batch size."""
    features = {feature.name: tf.TensorSpec(
        [None, feature.length] if feature.kind == 'sequence' else [None], tf.int32,
        name=feature.name) for feature in model.features}
    features['domain'] = tf.TensorSpec([] if single_domain else [None], tf.int32, name='domain')
    if (frozen := getattr(model, 'frozen_rows', None)) is not None:
        features |= frozen.signature()
    return features, tf.TensorSpec([None], tf.float32, name='click')


class TrainStep:
    """Moves a model by one batch.

    The step is traced twice at most, for batches of one domain and for mixed ones; no batch
    size traces again.

    Args:
        model: with its variables made.
        optimizer: its slots are made here.
        variables: what is trained; every trainable variable of the model when absent.
        xla: compile the loss and its gradients with XLA, for batches of one domain: which
            domains a mixed batch holds is not known when it would be compiled.
    """

    def __init__(self, model: CTRModel, optimizer: keras.optimizers.Optimizer,
                 variables: Sequence[tf.Variable] | None = None, xla: bool = False):
        self.model, self.optimizer = model, optimizer
        self.variables = list(model.trainable_variables if variables is None else variables)
        self._scaled = isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer)
        (optimizer.inner_optimizer if self._scaled else optimizer).build(self.variables)
        compiled = tf.function(
            self._gradients, jit_compile=True, autograph=False) if xla else self._gradients
        self._steps = {
            single: tf.function(
                lambda features, click, gradients=gradients: self._step(
                    gradients, features, click),
                autograph=False, input_signature=batch_signature(model, single))
            for single, gradients in ((True, compiled), (False, self._gradients))}

    def __call__(self, batch: Batch) -> tf.Tensor:
        """Trains on a batch of `Examples`; returns its loss before the step."""
        features = _inputs(self.model, batch)
        return self._steps[len(features['domain'].shape) == 0](features, batch['click'])

    def _gradients(self, features, click):
        with tf.GradientTape() as tape:
            loss = loss_of(self.model, features, click)
            target = self.optimizer.get_scaled_loss(loss) if self._scaled else loss
        return loss, tape.gradient(target, self.variables)

    def _step(self, gradients_of, features, click):
        loss, gradients = gradients_of(features, click)
        if self._scaled:
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        self.optimizer.apply_gradients(
            [(gradient, variable) for gradient, variable
             in zip(gradients, self.variables, strict=True) if gradient is not None])
        return loss


class Predict:
    """Logits of a batch of `Examples`, without training; traced as `TrainStep` is.

    Args:
        model: with its variables made.
    """

    def __init__(self, model: CTRModel):
        self.model = model
        self._calls = {
            single: tf.function(
                lambda features: model(features, training=False), autograph=False,
                input_signature=batch_signature(model, single)[:1])
            for single in (True, False)}

    def __call__(self, batch: Batch) -> tf.Tensor:
        features = _inputs(self.model, batch)
        return self._calls[len(features['domain'].shape) == 0](features)


def _inputs(model: CTRModel, batch: Batch) -> dict[str, tf.Tensor]:
    inputs = {name: batch[name]
              for name in (*(feature.name for feature in model.features), 'domain')}
    if (frozen := getattr(model, 'frozen_rows', None)) is not None:
        inputs |= frozen(inputs)
    return inputs
