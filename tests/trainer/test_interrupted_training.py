"""Trainings that are killed, or run at the same time, leave the same model.

The fast tests stop a training at some writes from its start to its end, the slow ones at every
write.
"""

import re
import signal

import pytest

from mdctr import storage
from tests.stopped_writes import StoppedProcess, count_writes, environment, with_short_leases
from tests.trainer.tiny_run import PRELOAD, ROWS, outcome, train_tiny
from tests.trainer.trainer_dataset import write_dataset

LOST_LEASE = 'This process lost the lease of .*: run the command again'


def process(function, *arguments, at=0, stop=signal.SIGKILL) -> StoppedProcess:
    return StoppedProcess(function, arguments, at, stop, preload=PRELOAD)


def suspended(function, *arguments, at) -> StoppedProcess:
    """A process that is suspended at a write; its leases expire soon after."""
    return process(with_short_leases, function, *arguments, at=at, stop=signal.SIGSTOP)


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    """A dataset, what a training on it leaves if nothing disturbs it, and its writes."""
    directory = tmp_path_factory.mktemp('tiny')
    dataset = str(directory / 'dataset')
    write_dataset(dataset, rows=ROWS, domains=2)
    run = str(directory / 'run')
    writes = count_writes(train_tiny, (dataset, run), PRELOAD)
    return dataset, outcome(run), writes


def check_kills(tiny, runs, points, variables=None):
    dataset, expected, _ = tiny
    for at in points:
        run = storage.join(runs, str(at))
        assert process(train_tiny, dataset, run, variables, at=at).was_killed(), at
        assert process(train_tiny, dataset, run, variables).join() is None, at
        assert outcome(run) == expected, at


def test_a_training_that_is_killed_and_repeated_gives_the_same_bytes(tiny, tmp_path):
    writes = tiny[2]
    check_kills(tiny, str(tmp_path), [writes // 2, writes - 2])  # before the export's rename


@pytest.mark.slow
def test_a_training_that_is_killed_at_any_write(tiny, tmp_path):
    check_kills(tiny, str(tmp_path), range(1, tiny[2] + 1))


@pytest.mark.slow
def test_a_training_on_an_object_store_that_is_killed(tiny, bucket):
    """At every third write: there are more of them, since each file is copied."""
    arguments = (tiny[0], storage.join(bucket, 'counted'), environment())
    writes = count_writes(train_tiny, arguments, PRELOAD)
    check_kills(tiny, bucket, range(2, writes, 3), environment())


def check_race(tiny, runs, points):
    """Suspends a training at its writes while another one trains in the same directory."""
    dataset, expected, _ = tiny
    for at in points:
        run = storage.join(runs, str(at))
        paused = suspended(train_tiny, dataset, run, at=at)
        assert paused.wait_until_stopped(), at
        assert process(train_tiny, dataset, run).join() is None, at
        assert outcome(run) == expected, at
        paused.resume()
        said = paused.join()
        assert said is None or re.match(LOST_LEASE, said), at
        assert outcome(run) == expected, at


def test_two_trainings_of_one_run_at_the_same_time(tiny, tmp_path):
    writes = tiny[2]
    check_race(tiny, str(tmp_path), [writes // 2, writes - 4])  # before the export's model.json


@pytest.mark.slow
def test_two_trainings_with_one_suspended_at_any_write(tiny, tmp_path):
    check_race(tiny, str(tmp_path), range(1, tiny[2] + 1))


def check_rebuilds(tmp_path, every):
    """Rebuilds a dataset, so that another version is current, while a training is suspended."""
    from tests.beam_jobs.build import versioned_dataset

    dataset, expected = str(tmp_path / 'shop'), str(tmp_path / 'expected')
    versioned_dataset.build(dataset)
    splits = (None, ('period-1', 'period-2'))
    writes = count_writes(train_tiny, (dataset, expected, *splits), PRELOAD)
    for at in range(1, writes + 1) if every else [writes // 2]:
        run = str(tmp_path / str(at))
        versioned_dataset.build(dataset)
        paused = process(train_tiny, dataset, run, *splits, at=at, stop=signal.SIGSTOP)
        assert paused.wait_until_stopped(), at
        versioned_dataset.build_with_another_seed(dataset)
        paused.resume()
        assert paused.join() is None, at
        assert outcome(run) == outcome(expected), at


def test_a_dataset_is_rebuilt_while_a_training_reads_it(tmp_path):
    check_rebuilds(tmp_path, every=False)


@pytest.mark.slow
def test_a_dataset_is_rebuilt_at_any_write_of_a_training(tmp_path):
    check_rebuilds(tmp_path, every=True)
