"""An evaluation that is killed and repeated writes the same bytes, on disk and in a store.

The fast test kills it at some writes from its start to its end, the slow ones at every write.
"""

import os

import pytest

from beam_jobs.evaluation.config import EvaluateConfig
from beam_jobs.evaluation.evaluate import evaluate
from mdctr import storage
from tests.beam_jobs.tiny_dataset import item_weights, make_rows, write_dataset, write_model
from tests.stopped_writes import StoppedProcess, count_writes, environment

PRELOAD = ('tests.beam_jobs.evaluation.test_interrupted_evaluation', 's3fs', 'tensorflow')
CONFIG = EvaluateConfig(min_auc=0.5, max_gauc_drop=0.1, bootstrap_replicates=3)


def evaluate_tiny(place: str, output: str, variables: dict[str, str] | None = None) -> None:
    """Evaluates a model against a pushed one."""
    os.environ.update(variables or {})
    inputs = [os.path.join(place, name) for name in ('dataset', 'model')]
    evaluate(*inputs, output, CONFIG, pushed=[os.path.join(place, 'pushed')])


def contents(output: str) -> dict[str, bytes]:
    return {
        name: storage.read_bytes(storage.join(output, name))
        for name in storage.list_files(output)
    }


@pytest.fixture(scope='module')
def place(tmp_path_factory) -> str:
    """A directory with a dataset, a model and a pushed model."""
    place = tmp_path_factory.mktemp('place')
    write_dataset(place / 'dataset', {'test': make_rows(100, seed=1)})
    write_model(place / 'model', item_weights())
    write_model(place / 'pushed', item_weights(9))
    return str(place)


def check_kills(place, root, step, variables=None):
    """Kills an evaluation at every `step`-th write, and repeats it in its directory."""
    whole = storage.join(root, 'whole')
    writes = count_writes(evaluate_tiny, (place, whole, variables), PRELOAD)
    expected = contents(whole)
    assert {'metrics.json', 'report.html'} < expected.keys()
    for at in range(step, writes + 1, step):
        output = storage.join(root, str(at))
        arguments = (place, output, variables)
        assert StoppedProcess(evaluate_tiny, arguments, at, preload=PRELOAD).was_killed(), at
        assert not storage.exists(storage.join(output, 'metrics.json')), at
        assert StoppedProcess(evaluate_tiny, arguments, preload=PRELOAD).join() is None, at
        assert contents(output) == expected, at


def test_an_evaluation_that_is_killed_and_repeated_gives_the_same_bytes(place, tmp_path):
    check_kills(place, str(tmp_path), step=8)


@pytest.mark.slow
def test_an_evaluation_that_is_killed_at_any_write(place, tmp_path):
    check_kills(place, str(tmp_path), step=1)


@pytest.mark.slow
def test_an_evaluation_on_an_object_store_that_is_killed_at_any_write(place, bucket):
    check_kills(place, bucket, step=1, variables=environment())
