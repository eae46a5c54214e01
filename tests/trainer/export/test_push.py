"""Pushing a real SavedModel to a real directory, killed and hindered on the way."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from mdctr import storage
from mdctr.errors import UserError
from mdctr.exported_model import model_digest, write_model_json
from mdctr.pushed_models import complete_versions, latest_version, read_push_record
from tests.exported_copy import copy_with_other_bytes
from trainer.export.golden import write_golden
from trainer.export.push import push
from trainer.export.rollback import rollback

DESCRIPTION = {'features': ['number', 'words'], 'dataset': {'fingerprint': 'x'}}


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """An export that scores half of a number, and 0 of a missing one."""
    import tensorflow as tf

    directory = str(tmp_path_factory.mktemp('model') / 'export')
    module = tf.Module()
    module.half = tf.Variable(0.5)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.float32, 'number'),
            tf.TensorSpec([None, None], tf.string, 'words'),
        ]
    )
    def serve(number, words):
        number = tf.where(tf.math.is_nan(number), 0.0, number)
        count = tf.reduce_sum(tf.cast(words != '', tf.float32), axis=1)
        return {'score': module.half * number + 0.1 * count}

    tf.saved_model.save(module, directory, signatures={'serving_default': serve})
    write_golden(
        directory,
        {
            'number': np.array([1.0, np.nan, 0.25], np.float32),
            'words': np.array([['a', 'b'], ['c', ''], ['', '']], object),
        },
        np.array([0.7, 0.1, 0.125], np.float32),
    )
    write_model_json(directory, DESCRIPTION)
    return directory


def evaluation(tmp_path, export, blessed=True, **values):
    directory = tmp_path / 'evaluation'
    directory.mkdir(exist_ok=True)
    (directory / 'metrics.json').write_text(
        json.dumps(
            {
                'blessed': blessed,
                'reasons': ['overall: AUC 0.7 is at least 0.6', 'a: PCOC 3 is out'],
                'checks': [
                    {'passed': True, 'reason': 'overall: AUC 0.7 is at least 0.6'},
                    {'passed': blessed, 'reason': 'a: PCOC 3 is out'},
                ],
                'model': {'digest': model_digest(export)},
                'dataset': {'fingerprint': 'x', 'extends': []},
                'pushed': None,
                **values,
            }
        )
    )
    return str(directory)


def another(tmp_path, model):
    """A copy of the model with other bytes."""
    return copy_with_other_bytes(model, str(tmp_path / 'another'))


def entries(path):
    return sorted(name for name in os.listdir(path) if name != 'current.json')


def test_a_blessed_model_becomes_version_after_version(tmp_path, model):
    judged, served = evaluation(tmp_path, model), str(tmp_path / 'models')
    assert latest_version(served, 'clicks') is None
    first = push(model, judged, served, 'clicks')
    assert (first.pushed, first.version) == (True, 1)
    assert first.path == os.path.join(served, 'clicks', '1') == latest_version(served, 'clicks')
    shutil.copytree(first.path, os.path.join(served, 'clicks', '9'))  # an earlier history
    shutil.rmtree(first.path)
    other = another(tmp_path, model)
    judged = evaluation(tmp_path, other, pushed={'digest': model_digest(model)})
    second = push(other, judged, served, 'clicks')
    assert second.version == 10  # by number, not by text
    assert latest_version(served, 'clicks') == second.path
    assert entries(os.path.join(served, 'clicks')) == ['10', '9']
    assert model_digest(second.path) == model_digest(other)


def test_a_model_that_is_the_newest_version_already_is_not_pushed_again(tmp_path, model):
    judged, served = evaluation(tmp_path, model), str(tmp_path / 'models')
    first = push(model, judged, served, 'clicks')
    again = push(model, judged, served, 'clicks')
    assert (again.version, again.path) == (first.version, first.path)
    assert again.pushed and 'is this model already' in again.reason
    assert entries(os.path.join(served, 'clicks')) == ['1']


def test_a_verdict_against_another_pushed_version_is_refused(tmp_path, model):
    served, other = str(tmp_path / 'models'), another(tmp_path, model)
    assert push(model, evaluation(tmp_path, model), served, 'clicks').pushed
    stale = evaluation(tmp_path, other)  # as if made before the first push
    result = push(other, stale, served, 'clicks')
    assert not result.pushed and 'not the one that the model was compared with' in result.reason
    gone = evaluation(tmp_path, other, pushed={'digest': 'of a version that was removed'})
    result = push(other, gone, str(tmp_path / 'empty'), 'clicks')
    assert not result.pushed and 'no longer there' in result.reason


@pytest.mark.parametrize('missing', ['model', 'dataset', 'pushed'])
def test_a_verdict_that_does_not_name_its_subject_is_refused(tmp_path, model, missing):
    judged = evaluation(tmp_path, model)
    path = os.path.join(judged, 'metrics.json')
    with open(path) as file:
        values = json.load(file)
    del values[missing]
    with open(path, 'w') as file:
        json.dump(values, file)
    with pytest.raises(UserError, match='does not name the model, the dataset and the pushed'):
        push(model, judged, str(tmp_path / 'models'), 'clicks')


def test_a_verdict_on_another_dataset_is_refused(tmp_path, model):
    judged = evaluation(tmp_path, model, dataset={'fingerprint': 'y', 'extends': []})
    with pytest.raises(UserError, match='was trained on another dataset'):
        push(model, judged, str(tmp_path / 'models'), 'clicks')
    extended = evaluation(tmp_path, model, dataset={'fingerprint': 'y', 'extends': ['x']})
    assert push(model, extended, str(tmp_path / 'models'), 'clicks').pushed


def test_blessed_next_to_a_failed_check_is_refused(tmp_path, model):
    checks = [{'passed': False, 'reason': 'a: PCOC 3 is out'}]
    judged = evaluation(tmp_path, model, checks=checks)
    result = push(model, judged, str(tmp_path / 'models'), 'clicks')
    assert not result.pushed and 'a: PCOC 3 is out' in result.reason


def test_a_model_that_is_not_blessed_is_not_pushed(tmp_path, model):
    served = tmp_path / 'models'
    result = push(model, evaluation(tmp_path, model, blessed=False), str(served), 'clicks')
    assert (result.pushed, result.version, result.path) == (False, None, None)
    assert 'not blessed: a: PCOC 3 is out.' in result.reason
    assert not served.exists()


@pytest.mark.parametrize('content', [None, '{', '{"blessed": "yes", "reasons": []}', '[]'])
def test_a_missing_or_damaged_evaluation_is_refused(tmp_path, model, content):
    (tmp_path / 'evaluation').mkdir()
    if content is not None:
        (tmp_path / 'evaluation' / 'metrics.json').write_text(content)
    with pytest.raises(UserError, match='does not contain an evaluation'):
        push(model, str(tmp_path / 'evaluation'), str(tmp_path / 'models'), 'clicks')
    assert not (tmp_path / 'models').exists()


def test_the_verdict_on_another_model_blesses_nothing(tmp_path, model):
    judged = evaluation(tmp_path, model, model={'digest': 'of another'})
    with pytest.raises(UserError, match='is of another model'):
        push(model, judged, str(tmp_path / 'models'), 'clicks')


def test_a_directory_without_a_model_is_refused(tmp_path, model):
    with pytest.raises(UserError, match='does not contain an exported model'):
        push(str(tmp_path), evaluation(tmp_path, model), str(tmp_path / 'models'), 'clicks')


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda golden: golden['scores'].__setitem__(0, 0.7002), 'scores row 0 .* 0.7002'),
        (lambda golden: golden['inputs'].pop('words'), 'does not score its golden batch'),
        (lambda golden: golden.pop('scores'), 'cannot be read'),
    ],
)
def test_a_model_that_does_not_score_as_in_training(tmp_path, model, spoil, message):
    copy = str(tmp_path / 'copy')
    shutil.copytree(model, copy)
    path = os.path.join(copy, 'golden.json')
    with open(path) as file:
        golden = json.load(file)
    spoil(golden)
    with open(path, 'w') as file:
        json.dump(golden, file)
    write_model_json(copy, DESCRIPTION)
    with pytest.raises(UserError, match=f'Not pushed: .*{message}'):
        push(copy, evaluation(tmp_path, copy), str(tmp_path / 'models'), 'clicks')
    assert not (tmp_path / 'models').exists()


def test_a_destination_that_is_a_file(tmp_path, model):
    (tmp_path / 'models').write_text('')
    with pytest.raises(UserError, match='models.* cannot be'):
        push(model, evaluation(tmp_path, model), str(tmp_path / 'models'), 'clicks')


_PUSH = textwrap.dedent("""
    import os, sys, time
    from trainer.export import push as module
    module._check_golden = lambda model: None  # it is not what is tried here
    rename = os.rename
    def hindered(source, target):
        print(HINDRANCE, flush=True)
        time.sleep(PAUSE)
        rename(source, target)
    os.rename = hindered
    print(module.push(*sys.argv[1:]).version, flush=True)
