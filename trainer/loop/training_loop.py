"""The training loop: epochs, steps, validation, early stopping and checkpoints."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from trainer.config import TrainConfig
from trainer.data.examples import Examples
from trainer.frameworks.core.base import Framework
from trainer.loop.checkpoints import Checkpoints, RunState
from trainer.loop.domain_summaries import domain_summaries
from trainer.loop.interruption import StopRequest, TrainingInterrupted
from trainer.loop.progress_meter import ProgressMeter
from trainer.loop.tensorboard import Logs
from trainer.loop.validation import stopping_value, validate
from trainer.loop.weight_average import WeightAverage

logger = logging.getLogger(__name__)


class TrainingLoop:
    """Trains a framework from the state of its last checkpoint.

    Args:
        config: Configuration of the run.
        framework: Framework to train.
        validation: Validation split; None if all epochs are trained and the last one is kept.
        checkpoints: Checkpoints of the run.
        logs: TensorBoard logs of the run.
        state: Progress of the run, which is updated.
        average: Average of the weights, if the run keeps one.
        stop: Whether the process has been asked to stop.
    """

    def __init__(
        self,
        config: TrainConfig,
        framework: Framework,
        validation: Examples | None,
        checkpoints: Checkpoints,
        logs: Logs,
        state: RunState,
        average: WeightAverage | None,
        stop: StopRequest,
    ) -> None:
        self._config, self._framework, self._validation = config, framework, validation
        self._checkpoints, self._logs, self._state = checkpoints, logs, state
        self._average, self._stop = average, stop

    def run(self) -> None:
        """Trains until the last epoch, or until validation has stopped improving.

        Raises:
            NonFinite: The loss or the weights are not finite.
            TrainingInterrupted: SIGTERM arrived.
        """
        state = self._state
        while not self._is_over():
            if state.position is None:
                state.epoch, state.position, state.rows = state.epoch + 1, 0, 0
            if not state.trained:
                self._train_epoch()
                self._check_weights()
                if self._average is not None:
                    self._average.add()
                state.trained = True
            try:
                with (
                    contextlib.nullcontext()
                    if self._average is None
                    else self._average.in_place()
                ):
                    self._validate()
            except TrainingInterrupted:
                self._save()
                raise
            state.position, state.trained = None, False
            self._save()
            if not self._is_over():
                self._stop_if_requested()

    def _is_over(self) -> bool:
        state, config = self._state, self._config
        return state.position is None and (
            state.epoch + 1 >= config.passes or state.bad_epochs >= config.patience
        )

    def _train_epoch(self) -> None:
        state, framework, meter = self._state, self._framework, ProgressMeter()
        every = self._config.checkpoint_steps
        framework.update_progress(state.epoch, state.rows)
        framework.guard.step = state.step + 1
        for report in framework.epoch(state.epoch, state.position or 0):
            step_before, state.position = state.step, report.position
            state.step += report.steps
            state.rows += report.rows
            framework.guard.add(report.loss)
            framework.guard.step = state.step + 1
            framework.update_progress(state.epoch, state.rows)
            meter.add(report.loss, report.rows)
            if meter.is_due():
                self._report(meter)
            if self._stop.requested or state.step // every > step_before // every:
                framework.collect()
                self._save()
            self._stop_if_requested()
        self._report(meter)

    def _save(self) -> None:
        self._check_weights()
        self._checkpoints.save(self._state)
        self._logs.copy()

    def _check_weights(self) -> None:
        """Weights that are not finite are neither validated nor saved."""
        framework = self._framework
        framework.guard.check_weights({**framework.weights(), **framework.state()})

    def _stop_if_requested(self) -> None:
        if self._stop.requested:
            raise TrainingInterrupted(
                f'Training stopped on SIGTERM at epoch {self._state.epoch + 1}, step '
                f'{self._state.step}, and saved its state: the same command resumes it there.'
            )

    def _report(self, meter: ProgressMeter) -> None:
        progress = meter.report()
        if progress is None:
            return
        state = self._state
        logger.info(
            'epoch %d, step %d: loss %.4f, %.0f examples/s',
            state.epoch + 1,
            state.step,
            progress.loss,
            progress.speed,
        )
        self._logs.steps(
            state.step, progress.loss, self._framework.learning_rate(), progress.speed
        )

    def _validate(self) -> None:
        state = self._state
        if self._validation is None:
            self._log_epoch({'overall': {}, 'domains': {}}, self._framework.examples)
            state.best_epoch = state.epoch
            self._checkpoints.keep_best(state.epoch)
            return
        metrics = validate(
            self._framework, self._validation, after_batch=self._stop_if_requested
        )
        self._log_epoch(metrics, self._validation)
        name, value = stopping_value(metrics, self._config.early_stopping_metric)
        overall = metrics['overall']
        logger.info(
            'epoch %d: validation %s',
            state.epoch + 1,
            ', '.join(
                f'{key} {overall[key]:.4f}'
                for key in ('gauc', 'auc', 'log_loss', 'pcoc')
                if overall[key] is not None
            ),
        )
        if state.best_value is None or value > state.best_value:
            state.best_value, state.best_epoch = value, state.epoch
            state.best_metrics, state.bad_epochs = metrics, 0
            self._checkpoints.keep_best(state.epoch)
        else:
            state.bad_epochs += 1
            logger.info(
                '%s has not improved for %d of %d epochs',
                name,
                state.bad_epochs,
                self._config.patience,
            )

    def _log_epoch(self, metrics: dict[str, Any], examples: Examples) -> None:
        epoch, model = self._state.epoch + 1, self._framework.model
        self._logs.epoch(epoch, metrics, model)
        names, summaries = domain_summaries(model, examples)
        self._logs.domains(epoch, names, summaries)
        self._logs.scalars(epoch, model.scalars(summaries))
        self._logs.embeddings(model.manifest.domains, self._framework.domain_embeddings())
