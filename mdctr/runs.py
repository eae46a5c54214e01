"""Runs of equal values in sorted columns."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def starts_run(*columns: NDArray[Any]) -> NDArray[np.bool_]:
    """Marks the rows that differ from the row before them in any column.

    Args:
        *columns: Columns of equal length, `[rows]`.

    Returns:
        `bool[rows]`; the first row is always marked.
    """
    starts = np.ones(len(columns[0]), bool)
    if len(starts):
        starts[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return starts


def run_starts(*columns: NDArray[Any]) -> NDArray[np.int64]:
    """The row numbers at which runs begin, `int64[runs]`; see `starts_run`."""
    return np.flatnonzero(starts_run(*columns))
