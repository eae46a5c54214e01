"""Learns what is a new domain's own, of a trained model, from the domain's data alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from beam_jobs.errors import UserError
from trainer.config import TrainConfig
from trainer.examples import Batch, Examples, prefetch
from trainer.frameworks.domain_models import DomainModels
from trainer.frameworks.mamdr import MAMDR
from trainer.frameworks.moments import domain_led, shared_moments
from trainer.frameworks.regularization import Regularization, RegularizationOptions
from trainer.frameworks.specific import Difference, SpecificParameters
from trainer.keras import keras, tf
from trainer.models.base import CTRModel
from trainer.models.grown import grown
from trainer.optimizers import RowOptimizer
from trainer.row_gradients import RowsOnce
from trainer.schedule import Course
from trainer.step import Predict, TrainStep, loss_of


def add_domain(trained: MAMDR, examples: Examples, domain: int,
               epochs: int = 1) -> SpecificParameters:
    """Learns theta_new of a new domain by domain regularization; nothing else moves.

    theta_S and every other theta_i stay as they are to the last bit, and theta_new starts
    from zero, the model of unseen domains. Where `examples` hold other domains too, these
    help (algorithm 2); of the new domain's rows alone, lines 3, 5 and 6 remain.

    Args:
        trained: MAMDR or domain regularization, trained; it stays as it is.
        examples: the new domain's training rows, in a dataset with the vocabularies of the
            one that `trained` was trained on and with all its domains, and new ones after them.
        domain: the new domain's id.
        epochs: of updates by algorithm 2, at a constant rate.

    Returns:
        The specific parameters of all domains, of a model with the new ones; `DomainModels`
        of it is what to export.

    Raises:
        UserError: the domain is not new or has no rows, or the model cannot get domains.
    """
    if domain < trained.model.num_domains:
        raise UserError(f'Domain {domain} is not new: the model has it already.')
    if not examples.count(domain):
        raise UserError(f'Domain {domain} has no training rows: add it when it has some.')
    learner = OwnParameters(
        grown(trained.model, examples.manifest), trained.specific.differences, trained.config,
        trained.options, examples, domain, trained.make_inner(scheduled=False))
    for number in range(epochs):
        learner.epoch(number)
    return learner.specific


class OwnParameters:
    """theta_new of a new domain: the difference of all of its parameters from the shared ones.

    Args:
        model: that has the domain.
        differences: the theta_i of the domains before it.
        config: of the training.
        options: of domain regularization.
        examples: the new domain's training rows, and those of domains that are to help it.
        domain: the new domain's id.
        optimizer: of the inner loop, at a rate that follows no schedule.
    """

    def __init__(self, model: CTRModel, differences: Sequence[Difference], config: TrainConfig,
                 options: RegularizationOptions, examples: Examples, domain: int,
                 optimizer: keras.optimizers.Optimizer):
        self._regularization = Regularization(config, options, model, examples, optimizer,
                                              Course(config.passes), alone=True)
        self.specific = self._regularization.specific
        self._domain, self._best = domain, Difference()
        self._predict = Predict(model)
        for mine, theirs in zip(self.specific.differences, differences, strict=False):
            mine.copy_from(theirs)

    def epoch(self, number: int) -> None:
        """One update by algorithm 2."""
        with _state_kept(self.specific.model, self._domain):
            for _ in self._regularization.epoch(number, targets=[self._domain]):
                pass

    def predict(self, batch: Batch) -> tf.Tensor:
        """Logits of a batch of the domain."""
        self.specific.enter(self._domain)
        try:
            return self._predict(batch)
        finally:
            self.specific.leave(keep=False)

    def keep(self) -> None:
        """Remembers what is the domain's own now."""
        self._best.copy_from(self.specific.differences[self._domain])

    def put_back(self) -> None:
        """Goes back to what was remembered."""
        self.specific.differences[self._domain].copy_from(self._best)

    def serving_model(self) -> DomainModels:
        """What to export."""
        return DomainModels(self.specific)


