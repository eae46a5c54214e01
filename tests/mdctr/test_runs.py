"""Runs of equal values."""

import numpy as np

from mdctr.runs import run_starts, starts_run


def test_runs_of_one_column():
    assert run_starts(np.array([3, 3, 1, 1, 1, 3])).tolist() == [0, 2, 5]


def test_a_run_ends_when_any_column_changes():
    one, other = np.array([1, 1, 1, 2]), np.array([7, 7, 8, 8])
    assert starts_run(one, other).tolist() == [True, False, True, True]


def test_no_rows_have_no_runs():
    assert run_starts(np.zeros(0)).tolist() == []
