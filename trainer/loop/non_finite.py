"""Detects losses and weights that are not finite."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mdctr.errors import UserError
from trainer.keras import tf
from trainer.loop.serialized_state import SerializedState

_GPU_DELAY = 2  # steps that may be queued on a GPU before the loss of the first is read


class NonFinite(UserError):
    """The loss or the weights are not finite.

    Args:
        what: What is not finite, for a sentence.
        domain: Id of the domain of the batch; None for a batch of several domains.
    """

    def __init__(self, what: str, domain: int | None):
        super().__init__(f'{what}.')
        self.what, self.domain = what, domain


class _Pending(NamedTuple):
    step: int
    loss: tf.Tensor
    domain: tf.Tensor | None


class LossGuard:
    """Raises `NonFinite` for a loss that is not finite.

    With a GPU it reads a loss some steps later, because reading it at once would keep the next
    step from being queued.

    Attributes:
        step: Number of the current step, which the training loop sets.
    """

    def __init__(self) -> None:
        self.step = 1
        self._delay = _GPU_DELAY if tf.config.list_logical_devices('GPU') else 0
        self._pending: deque[_Pending] = deque()
        self._last_domain: tf.Tensor | None = None

    def add(self, loss: tf.Tensor, domain: tf.Tensor | None = None) -> None:
        """Adds the loss of a step; checks the one that was added some steps before.

        Args:
            loss: Loss, a scalar.
            domain: Domain ids of the batch, a scalar or [batch]; None if not known.
        """
        self._pending.append(_Pending(self.step, loss, domain))
        if domain is not None:
            self._last_domain = domain
        while len(self._pending) > self._delay:
            self._check(self._pending.popleft())

    def flush(self) -> None:
        """Checks all losses that were added."""
        while self._pending:
            self._check(self._pending.popleft())

    def check_weights(self, objects: Mapping[str, Any]) -> None:
        """Checks the weights that the last step has left.

        Args:
            objects: Trackable objects by name.

        Raises:
            NonFinite: A value is not finite.
        """
        self.flush()
        if not all_finite(objects):
            raise NonFinite(
                f'The weights are not finite after step {self.step - 1}',
                _single_domain(self._last_domain),
            )

    def _check(self, pending: _Pending) -> None:
        loss = float(pending.loss)
        if not np.isfinite(loss):
            raise NonFinite(
                f'The loss is {loss} at step {pending.step}', _single_domain(pending.domain)
            )


def all_finite(objects: Mapping[str, Any]) -> bool:
    """Returns whether all floating-point values of trackable objects are finite."""
    root = tf.train.Checkpoint(**objects)  # a view does not keep its root alive
    for value in tf.train.TrackableView(root).descendants():
        tensors = value.tensors() if isinstance(value, SerializedState) else [value]
        for tensor in tensors:
            if (
                isinstance(tensor, (tf.Variable, tf.Tensor))
                and tensor.dtype.is_floating
                and not tf.reduce_all(tf.math.is_finite(tensor))
            ):
                return False
    return True


def _single_domain(domain: tf.Tensor | None) -> int | None:
    if domain is None:
        return None
    ids = np.unique(np.asarray(domain))
    return int(ids[0]) if len(ids) == 1 else None