class OwnRows:
    """The new domain's rows of a model's per-domain variables; every other row stays.

    Where domains share moving moments, the model is trained as it infers, by them and without
    dropout.

    Args:
        model: that has the domain.
        config: of the training.
        examples: the new domain's training rows.
        domain: the new domain's id.
        optimizer: one of the row-wise ones.

    Raises:
        UserError: the optimizer would move other rows too.
    """

    def __init__(self, model: CTRModel, config: TrainConfig, examples: Examples, domain: int,
                 optimizer: keras.optimizers.Optimizer):
        if not isinstance(optimizer, RowOptimizer):
            raise UserError(f'The optimizer {config.optimizer} moves the rows of other domains '
                            'too: set train.optimizer to sgd, momentum, adam, adagrad or '
                            'rmsprop to add a domain.')
        self._model, self._config, self._examples = model, config, examples
        self._domain = domain
        led = domain_led(model)
        self._mine = [each for each in model.variables if id(each) in led]
        self._step = _OwnRowStep(model, optimizer, own_variables(model), domain)
        self._predict = Predict(model)
        self.keep()

    def epoch(self, number: int) -> None:
        """A pass over the domain's rows."""
        with _state_kept(self._model, self._domain):
            for batch in prefetch(self._examples.domain_epoch(
                    self._domain, number, self._config.batch_size, self._config.seed)):
                self._step(batch)

    def predict(self, batch: Batch) -> tf.Tensor:
        """Logits of a batch of the domain."""
        return self._predict(batch)

    def keep(self) -> None:
        """Remembers what is the domain's own now."""
        self._best = [np.array(each[self._domain]) for each in self._mine]

    def put_back(self) -> None:
        """Goes back to what was remembered."""
        for variable, row in zip(self._mine, self._best, strict=True):
            variable.scatter_update(tf.IndexedSlices(row[None], [self._domain]))

    def serving_model(self) -> CTRModel:
        """What to export."""
        return self._model


@contextmanager
def _state_kept(model: CTRModel, domain: int) -> Iterator[None]:
    """Puts back what training moves beside parameters (moments that domains share, those of
    unseen domains, schedules), but for the domain's own rows."""
    led = domain_led(model)
    before = [(each, each.numpy()) for each in model.non_trainable_variables]
    yield
    for variable, value in before:
        if id(variable) in led:
            value[domain] = variable[domain].numpy()
        variable.assign(value)


def own_variables(model: CTRModel) -> list[tf.Variable]:
    """The trainable variables with a row for each domain."""
    led = domain_led(model)
    return [each for each in model.trainable_variables if id(each) in led]


class _OwnRowStep(TrainStep):
    """A step that moves one row of each variable, whatever rows have gradients."""

    def __init__(self, model: CTRModel, optimizer: keras.optimizers.Optimizer,
                 variables: list[tf.Variable], domain: int):
        self._row = domain
        self._inferring = bool(shared_moments(model))
        super().__init__(model, optimizer, variables)

    def _gradients(self, features, click):
        with tf.GradientTape() as tape:
            if self._inferring:
                loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(
                    click, self.model(features, training=False)))
            else:
                loss = loss_of(self.model, features, click)
        return loss, [gradient if gradient is None else self._of_row(gradient) for gradient
                      in tape.gradient(loss, self.variables)]

    def _of_row(self, gradient):
        if not isinstance(gradient, tf.IndexedSlices):
            return RowsOnce(gradient[self._row][None], tf.constant([self._row]))
        mine = tf.cast(gradient.indices == self._row, gradient.values.dtype)
        mine = tf.reshape(mine, [-1] + [1] * (len(gradient.values.shape) - 1))
        summed = tf.reduce_sum(gradient.values * mine, axis=0, keepdims=True)
        return RowsOnce(summed, tf.constant([self._row]), gradient.dense_shape)
