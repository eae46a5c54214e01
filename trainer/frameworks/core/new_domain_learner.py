"""Learners of a new domain's parameters in a trained model; the other parameters are frozen."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from mdctr.errors import UserError
from trainer.config import TrainConfig
from trainer.data.batching import Batch
from trainer.data.examples import Examples
from trainer.data.prefetch import prefetch
from trainer.frameworks.core.domain_regularizer import DomainRegularizer, RegularizationOptions
from trainer.frameworks.core.domain_specific import DomainDelta
from trainer.frameworks.core.domain_specific_model import DomainSpecificModel
from trainer.frameworks.core.moments import per_domain_variable_ids, shared_moments
from trainer.keras import keras, tf
from trainer.loop.non_finite import LossGuard
from trainer.loop.step import Predict, TrainStep, loss_of
from trainer.models.base import CTRModel
from trainer.optimizers.row_gradients import UniqueRows
from trainer.optimizers.row_optimizer import RowOptimizer
from trainer.optimizers.schedule import TrainingProgress


class NewDomainLearner(abc.ABC):
    """Learns the parameters of a new domain of a trained model.

    Attributes:
        guard: Checks the losses of all steps.
    """

    def __init__(self, step: TrainStep):
        self.guard = step.guard = LossGuard()

    @abc.abstractmethod
    def epoch(self, number: int) -> None:
        """Trains for a pass over the domain's rows.

        Args:
            number: Number of the epoch, from 0.
        """

    @abc.abstractmethod
    def predict(self, batch: Batch) -> tf.Tensor:
        """Returns the logits [batch] of a batch of the domain."""

    @abc.abstractmethod
    def weights(self) -> dict[str, Any]:
        """Returns the trained parameters, trackable objects by name."""

    @abc.abstractmethod
    def keep_best(self) -> None:
        """Saves the domain's current parameters as the best ones."""

    @abc.abstractmethod
    def restore_best(self) -> None:
        """Restores the parameters that `keep_best` saved last."""

    @abc.abstractmethod
    def serving_model(self) -> CTRModel | DomainSpecificModel:
        """Returns the model to export."""


class DomainDeltaLearner(NewDomainLearner):
    """Learns theta_new, a difference from all shared parameters, by MAMDR's algorithm 2.

    theta_new starts from 0, the model of unseen domains. If `examples` have rows of one domain
    only, there are no helpers: lines 3, 5 and 6 remain.

    Args:
        model: Model extended by the domain.
        deltas: theta_i of the domains before it.
        config: Configuration of the training.
        options: Options of domain regularization.
        examples: Training rows of the new domain, and of helper domains.
        domain: Id of the new domain.
        optimizer: Optimizer of the inner loop, with a constant learning rate.
    """

    def __init__(
        self,
        model: CTRModel,
        deltas: Sequence[DomainDelta],
        config: TrainConfig,
        options: RegularizationOptions,
        examples: Examples,
        domain: int,
        optimizer: keras.optimizers.Optimizer,
    ):
        self._regularization = DomainRegularizer(
            config,
            options,
            model,
            examples,
            optimizer,
            TrainingProgress(config.passes),
            allow_no_helpers=True,
        )
        super().__init__(self._regularization.step)
        self.domain_specific = self._regularization.domain_specific
        self._domain, self._best = domain, DomainDelta()
        self._predict = Predict(model)
        for delta, old in zip(self.domain_specific.deltas, deltas, strict=False):
            delta.copy_from(old)

    def epoch(self, number: int) -> None:
        with _preserved_state(self.domain_specific.model, self._domain):
            for _ in self._regularization.epoch(number, targets=[self._domain]):
                pass

    def predict(self, batch: Batch) -> tf.Tensor:
        self.domain_specific.enter(self._domain)
        try:
            return self._predict(batch)
        finally:
            self.domain_specific.leave(keep=False)

    def weights(self) -> dict[str, Any]:
        return {
            'model': self.domain_specific.model,
            'domain_specific': self.domain_specific.trackable(),
        }

    def keep_best(self) -> None:
        self._best.copy_from(self.domain_specific.deltas[self._domain])

    def restore_best(self) -> None:
        self.domain_specific.deltas[self._domain].copy_from(self._best)

    def serving_model(self) -> DomainSpecificModel:
        return DomainSpecificModel(self.domain_specific)


