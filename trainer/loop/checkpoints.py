"""Checkpoints of a training run, from which a run that was stopped resumes."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mdctr import storage
from mdctr.errors import UserError
from trainer.frameworks.core.base import Framework
from trainer.keras import tf
from trainer.loop.scratch import Scratch
from trainer.loop.weight_average import WeightAverage

_KEPT = 2
_RUN_JSON, _FINISHED = 'run.json', 'finished'
_CHECKPOINT = re.compile(r'ckpt-(\d+)\.index')
_STATE = 'run/.ATTRIBUTES/VARIABLE_VALUE'  # the variable in which a checkpoint has its state
# What TensorFlow raises for missing, truncated and damaged checkpoints.
_DAMAGE = (tf.errors.OpError, ValueError, RuntimeError, LookupError, TypeError)
logger = logging.getLogger(__name__)


@dataclass
class RunState:
    """Progress of a run, as a checkpoint stores it.

    Attributes:
        epoch: Current or last epoch, from 0.
        position: Position of the framework in the epoch; None after the epoch's end.
        step: Number of steps so far.
        rows: Number of rows trained on so far in the epoch.
        trained: Whether the epoch's steps are done and only its validation is left.
        best_value: Best value of the early-stopping metric; None before the first validation.
        best_epoch: Epoch whose weights are kept.
        best_metrics: Validation metrics of that epoch.
        bad_epochs: Number of epochs since then.
    """

    epoch: int = 0
    position: int | None = 0
    step: int = 0
    rows: int = 0
    trained: bool = False
    best_value: float | None = None
    best_epoch: int | None = None
    best_metrics: dict[str, Any] = field(default_factory=dict)
    bad_epochs: int = 0


def is_finished(directory: str, identity: dict[str, Any] | None = None) -> bool:
    """Whether a run was finished.

    Args:
        directory: Directory of its checkpoints.
        identity: Identity of the run; any if None.
    """
    if not storage.exists(storage.join(directory, _FINISHED)):
        return False
    return identity is None or _identity_in(directory) == _as_json(identity)


class Checkpoints:
    """Checkpoints of one run, in a directory of their own.

    A checkpoint holds the framework's weights and state together with the `RunState`. One that
    is incomplete or damaged is never restored: the one before it takes its place. The weights
    of the best epochs are separate files in the same directory. In an object store, all are
    copies of local files, which are made as these are written.

    Args:
        directory: Directory of the checkpoints.
        identity: JSON values that must be equal for a run to be resumed.
        framework: Framework whose weights and state are saved.
        average: Average of its weights, if the run keeps one.

    Raises:
        UserError: The directory contains an unfinished run with another identity.
    """

    def __init__(
        self,
        directory: str,
        identity: dict[str, Any],
        framework: Framework,
        average: WeightAverage | None = None,
    ) -> None:
        self._directory = directory
        if is_finished(directory):
            storage.remove(self._path(_RUN_JSON))  # first: without it, there is no run
        self._check(identity)
        self._scratch = Scratch(directory)
        self._scratch.download()
        self._state = tf.Variable(
            json.dumps(asdict(RunState())), dtype=tf.string, trainable=False
        )
        self._weights = tf.train.Checkpoint(**framework.weights())
        state = framework.state() | (average.state() if average else {})
        self._checkpoint = tf.train.Checkpoint(
            run=self._state, weights=self._weights, state=tf.train.Checkpoint(**state)
        )
        self._saved = self._readable()

    @property
    def latest(self) -> str | None:
        """Path prefix of the last checkpoint in the workspace; None if there is none."""
        return self._path(f'ckpt-{max(self._saved)}') if self._saved else None

    def restore(self) -> RunState:
        """Restores the last checkpoint, if there is one.

        Returns:
            The state of the run: that of the checkpoint, or that of a new run.

        Raises:
            UserError: The checkpoint lacks weights or part of an optimizer's state.
        """
        if self._saved:
            number = max(self._saved)
            try:
                self._checkpoint.read(self._local(number)).assert_existing_objects_matched()
            except (AssertionError, ValueError, tf.errors.OpError) as error:
                raise UserError(
                    f'The checkpoint {self.latest} does not hold the state of this model and '
                    f'its optimizers, so the run cannot be resumed: delete {self._directory} '
                    'to start over.'
                ) from error
        return RunState(**json.loads(self._state.numpy()))

    def save(self, state: RunState) -> None:
        """Writes a checkpoint, and removes those that are not needed any more."""
        self._state.assign(json.dumps(asdict(state)))
        self._write(self._checkpoint, f'ckpt-{state.step}')
        self._saved[state.step] = replace(state)
        self._remove_old()

    def _remove_old(self) -> None:
        """Removes what is not needed any more; `.index` first, without which it is nothing."""
        for number in sorted(self._saved)[:-_KEPT]:
            del self._saved[number]
        kept = {f'ckpt-{number}' for number in self._saved}
        kept |= {f'best-{each.best_epoch}' for each in self._saved.values()}
        for name in reversed(storage.list_files(self._scratch.local)):
            if name.startswith(('ckpt-', 'best-')) and name.split('.')[0] not in kept:
                self._scratch.remove(name)

    def keep_best(self, epoch: int) -> None:
        """Writes the weights as those of the best epoch.

        A run that is stopped before the following `save` resumes with the former best epoch.
        """
        self._write(self._weights, f'best-{epoch}')

    def restore_best(self, epoch: int) -> None:
        """Restores the weights of the best epoch.

        Raises:
            UserError: They are damaged.
        """
        try:
            self._weights.read(
                storage.join(self._scratch.local, f'best-{epoch}')
            ).assert_existing_objects_matched()
        except (AssertionError, *_DAMAGE) as error:
            raise UserError(
                f'The weights of the best epoch, {self._path(f"best-{epoch}")}, cannot be '
                f'read: delete {self._directory} to start over.'
            ) from error

    def finish(self) -> None:
        """Marks the run finished; the next training in this directory starts a new one."""
        self._remove_old()  # which the run may have been killed before
        storage.write_bytes(self._path(_FINISHED), b'')
        self._scratch.close()

    def _write(self, checkpoint: tf.train.Checkpoint, name: str) -> None:
        """Writes a checkpoint, whose `.index` is the last file to appear."""
        self._scratch.check()
        checkpoint.write(storage.join(self._scratch.local, name))
        self._scratch.upload(lambda path: path.startswith(f'{name}.'))

    def _readable(self) -> dict[int, RunState]:
        """The states of the kept checkpoints by step; says which ones are damaged."""
        states: dict[int, RunState] = {}
        for number in sorted(self._numbers(), reverse=True):
            try:
                # Only the one that is restored is read completely.
                states[number] = _read_state(self._local(number), completely=not states)
            except _DAMAGE as error:
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
                logger.warning(
                    'The checkpoint %s is damaged and is not used (%s).',
                    self._path(f'ckpt-{number}'),
                    reason,
                )
        return states

    def _numbers(self) -> list[int]:
        matches = map(_CHECKPOINT.fullmatch, storage.list_directory(self._scratch.local))
        return [int(match[1]) for match in matches if match is not None]

    def _local(self, number: int) -> str:
        return storage.join(self._scratch.local, f'ckpt-{number}')

    def _path(self, name: str) -> str:
        return storage.join(self._directory, name)

    def _check(self, identity: dict[str, Any]) -> None:
        identity = _as_json(identity)
        stored = _identity_in(self._directory)
        if stored is None:
            storage.remove_directory(self._directory)  # what is left of a finished run
            storage.write_json(self._path(_RUN_JSON), identity)
            return
        if stored != identity:
            differing = [key for key in identity if stored.get(key) != identity[key]]
            raise UserError(
                f'{self._directory} contains an unfinished run with another '
                f'{" and ".join(differing) or "identity"}: resume that run, delete the '
                'directory, or train in another one.'
            )


def _read_state(prefix: str, completely: bool) -> RunState:
    """Reads the state in a checkpoint.

    Args:
        prefix: Path prefix of the checkpoint.
        completely: Whether to read all tensors, so that TensorFlow compares their checksums.
    """
    reader = tf.train.load_checkpoint(prefix)
    if completely:
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    return RunState(**json.loads(reader.get_tensor(_STATE)))


def _identity_in(directory: str) -> dict[str, Any] | None:
    """The identity of the run in a directory; None if there is no run."""
    try:
        identity: dict[str, Any] = storage.read_json(storage.join(directory, _RUN_JSON))
    except FileNotFoundError:
        return None
    return identity


def _as_json(identity: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(json.dumps(identity))
    return values
