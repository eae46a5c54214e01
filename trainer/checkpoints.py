"""Where a training run stands, on disk: what a killed run continues from."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from typing import Any

from beam_jobs.errors import UserError
from trainer.frameworks.base import Framework
from trainer.keras import tf
from trainer.weight_average import WeightAverage

_KEPT = 2


@dataclass
class RunState:
    """A point of a run.

    Attributes:
        epoch: the epoch that is or was last being trained, from 0.
        position: the framework's position in it; None at its end.
        step: steps so far.
        rows: rows trained on so far in that epoch.
        best_value: of the metric that stops early; None before the first epoch's end.
        best_epoch: the epoch whose weights are kept.
        best_metrics: that epoch's validation metrics.
        bad_epochs: epochs since then.
    """

    epoch: int = 0
    position: int | None = 0
    step: int = 0
    rows: int = 0
    best_value: float | None = None
    best_epoch: int | None = None
    best_metrics: dict[str, Any] = field(default_factory=dict)
    bad_epochs: int = 0


class Checkpoints:
    """The checkpoints of one run, in a directory of their own.

    A checkpoint holds the framework's weights and state together with the `RunState`, and is
    whole or is not found: TensorFlow names it in its list after its files are complete. The
    best epoch's weights are files beside.

    Args:
        directory: of the checkpoints.
        identity: what must be equal for a run to be continued (plain values).
        framework: whose weights and state are saved.
        average: of its weights, where one is kept.

    Raises:
        UserError: the directory holds the unfinished run of another identity.
    """

    def __init__(self, directory: str, identity: dict[str, Any], framework: Framework,
                 average: WeightAverage | None = None):
        self._directory = directory
        self._identity_path = os.path.join(directory, 'run.json')
        self._finished_path = os.path.join(directory, 'finished')
        if os.path.exists(self._finished_path):
            shutil.rmtree(directory)
        self._check(identity)
        self._state = tf.Variable(json.dumps(asdict(RunState())), dtype=tf.string,
                                  trainable=False)
        self._weights = tf.train.Checkpoint(**framework.weights())
        state = framework.state() | (average.state() if average else {})
        self._manager = tf.train.CheckpointManager(
            tf.train.Checkpoint(run=self._state, weights=self._weights,
                                state=tf.train.Checkpoint(**state)),
            directory, max_to_keep=_KEPT)

    def restore(self) -> RunState:
        """Puts back the last checkpoint, if there is one; where it stands.

        Raises:
            UserError: it lacks something of the weights or of an optimizer's state.
        """
        latest = self._manager.latest_checkpoint
        if latest:
            try:
                self._manager.checkpoint.restore(latest).assert_existing_objects_matched()
            except (AssertionError, ValueError, tf.errors.OpError) as error:
                raise UserError(
                    f'The checkpoint {latest} does not hold the state of this model and its '
                    f'optimizers, and the run cannot be continued: delete {self._directory} to '
                    'train anew.') from error
        return RunState(**json.loads(self._state.numpy()))

    def save(self, state: RunState) -> None:
        """Writes a checkpoint."""
        self._state.assign(json.dumps(asdict(state)))
        self._manager.save(checkpoint_number=state.step)
        for name in os.listdir(self._directory):
            if name.startswith('best-') and not name.startswith(f'best-{state.best_epoch}.'):
                os.remove(os.path.join(self._directory, name))

    def keep_best(self, epoch: int) -> None:
        """Writes the weights as those of the best epoch; the `save` that follows counts."""
        self._weights.write(os.path.join(self._directory, f'best-{epoch}'))

    def restore_best(self, epoch: int) -> None:
        """Puts back the weights of the best epoch."""
        self._weights.read(os.path.join(
            self._directory, f'best-{epoch}')).assert_existing_objects_matched()

    def finish(self) -> None:
        """Marks the run finished: training in this directory again starts anew."""
        with open(self._finished_path, 'w', encoding='utf-8'):
            pass

    def _check(self, identity: dict[str, Any]) -> None:
        identity = json.loads(json.dumps(identity))
        try:
            with open(self._identity_path, encoding='utf-8') as file:
                found = json.load(file)
        except FileNotFoundError:
            os.makedirs(self._directory, exist_ok=True)
            with open(self._identity_path + '.tmp', 'w', encoding='utf-8') as file:
                json.dump(identity, file, indent=1)
            os.replace(self._identity_path + '.tmp', self._identity_path)
            return
        if found != identity:
            differing = [key for key in identity if found.get(key) != identity[key]]
            raise UserError(
                f'{self._directory} holds the unfinished training of another '
                f'{" and ".join(differing) or "run"}: continue that one, delete the '
                'directory, or train in another.')
