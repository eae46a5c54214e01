"""A training run: from a dataset to an exported model."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from beam_jobs.dataset import read_manifest
from beam_jobs.errors import UserError
from beam_jobs.options import to_mapping
from trainer.base_rate import base_log_odds
from trainer.checkpoints import Checkpoints, RunState
from trainer.config import TrainConfig
from trainer.custom_gradients import forgotten_gradients
from trainer.distributed.framework import Distributed, join_cluster
from trainer.examples import Examples
from trainer.export import export_model
from trainer.frameworks import make_framework
from trainer.frameworks.base import Framework
from trainer.keras import keras, tf
from trainer.summaries import domain_summaries
from trainer.tensorboard import Logs
from trainer.trained import Initial, start_model
from trainer.validation import stopping_value, validate
from trainer.weight_average import WeightAverage

_LINE_SECONDS = 5.0

logger = logging.getLogger(__name__)


@forgotten_gradients()
def train(dataset: str, run_directory: str, config: TrainConfig,
          train_split: str | Sequence[str] = 'train',
          validation_split: str | Sequence[str] | None = 'validation',
          domains: Sequence[str] | None = None, initial: Initial | None = None,
          source: str | None = None) -> str:
    """Trains a model and exports its best epoch.

    Killed and called again with the same arguments, it continues where the last checkpoint
    was written and ends as if it had not been killed. Called again after it has finished, it
    trains anew.

    Where the environment's TF_CONFIG makes this process the chief of a cluster, the cluster
    trains (`trainer.distributed`); a worker or parameter server serves and does not return.

    Args:
        dataset: the dataset's directory.
        run_directory: gets `checkpoints/`, `logs/` (TensorBoard) and `export/`.
        config: what to train and how.
        train_split: the split that is trained on, or several that are trained on as one.
        validation_split: the split, or the splits, that stops the training and picks
            the epoch; None where all epochs are trained and the last one is kept.
        domains: the names of the domains whose rows both are made of; absent, all.
        initial: an exported model whose parameters, or part of them, training starts from.
        source: the directory of an exported model of another domain, on which `ctnet` and
            `dual_embedding` are built; copies of one model are the same model.

    Returns:
        The directory of the exported model.

    Raises:
        UserError: no such dataset, split, domain, model, framework, optimizer or option; a
            split without rows; an initial or source model that is not there, is damaged or
            does not fit; or an unfinished run of something else in `run_directory`.
    """
    cluster = join_cluster(config)
    manifest = read_manifest(dataset)
    examples = _examples(dataset, train_split, config, domains)
    validation = (None if validation_split is None
                  else _examples(dataset, validation_split, config, domains))
    with _keras_settings(config):
        start = start_model(dataset, manifest, config.model, examples.splits, initial, source)
        if initial is None or initial.parts != 'all':
            start.model.start_at(base_log_odds(examples))
        if cluster is None and config.epochs > 1 and config.framework == 'joint':
            start.model.remember()
        framework = make_framework(config, start.model, examples)
        _check_finish(framework, validation)
        if cluster is not None:
            framework = Distributed(framework, cluster)
        average = (WeightAverage(framework.weights(), framework.specific)
                   if config.average else None)
        checkpoints = Checkpoints(
            os.path.join(run_directory, 'checkpoints'),
            {'configuration': to_mapping(config), 'dataset': manifest.fingerprint,
             'splits': [examples.splits, validation and validation.splits],
             'domains': domains and list(domains), 'start': start.identity,
             **({} if cluster is None else {'parameter servers': True})}, framework, average)
        state = checkpoints.restore()
        if state.step:
            logger.info('Continuing at epoch %d, step %d.', state.epoch + 1, state.step)
        else:
            shutil.rmtree(os.path.join(run_directory, 'logs'), ignore_errors=True)
        logs = Logs(os.path.join(run_directory, 'logs'))
        _Run(config, framework, validation, checkpoints, logs, state, average).train()
        checkpoints.restore_best(state.best_epoch)
        if validation is not None and framework.finish(validation):
            state.best_metrics = validate(framework, validation)
        logs.embeddings(start.model.manifest.domains, framework.domain_embeddings())
        logs.finish(config, state.best_metrics, state.step)
        logs.close()
        directory = export_model(
            framework.serving_model(), os.path.join(run_directory, 'export'), dataset,
            validation or examples, config, state.best_metrics, state.best_epoch + 1,
            list(dict.fromkeys([*start.splits, *examples.splits])))
        checkpoints.finish()
    return directory


class _Run:
    """The loop over epochs, steps and checkpoints."""

    def __init__(self, config: TrainConfig, framework: Framework,
                 validation: Examples | None, checkpoints: Checkpoints, logs: Logs,
                 state: RunState, average: WeightAverage | None):
        self.average = average
        self.config, self.framework, self.validation = config, framework, validation
        self.checkpoints, self.logs, self.state = checkpoints, logs, state

    def train(self) -> None:
        state = self.state
        while not self._over():
            if state.position is None:
                state.epoch, state.position, state.rows = state.epoch + 1, 0, 0
            self._epoch()
            if self.average is None:
                self._validate()
            else:
                self.average.add()
                with self.average.in_place():
                    self._validate()
            state.position = None
            self.checkpoints.save(state)

    def _over(self) -> bool:
        state = self.state
        return state.position is None and (state.epoch + 1 >= self.config.passes
                                           or state.bad_epochs >= self.config.patience)

    def _epoch(self) -> None:
        state, pace = self.state, _Pace()
        self.framework.note_rows(state.epoch, state.rows)
        for progress in self.framework.epoch(state.epoch, state.position):
            before, state.position = state.step, progress.position
            state.step += progress.steps
            state.rows += progress.rows
            self.framework.note_rows(state.epoch, state.rows)
            pace.add(progress.loss, progress.rows)
            if pace.due():
                self._report(pace)
            every = self.config.checkpoint_steps
            if state.step // every > before // every:
                self.framework.collect()
                self.checkpoints.save(state)
        self._report(pace)

    def _report(self, pace: _Pace) -> None:
        if not pace.rows:
            return
        loss, speed = pace.take()
        logger.info('epoch %d, step %d: loss %.4f, %.0f examples/s', self.state.epoch + 1,
                    self.state.step, loss, speed)
        self.logs.steps(self.state.step, loss, self.framework.learning_rate(), speed)

    def _validate(self) -> None:
        state = self.state
        if self.validation is None:
            self._show({'overall': {}, 'domains': {}}, self.framework.examples)
            state.best_epoch = state.epoch
            self.checkpoints.keep_best(state.epoch)
            return
        metrics = validate(self.framework, self.validation)
        self._show(metrics, self.validation)
        name, value = stopping_value(metrics, self.config.stop_by)
        overall = metrics['overall']
        logger.info('epoch %d: validation %s', state.epoch + 1, ', '.join(
            f'{key} {overall[key]:.4f}' for key in ('gauc', 'auc', 'log_loss', 'pcoc')
            if overall[key] is not None))
        if state.best_value is None or value > state.best_value:
            state.best_value, state.best_epoch = value, state.epoch
            state.best_metrics, state.bad_epochs = metrics, 0
            self.checkpoints.keep_best(state.epoch)
        else:
            state.bad_epochs += 1
            logger.info('%s has not risen for %d of %d epochs', name, state.bad_epochs,
                        self.config.patience)

    def _show(self, metrics: dict[str, Any], examples: Examples) -> None:
        epoch, model = self.state.epoch + 1, self.framework.model
        self.logs.epoch(epoch, metrics, model)
        names, summaries = domain_summaries(model, examples)
        self.logs.domains(epoch, names, summaries)
        self.logs.scalars(epoch, model.scalars(summaries))
        self.logs.embeddings(model.manifest.domains, self.framework.domain_embeddings())


class _Pace:
    """Losses and rows since the last line of progress.

    Losses stay tensors until they are shown: reading one waits for the device to finish its
    step, and the next step could not be sent to it meanwhile.
    """

    def __init__(self):
        self._since, self.rows = time.monotonic(), 0
        self._losses: list[tf.Tensor] = []
        self._weights: list[int] = []

    def add(self, loss: tf.Tensor, rows: int) -> None:
        self.rows += rows
        self._losses.append(loss)
        self._weights.append(rows)

    def due(self) -> bool:
        return time.monotonic() - self._since >= _LINE_SECONDS

    def take(self) -> tuple[float, float]:
        """The mean loss of a row and the rows per second, which start again."""
        loss = float(np.average(tf.stack(self._losses).numpy(), weights=self._weights))
        speed = self.rows / max(time.monotonic() - self._since, 1e-9)
        self.__init__()
        return loss, speed


def _examples(dataset: str, split: str | Sequence[str], config: TrainConfig,
              domains: Sequence[str] | None) -> Examples:
    examples = Examples(dataset, split, exclude=config.model.exclude, domains=domains)
    if not len(examples):
        of = f' of the domains {", ".join(domains)}' if domains else ''
        raise UserError(f'The split {examples.split} of {dataset} has no rows{of}: choose its '
                        'days so that it has some.')
    return examples


def _check_finish(framework: Framework, validation: Examples | None) -> None:
    if validation is None and type(framework).finish is not Framework.finish:
        raise UserError(f'The framework {framework.config.framework} ends with a look at the '
                        'validation split: train with one, or by another framework.')


@contextmanager
def _keras_settings(config: TrainConfig) -> Iterator[None]:
    """Seeds, and the precision of the layers that are made inside."""
    keras.utils.set_random_seed(config.seed)
    before = keras.mixed_precision.global_policy()
    if config.mixed_precision:
        keras.mixed_precision.set_global_policy('mixed_float16')
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)