""")


def start(*arguments, pause):
    code = _PUSH.replace('HINDRANCE', repr('about to rename')).replace('PAUSE', str(pause))
    return subprocess.Popen(
        [sys.executable, '-c', code, *arguments], stdout=subprocess.PIPE, text=True
    )


def test_a_push_killed_before_the_rename_leaves_no_version(tmp_path, model):
    judged, served = evaluation(tmp_path, model), str(tmp_path / 'models')
    child = start(model, judged, served, 'clicks', pause=60)
    assert child.stdout.readline() == 'about to rename\n'
    child.send_signal(signal.SIGKILL)
    child.wait()
    left = entries(os.path.join(served, 'clicks'))
    assert len(left) == 1 and left[0].startswith('.tmp-')
    assert latest_version(served, 'clicks') is None
    result = push(model, judged, served, 'clicks')
    assert result.version == 1
    assert entries(os.path.join(served, 'clicks')) == ['1']


def test_pushes_of_one_model_at_once_make_one_version(tmp_path, model):
    judged, served = evaluation(tmp_path, model), str(tmp_path / 'models')
    children = [start(model, judged, served, 'clicks', pause=0.3) for _ in range(3)]
    versions = [child.communicate()[0].split()[-1] for child in children]
    assert versions == ['1', '1', '1']
    assert entries(os.path.join(served, 'clicks')) == ['1']
    assert model_digest(os.path.join(served, 'clicks', '1')) == model_digest(model)


def test_a_version_that_appears_meanwhile_is_left_as_it_is(tmp_path, model):
    judged, served = evaluation(tmp_path, model), str(tmp_path / 'models')
    child = start(model, judged, served, 'clicks', pause=1.5)
    assert child.stdout.readline() == 'about to rename\n'
    taken = os.path.join(served, 'clicks', '1')  # copied by hand, without the lease
    os.makedirs(taken)
    with open(os.path.join(taken, 'saved_model.pb'), 'w') as file:
        file.write('of another')
    child.communicate()
    assert child.returncode
    with open(os.path.join(taken, 'saved_model.pb')) as file:
        assert file.read() == 'of another'


def test_a_model_that_was_overtaken_leaves_the_served_one(tmp_path, model):
    judged, served = evaluation(tmp_path, model), str(tmp_path / 'models')
    assert push(model, judged, served, 'clicks', expected=0).version == 1
    other = another(tmp_path, model)
    judged = evaluation(tmp_path, other, pushed={'digest': model_digest(model)})
    late = push(other, judged, served, 'clicks', expected=0)
    assert (late.pushed, late.version, late.path) == (False, None, None)
    assert 'version 1 of clicks was pushed by another run after version 0' in late.reason
    assert entries(os.path.join(served, 'clicks')) == ['1']
    assert push(other, judged, served, 'clicks', expected=1).version == 2
    assert complete_versions(served, 'clicks') == [
        os.path.join(served, 'clicks', version) for version in ('2', '1')
    ]


def test_of_pushes_of_two_models_at_once_one_alone_succeeds(tmp_path, model):
    served, models = str(tmp_path / 'models'), [model, another(tmp_path, model)]
    judged = []
    for place, each in zip(('one', 'two'), models, strict=True):
        (tmp_path / place).mkdir()
        judged.append(evaluation(tmp_path / place, each))
    code = (
        'import sys; from trainer.export.push import push; '
        'print(push(*sys.argv[1:], "clicks", expected=0).pushed)'
    )
    children = [
        subprocess.Popen(
            [sys.executable, '-c', code, each, verdict, served],
            stdout=subprocess.PIPE,
            text=True,
        )
        for each, verdict in zip(models, judged, strict=True)
    ]
    outcomes = sorted(child.communicate()[0].strip() for child in children)
    assert outcomes == ['False', 'True']
    assert entries(os.path.join(served, 'clicks')) == ['1']


@pytest.fixture
def without_golden_check(monkeypatch):
    """Pushes do not start a process that loads the model, which other tests look at."""
    monkeypatch.setattr('trainer.export.push._check_golden', lambda model: None)


def pushed_twice(tmp_path, model):
    """Two pushed models; returns their directories and that of the pushed versions."""
    served, other = str(tmp_path / 'models'), another(tmp_path, model)
    assert push(model, evaluation(tmp_path, model), served, 'clicks').version == 1
    judged = evaluation(tmp_path, other, pushed={'digest': model_digest(model)})
    assert push(other, judged, served, 'clicks').version == 2
    return model, other, served


@pytest.mark.usefixtures('without_golden_check')
def test_what_was_pushed_is_recorded(tmp_path, model):
    first, second, served = pushed_twice(tmp_path, model)
    assert storage.read_json(os.path.join(served, 'clicks', 'current.json')) == {
        'version': 2,
        'digests': {'1': model_digest(first), '2': model_digest(second)},
        'withdrawn': [],
    }


@pytest.mark.usefixtures('without_golden_check')
def test_a_push_that_was_killed_before_its_record_is_recorded_by_the_next(tmp_path, model):
    _, second, served = pushed_twice(tmp_path, model)
    expected = storage.read_bytes(os.path.join(served, 'clicks', 'current.json'))
    os.remove(os.path.join(served, 'clicks', 'current.json'))
    judged = evaluation(tmp_path, second, pushed={'digest': model_digest(model)})
    again = push(second, judged, served, 'clicks')
    assert again.reason == 'clicks version 2 is this model already.'
    assert storage.read_bytes(os.path.join(served, 'clicks', 'current.json')) == expected


@pytest.mark.usefixtures('without_golden_check')
def test_a_version_that_was_removed_by_hand_is_not_pushed_again(tmp_path, model):
    _, second, served = pushed_twice(tmp_path, model)
    shutil.rmtree(os.path.join(served, 'clicks', '2'))
    judged = evaluation(tmp_path, second, pushed={'digest': model_digest(model)})
    result = push(second, judged, served, 'clicks')
    assert not result.pushed
    assert 'was version 2 of clicks, and was rolled back or removed' in result.reason
    assert push(second, judged, served, 'clicks', again=True).version == 3
    assert read_push_record(served, 'clicks').withdrawn == []


@pytest.mark.usefixtures('without_golden_check')
def test_a_damaged_version_can_be_pushed_again(tmp_path, model):
    _, second, served = pushed_twice(tmp_path, model)
    os.remove(os.path.join(served, 'clicks', '2', 'saved_model.pb'))
    judged = evaluation(tmp_path, second, pushed={'digest': model_digest(model)})
    assert push(second, judged, served, 'clicks').version == 3


@pytest.mark.usefixtures('without_golden_check')
def test_a_model_that_changed_since_its_export_is_not_pushed(tmp_path, model):
    copy = str(tmp_path / 'copy')
    shutil.copytree(model, copy)
    path = os.path.join(copy, 'variables', 'variables.data-00000-of-00001')
    data = storage.read_bytes(path)
    storage.write_bytes(path, bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(UserError, match='variables.data-00000-of-00001 has changed since'):
        push(copy, evaluation(tmp_path, copy), str(tmp_path / 'models'), 'clicks')
    assert not (tmp_path / 'models').exists()


@pytest.mark.usefixtures('without_golden_check')
def test_a_rollback_is_the_next_version(tmp_path, model):
    first, second, served = pushed_twice(tmp_path, model)
    path = rollback(served, 'clicks')
    assert path == latest_version(served, 'clicks') == os.path.join(served, 'clicks', '3')
    assert model_digest(path) == model_digest(first)
    assert entries(os.path.join(served, 'clicks')) == ['1', '2', '3']
    assert read_push_record(served, 'clicks').withdrawn == [model_digest(second)]


@pytest.mark.usefixtures('without_golden_check')
def test_a_model_that_was_rolled_back_is_not_pushed_again(tmp_path, model):
    _, second, served = pushed_twice(tmp_path, model)
    rollback(served, 'clicks')
    judged = evaluation(tmp_path, second, pushed={'digest': model_digest(model)})
    assert not push(second, judged, served, 'clicks').pushed
    assert push(second, judged, served, 'clicks', again=True).version == 4


@pytest.mark.usefixtures('without_golden_check')
def test_a_rollback_can_be_undone(tmp_path, model):
    _, second, served = pushed_twice(tmp_path, model)
    rollback(served, 'clicks')
    path = rollback(served, 'clicks', to=2)
    assert model_digest(path) == model_digest(second)
    assert read_push_record(served, 'clicks').withdrawn == []


@pytest.mark.usefixtures('without_golden_check')
@pytest.mark.parametrize(
    ('to', 'message'),
    [
        (7, 'has no complete version 7: choose one of 1, 2'),
        (2, 'Version 2 of clicks is the model that is served already'),
    ],
)
def test_a_rollback_to_no_other_version_is_refused(tmp_path, model, to, message):
    *_, served = pushed_twice(tmp_path, model)
    with pytest.raises(UserError, match=message):
        rollback(served, 'clicks', to=to)
    assert entries(os.path.join(served, 'clicks')) == ['1', '2']


@pytest.mark.usefixtures('without_golden_check')
def test_a_rollback_of_the_only_version_is_refused(tmp_path, model):
    served = str(tmp_path / 'models')
    push(model, evaluation(tmp_path, model), served, 'clicks')
    with pytest.raises(UserError, match='no other version than 1 to return to'):
        rollback(served, 'clicks')
