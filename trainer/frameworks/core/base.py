"""Base class of the learning frameworks: a framework implements one epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from mdctr.settings import Settings
from trainer.config import TrainConfig
from trainer.data.batching import Batch
from trainer.data.examples import Examples
from trainer.frameworks.core.domain_specific import DomainSpecificParameters
from trainer.frameworks.core.domain_specific_model import DomainSpecificModel
from trainer.keras import keras, tf
from trainer.loop.non_finite import LossGuard
from trainer.loop.step import Predict, TrainStep
from trainer.models import clone_architecture
from trainer.models.base import CTRModel
from trainer.optimizers.row_wise import make_optimizer
from trainer.optimizers.schedule import ProgressSchedule, TrainingProgress


class StepReport(NamedTuple):
    """A point of an epoch at which training can be interrupted and resumed.

    Attributes:
        position: Position in the epoch; passed as `start` to continue after this point.
        loss: Mean loss of the rows since the last report, a scalar tensor.
        rows: Number of those rows.
        steps: Number of steps since the last report.
    """

    position: int
    loss: tf.Tensor
    rows: int
    steps: int = 1


class Framework:
    """Trains a model on a split, one epoch at a time.

    Validation, early stopping, checkpoints and logs are the same for all frameworks
    (`trainer.train`). The training loop calls `epoch`, saves and restores `weights` and
    `state`, scores with `predict` and exports `serving_model`. Frameworks never see the test
    split.

    Subclasses implement `prepare` and `epoch`, and extend the other methods if they train more
    than the model's own variables.

    Args:
        config: Configuration of the run.
        options: Options of the framework.
        model: Model, already built.
        examples: Training split.

    Attributes:
        progress: Progress of the run, which the learning-rate schedule follows.
        optimizer: Optimizer of the run.
        step: Training step, which `prepare` sets.
        guard: Checks the losses of all training steps.
        domain_specific: Domain-specific parameters, if the framework trains any.
    """

    step: TrainStep
    domain_specific: DomainSpecificParameters | None = None

    class Options(Settings):
        """Options of the framework, in `train.framework_options`."""

    def __init__(
        self, config: TrainConfig, options: Options, model: CTRModel, examples: Examples
    ):
        self.config = config
        self.options = options
        self.model, self.examples = model, examples
        self.progress = TrainingProgress(config.passes)
        self.optimizer = self.make_optimizer()
        self._predict = Predict(model)
        self.guard = LossGuard()
        self.prepare()
        for step in self.train_steps():
            step.guard = self.guard

    def prepare(self) -> None:
        """Creates the steps, optimizers and variables that `epoch` uses."""
        raise NotImplementedError

    def train_steps(self) -> list[TrainStep]:
        """Returns the training steps that `prepare` created."""
        return [self.step]

    def epoch(self, number: int, start: int = 0) -> Iterator[StepReport]:
        """Trains for an epoch.

        Whenever this yields, `weights` and `state` contain everything that the rest of the
        epoch depends on.

        Args:
            number: Number of the epoch, from 0.
            start: Position after which to continue.
        """
        raise NotImplementedError

    def update_progress(self, number: int, rows: int) -> None:
        """Updates `progress`; the training loop calls it.

        Overridden where an epoch uses rows several times, or only one domain's rows for its
        domain-specific parameters.

        Args:
            number: Number of the epoch, from 0.
            rows: Number of rows that the epoch has used so far.
        """
        self.progress.update(number, min(1.0, rows / len(self.examples)))

    def collect(self) -> None:
        """Copies parameters that are trained elsewhere, as on parameter servers, to `weights`.

        It is called before a checkpoint within an epoch, and copies to `state` too.
        """

    def finish(self, validation: Examples) -> bool:
        """Runs what remains to be done after the best epoch's weights are restored.

        Args:
            validation: Validation split.

        Returns:
            Whether it changed the model.
        """
        return False

    def weights(self) -> dict[str, Any]:
        """Returns the trained parameters, trackable objects by name.

        Those of the best epoch are kept.
        """
        return {'model': self.model}

    def state(self) -> dict[str, Any]:
        """Returns what else training needs to resume, trackable objects by name."""
        return {'optimizer': self.optimizer}

    def predict(self, batch: Batch) -> tf.Tensor:
        """Returns the logits [batch] that the exported model computes.

        Args:
            batch: Batch of one domain. Validation reads the split domain by domain.
        """
        return self._predict(batch)

    def domain_embeddings(self) -> dict[str, np.ndarray]:
        """Returns `CTRModel.domain_embeddings`, with each row as in its domain's parameters."""
        return {
            name: variable.numpy() for name, variable in self.model.domain_embeddings().items()
        }

    def serving_model(self) -> CTRModel | DomainSpecificModel:
        """Returns the model to export, which is called with rows of any domains."""
        return self.float32_model()

    def float32_model(self) -> CTRModel:
        """Returns the model, computing in float32.

        A row's score then does not depend on the hardware that it is computed on.
        """
        if not self.config.mixed_precision:
            return self.model
        keras.mixed_precision.set_global_policy('float32')
        model = clone_architecture(self.model)
        model.set_weights(self.model.get_weights())
        return model

    def learning_rate(self) -> float:
        """Returns the current learning rate of the optimizer, for the logs."""
        return float(tf.convert_to_tensor(self.optimizer.learning_rate))

    def make_optimizer(
        self,
        name: str | None = None,
        learning_rate: float | None = None,
        options: dict[str, Any] | None = None,
        scheduled: bool = True,
    ) -> keras.optimizers.Optimizer:
        """Returns a new optimizer.

        Args:
            name: Name of the optimizer; the run's, with its options, if None.
            learning_rate: Peak learning rate; the run's if None.
            options: Hyper-parameters, which replace the run's one by one.
            scheduled: Whether the learning rate follows the run's schedule.
        """
        config, options = self.config, options or {}
        if name is None:
            name, options = config.optimizer, {**config.optimizer_options, **options}
        rate = learning_rate or config.learning_rate
        if scheduled and (config.lr_schedule != 'constant' or config.warmup_ratio):
            rate = ProgressSchedule(
                config.lr_schedule, rate, config.warmup_ratio, self.progress.fraction
            )
        optimizer = make_optimizer(name, rate, options)
        if self.config.mixed_precision:
            return keras.mixed_precision.LossScaleOptimizer(optimizer)
        return optimizer
