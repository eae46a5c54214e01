"""Loss and speed of training since the last report."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from trainer.keras import tf

_SECONDS_BETWEEN_REPORTS = 5.0


class Progress(NamedTuple):
    """The mean loss of a row, and examples per second."""

    loss: float
    speed: float


class ProgressMeter:
    """Collects losses and rows between two reports.

    Losses stay tensors until they are reported: reading one waits for the device to finish its
    step, and the next step could not be queued meanwhile.
    """

    def __init__(self) -> None:
        self._reset()

    def add(self, loss: tf.Tensor, rows: int) -> None:
        """Adds a step with its mean loss, a scalar, and its number of rows."""
        self._losses.append(loss)
        self._rows.append(rows)

    def is_due(self) -> bool:
        """Returns whether it is time for a report."""
        return time.monotonic() - self._start >= _SECONDS_BETWEEN_REPORTS

    def report(self) -> Progress | None:
        """Returns the progress since the last report; None if there were no rows."""
        if not sum(self._rows):
            return None
        loss = float(np.average(tf.stack(self._losses).numpy(), weights=self._rows))
        speed = sum(self._rows) / max(time.monotonic() - self._start, 1e-9)
        self._reset()
        return Progress(loss, speed)

    def _reset(self) -> None:
        self._start = time.monotonic()
        self._losses: list[tf.Tensor] = []
        self._rows: list[int] = []
