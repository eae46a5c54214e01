"""A training run: from a dataset to an exported model."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from beam_jobs.dataset import read_manifest
from beam_jobs.errors import UserError
from beam_jobs.options import to_mapping
from trainer.checkpoints import Checkpoints, RunState
from trainer.config import TrainConfig
from trainer.examples import Examples
from trainer.export import export_model
from trainer.frameworks import make_framework
from trainer.frameworks.base import Framework
from trainer.keras import keras, tf
from trainer.models import build_model
from trainer.summaries import domain_summaries
from trainer.tensorboard import Logs
from trainer.validation import stopping_value, validate

_LINE_SECONDS = 5.0

logger = logging.getLogger(__name__)


def train(dataset: str, run_directory: str, config: TrainConfig, train_split: str = 'train',
          validation_split: str = 'validation') -> str:
    """Trains a model and exports its best epoch.

    Killed and called again with the same arguments, it continues where the last checkpoint
    was written and ends as if it had not been killed. Called again after it has finished, it
    trains anew.

    Args:
        dataset: the dataset's directory.
        run_directory: gets `checkpoints/`, `logs/` (TensorBoard) and `export/`.
        config: what to train and how.
        train_split: the split that is trained on.
        validation_split: the split whose GAUC stops the training and picks the epoch.

    Returns:
        The directory of the exported model.

    Raises:
        UserError: no such dataset, split, model, framework, optimizer or option; a split
            without rows; or an unfinished run of something else in `run_directory`.
    """
    manifest = read_manifest(dataset)
    examples = _examples(dataset, train_split, config)
    validation = _examples(dataset, validation_split, config)
    with _keras_settings(config):
        model = build_model(manifest, config.model)
        framework = make_framework(config, model, examples)
        checkpoints = Checkpoints(
            os.path.join(run_directory, 'checkpoints'),
            {'configuration': to_mapping(config), 'dataset': manifest.fingerprint,
             'splits': [train_split, validation_split]}, framework)
        state = checkpoints.restore()
        if state.step:
            logger.info('Continuing at epoch %d, step %d.', state.epoch + 1, state.step)
        else:
            shutil.rmtree(os.path.join(run_directory, 'logs'), ignore_errors=True)
        logs = Logs(os.path.join(run_directory, 'logs'))
        _Run(config, framework, validation, checkpoints, logs, state).train()
        checkpoints.restore_best(state.best_epoch)
        if framework.finish(validation):
            state.best_metrics = validate(framework, validation)
        logs.embeddings(manifest.domains, framework.domain_embeddings())
        logs.finish(config, state.best_metrics, state.step)
        logs.close()
        directory = export_model(
            framework.serving_model(), os.path.join(run_directory, 'export'), dataset,
            validation, config, state.best_metrics, state.best_epoch + 1)
        checkpoints.finish()
    return directory


class _Run:
    """The loop over epochs, steps and checkpoints."""

    def __init__(self, config: TrainConfig, framework: Framework, validation: Examples,
                 checkpoints: Checkpoints, logs: Logs, state: RunState):
        self.config, self.framework, self.validation = config, framework, validation
        self.checkpoints, self.logs, self.state = checkpoints, logs, state

    def train(self) -> None:
        state = self.state
        while not self._over():
            if state.position is None:
                state.epoch, state.position = state.epoch + 1, 0
            self._epoch()
            self._validate()
            state.position = None
            self.checkpoints.save(state)

    def _over(self) -> bool:
        state = self.state
        return state.position is None and (state.epoch + 1 >= self.config.epochs
                                           or state.bad_epochs >= self.config.patience)

    def _epoch(self) -> None:
        state, pace = self.state, _Pace()
        for progress in self.framework.epoch(state.epoch, state.position):
            state.position, state.step = progress.position, state.step + 1
            pace.add(progress.loss, progress.rows)
            if pace.due():
                self._report(pace)
            if state.step % self.config.checkpoint_steps == 0:
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
        metrics = validate(self.framework, self.validation)
        self._show(metrics)
        name, value = stopping_value(metrics)
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

    def _show(self, metrics: dict[str, Any]) -> None:
        epoch, model = self.state.epoch + 1, self.framework.model
        self.logs.epoch(epoch, metrics, model)
        names, summaries = domain_summaries(model, self.validation)
        self.logs.domains(epoch, names, summaries)
        self.logs.scalars(epoch, model.scalars(summaries))
        self.logs.embeddings(self.validation.manifest.domains,
                             self.framework.domain_embeddings())


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


def _examples(dataset: str, split: str, config: TrainConfig) -> Examples:
    examples = Examples(dataset, split, exclude=config.model.exclude)
    if not len(examples):
        raise UserError(f'The split {split} of {dataset} has no rows: choose its days so that '
                        'it has some.')
    return examples


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
