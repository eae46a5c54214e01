"""Pushes and rollbacks that are killed or suspended at every write, on disk and in a store."""

import os
import signal

import pytest

from mdctr import storage
from mdctr.exported_model import model_digest, write_model_json
from mdctr.pushed_models import complete_versions, read_push_record
from tests.stopped_writes import StoppedProcess, count_writes, environment
from trainer.export import push as push_module
from trainer.export.push import push
from trainer.export.rollback import rollback

NAME = 'clicks'
PRELOAD = ('trainer.export.rollback', 's3fs')


def write_model(directory: str, weights: bytes) -> str:
    """An export that nobody loads; returns its directory."""
    for name, content in {
        'saved_model.pb': b'graph',
        'variables/variables.index': b'index',
        'variables/variables.data-00000-of-00001': weights,
    }.items():
        storage.write_bytes(storage.join(directory, name), content)
    write_model_json(directory, {'features': [], 'dataset': {'fingerprint': 'f'}})
    return directory


def write_evaluation(directory: str, model: str, pushed: str | None) -> str:
    """A verdict that blesses a model against a pushed one; returns its directory."""
    storage.write_json(
        storage.join(directory, 'metrics.json'),
        {
            'blessed': True,
            'reasons': [],
            'checks': [],
            'model': {'digest': model_digest(model)},
            'dataset': {'fingerprint': 'f', 'extends': []},
            'pushed': pushed and {'digest': model_digest(pushed)},
        },
    )
    return directory


def push_unchecked(
    model: str, evaluation: str, models: str, variables: dict[str, str] | None = None
) -> None:
    """Pushes a model that cannot be loaded."""
    os.environ.update(variables or {})
    push_module._check_golden = lambda model: None
    push(model, evaluation, models, NAME)


def roll_back(models: str, variables: dict[str, str] | None = None) -> None:
    os.environ.update(variables or {})
    rollback(models, NAME)


def content(models: str) -> dict[str, bytes]:
    """All files of the pushed model."""
    directory = storage.join(models, NAME)
    return {
        name: storage.read_bytes(storage.join(directory, name))
        for name in storage.list_files(directory)
    }


@pytest.fixture
def two(tmp_path):
    """Two models, each with its evaluation: the second is compared with the first."""
    first = write_model(str(tmp_path / 'first'), b'one')
    second = write_model(str(tmp_path / 'second'), b'two')
    return [
        (first, write_evaluation(str(tmp_path / 'of first'), first, None)),
        (second, write_evaluation(str(tmp_path / 'of second'), second, first)),
    ]


@pytest.fixture(params=['local', pytest.param('s3', marks=pytest.mark.slow)])
def place(request, tmp_path):
    """A function that returns a new directory for pushed models."""
    root = str(tmp_path) if request.param == 'local' else request.getfixturevalue('bucket')
    return lambda name: storage.join(root, f'models-{name}')


def test_a_push_that_was_killed_at_any_write_is_repeated_with_the_same_bytes(two, place):
    first, second = two
    push_unchecked(*first, place('whole'))
    writes = count_writes(push_unchecked, (*second, place('whole'), environment()), PRELOAD)
    expected = content(place('whole'))
    assert writes >= 6  # the lease, four files, the record
    for at in range(1, writes + 1):
        models = place(str(at))
        push_unchecked(*first, models)
        process = StoppedProcess(
            push_unchecked, (*second, models, environment()), at, preload=PRELOAD
        )
        assert process.was_killed(), at
        versions = [storage.name(path) for path in complete_versions(models, NAME)]
        assert versions in (['1'], ['2', '1']), at
        push_unchecked(*second, models)
        assert content(models) == expected, at


def test_a_rollback_that_was_killed_at_any_write_can_be_repeated(two, place):
    push_unchecked(*two[0], place('whole'))
    push_unchecked(*two[1], place('whole'))
    writes = count_writes(roll_back, (place('whole'), environment()), PRELOAD)
    expected = content(place('whole'))
    for at in range(1, writes + 1):
        models = place(str(at))
        push_unchecked(*two[0], models)
        push_unchecked(*two[1], models)
        process = StoppedProcess(roll_back, (models, environment()), at, preload=PRELOAD)
        assert process.was_killed(), at
        if len(complete_versions(models, NAME)) == 2:
            roll_back(models)
            assert content(models) == expected, at


def test_pushes_at_once_make_one_version_whenever_the_first_is_suspended(two, tmp_path):
    writes = count_writes(push_unchecked, (*two[0], str(tmp_path / 'whole')), PRELOAD)
    for at in range(2, writes + 1):  # before the first write, it holds no lease
        models = str(tmp_path / f'models-{at}')
        first = StoppedProcess(
            push_unchecked, (*two[0], models), at, signal.SIGSTOP, preload=PRELOAD
        )
        assert first.wait_until_stopped()
        second = StoppedProcess(push_unchecked, (*two[0], models), preload=PRELOAD)
        first.resume()
        assert first.join() is None
        assert second.join() is None
        assert sorted(os.listdir(os.path.join(models, NAME))) == ['1', 'current.json'], at
        assert read_push_record(models, NAME).version == 1