class DomainRowsLearner(NewDomainLearner):
    """Learns the new domain's rows of a model's per-domain variables, and nothing else.

    If domains share moving moments, the model is trained in inference mode: with these moments
    and without dropout.

    Args:
        model: Model extended by the domain.
        config: Configuration of the training.
        examples: Training rows of the new domain.
        domain: Id of the new domain.
        optimizer: Row-wise optimizer.

    Raises:
        UserError: The optimizer would update other rows too.
    """

    def __init__(
        self,
        model: CTRModel,
        config: TrainConfig,
        examples: Examples,
        domain: int,
        optimizer: keras.optimizers.Optimizer,
    ):
        if not isinstance(optimizer, RowOptimizer):
            raise UserError(
                f'The optimizer {config.optimizer} updates the rows of other domains too: set '
                'train.optimizer to sgd, momentum, adam, adagrad or rmsprop to add a domain.'
            )
        self._model, self._config, self._examples = model, config, examples
        self._domain = domain
        per_domain = per_domain_variable_ids(model)
        self._variables = [
            variable for variable in model.variables if id(variable) in per_domain
        ]
        self._step = _DomainRowStep(model, optimizer, per_domain_variables(model), domain)
        super().__init__(self._step)
        self._predict = Predict(model)
        self.keep_best()

    def epoch(self, number: int) -> None:
        with _preserved_state(self._model, self._domain):
            for batch in prefetch(
                self._examples.domain_epoch(
                    self._domain, number, self._config.batch_size, self._config.seed
                )
            ):
                self._step(batch)

    def predict(self, batch: Batch) -> tf.Tensor:
        return self._predict(batch)

    def weights(self) -> dict[str, Any]:
        return {'model': self._model}

    def keep_best(self) -> None:
        self._best = [np.array(variable[self._domain]) for variable in self._variables]

    def restore_best(self) -> None:
        for variable, row in zip(self._variables, self._best, strict=True):
            variable.scatter_update(tf.IndexedSlices(row[None], [self._domain]))

    def serving_model(self) -> CTRModel:
        return self._model


@contextmanager
def _preserved_state(model: CTRModel, domain: int) -> Iterator[None]:
    """Restores the variables that are not trained, except the rows of one domain.

    They are shared moments, those of unseen domains, and schedules.
    """
    per_domain = per_domain_variable_ids(model)
    before = [(variable, variable.numpy()) for variable in model.non_trainable_variables]
    yield
    for variable, value in before:
        if id(variable) in per_domain:
            value[domain] = variable[domain].numpy()
        variable.assign(value)


def per_domain_variables(model: CTRModel) -> list[tf.Variable]:
    """Returns the trainable variables with a row per domain.

    Args:
        model: Model, already built.
    """
    per_domain = per_domain_variable_ids(model)
    return [variable for variable in model.trainable_variables if id(variable) in per_domain]


class _DomainRowStep(TrainStep):
    """A training step that updates one domain's row of each variable.

    Args:
        model: Model, already built.
        optimizer: Row-wise optimizer.
        variables: Variables with a row per domain.
        domain: Id of the domain.
    """

    def __init__(
        self,
        model: CTRModel,
        optimizer: keras.optimizers.Optimizer,
        variables: list[tf.Variable],
        domain: int,
    ):
        self._domain = domain
        self._inference_mode = bool(shared_moments(model))
        super().__init__(model, optimizer, variables)

    def _gradients(
        self, features: dict[str, tf.Tensor], click: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor | tf.IndexedSlices | None]]:
        with tf.GradientTape() as tape:
            if self._inference_mode:
                loss = tf.reduce_mean(
                    tf.nn.sigmoid_cross_entropy_with_logits(
                        click, self.model(features, training=False)
                    )
                )
            else:
                loss = loss_of(self.model, features, click)
        return loss, [
            gradient if gradient is None else self._domain_row(gradient)
            for gradient in tape.gradient(loss, self.variables)
        ]

    def _domain_row(self, gradient: tf.Tensor | tf.IndexedSlices) -> UniqueRows:
        """Returns the gradient of the domain's row."""
        index = tf.constant([self._domain])
        if not isinstance(gradient, tf.IndexedSlices):
            return UniqueRows(gradient[self._domain][None], index)
        mask = tf.cast(gradient.indices == self._domain, gradient.values.dtype)
        mask = tf.reshape(mask, [-1] + [1] * (len(gradient.values.shape) - 1))
        row = tf.reduce_sum(gradient.values * mask, axis=0, keepdims=True)
        return UniqueRows(row, index, gradient.dense_shape)
