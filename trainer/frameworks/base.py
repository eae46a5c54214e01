"""What every learning framework is: it owns the epoch, and nothing around it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from trainer.config import TrainConfig
from trainer.examples import Batch, Examples
from trainer.frameworks.specific import SpecificParameters
from trainer.keras import keras, tf
from trainer.models import like
from trainer.models.base import CTRModel
from trainer.optimizers import make_optimizer
from trainer.schedule import Course, Schedule
from trainer.step import Predict


class Progress(NamedTuple):
    """A point of an epoch at which training can be cut and continued.

    Attributes:
        position: what to pass as `start` to continue after this point.
        loss: the mean loss of the rows since the last point, a scalar tensor.
        rows: how many those were.
        steps: how many steps, of the run's count.
    """

    position: int
    loss: tf.Tensor
    rows: int
    steps: int = 1


class Framework:
    """Trains a model on a split, an epoch at a time.

    Validation, early stopping, checkpoints and logs are `trainer.train`'s, for all
    frameworks alike; it calls `epoch`, saves and restores what `weights` and `state` name,
    scores with `predict` and exports `serving_model`. The test split is never in sight.

    Subclasses write `epoch` and, where they train more than the model's own variables, extend
    the other methods.

    Args:
        config: of the run.
        options: this framework's own.
        model: with its variables made.
        examples: the training split.

    Attributes:
        course: how far the run is, which the schedule of the learning rate follows.
        specific: the parameters of each domain's own, where the framework trains any.
    """

    specific: SpecificParameters | None = None

    @dataclass(frozen=True)
    class Options:
        """What the framework takes in `train.framework_options`."""

    def __init__(self, config: TrainConfig, options: Options, model: CTRModel,
                 examples: Examples):
        self.config, self.options = config, options
        self.model, self.examples = model, examples
        self.course = Course(config.passes)
        self.optimizer = self.make_optimizer()
        self._predict = Predict(model)
        self.prepare()

    def prepare(self) -> None:
        """Makes the steps, optimizers and variables that `epoch` uses."""
        raise NotImplementedError

    def epoch(self, number: int, start: int = 0) -> Iterator[Progress]:
        """Trains for an epoch, the first being 0, from the position `start` on.

        Everything that the rest of the epoch depends on is in `weights` and `state` whenever
        a `Progress` is given.
        """
        raise NotImplementedError

    def note_rows(self, number: int, rows: int) -> None:
        """Sets `course` by the rows that epoch `number` has used; `trainer.train` calls it.

        Overridden where an epoch uses rows several times, or one domain's for what is the
        domain's own.
        """
        self.course.at(number, min(1.0, rows / len(self.examples)))

    def collect(self) -> None:
        """Brings what has been learned into `weights` and `state`, where it is elsewhere;
        before a checkpoint within an epoch."""

    def finish(self, validation: Examples) -> bool:
        """What is left to do with the best epoch's weights; whether it changed the model.

        Args:
            validation: the split that stops training early.
        """
        return False

    def weights(self) -> dict[str, Any]:
        """What has been learned (trackable objects): kept for the best epoch."""
        return {'model': self.model}

    def state(self) -> dict[str, Any]:
        """What else training needs to continue (trackable objects)."""
        return {'optimizer': self.optimizer}

    def predict(self, batch: Batch) -> tf.Tensor:
        """Logits [batch] of a batch of one domain, as the exported model gives them.

        Validation goes through the split domain after domain.
        """
        return self._predict(batch)

    def domain_embeddings(self) -> dict[str, np.ndarray]:
        """`CTRModel.domain_embeddings` as each domain sees its own row."""
        return {name: variable.numpy()
                for name, variable in self.model.domain_embeddings().items()}

    def serving_model(self) -> CTRModel:
        """The model to export: `call(features)` of mixed domains, `features` and `fold`.

        It computes in float32, so that a row's score does not depend on where it is scored.
        """
        if not self.config.mixed_precision:
            return self.model
        keras.mixed_precision.set_global_policy('float32')
        model = like(self.model)
        model.set_weights(self.model.get_weights())
        return model

    def learning_rate(self) -> float:
        """What the optimizer uses now, for the logs."""
        return float(tf.convert_to_tensor(self.optimizer.learning_rate))

    def make_optimizer(self, name: str | None = None, learning_rate: float | None = None,
                       options: dict[str, Any] | None = None,
                       scheduled: bool = True) -> keras.optimizers.Optimizer:
        """An optimizer: without a name the run's own, with the run's options and these.

        Args:
            name: of the optimizer.
            learning_rate: absent, the run's.
            options: its hyper-parameters.
            scheduled: whether its rate rises and falls with the run's.
        """
        config, options = self.config, options or {}
        if name is None:
            name, options = config.optimizer, {**config.optimizer_options, **options}
        rate = learning_rate or config.learning_rate
        if scheduled and (config.schedule != 'constant' or config.warmup):
            rate = Schedule(config.schedule, rate, config.warmup, self.course.done)
        optimizer = make_optimizer(name, rate, options)
        if self.config.mixed_precision:
            return keras.mixed_precision.LossScaleOptimizer(optimizer)
        return optimizer
