"""Pushing a real SavedModel to a real directory, killed and hindered on the way."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from beam_jobs.errors import UserError
from beam_jobs.exported import model_digest
from trainer.golden import write_golden
from trainer.push import complete_versions, latest_version, push


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """An export that scores half of a number, and 0 of a missing one."""
    import tensorflow as tf

    directory = str(tmp_path_factory.mktemp('model') / 'export')
    module = tf.Module()
    module.half = tf.Variable(0.5)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, 'number'),
                                  tf.TensorSpec([None, None], tf.string, 'words')])
    def serve(number, words):
        number = tf.where(tf.math.is_nan(number), 0.0, number)
        count = tf.reduce_sum(tf.cast(words != '', tf.float32), axis=1)
        return {'score': module.half * number + 0.1 * count}

    tf.saved_model.save(module, directory, signatures={'serving_default': serve})
    with open(os.path.join(directory, 'model.json'), 'w') as file:
        json.dump({'features': ['number', 'words'], 'dataset': {'fingerprint': 'x'}}, file)
    write_golden(directory, {'number': np.array([1.0, np.nan, 0.25], np.float32),
                             'words': np.array([['a', 'b'], ['c', ''], ['', '']], object)},
                 np.array([0.7, 0.1, 0.125], np.float32))
    return directory


def evaluation(tmp_path, export, blessed=True, **values):
    directory = tmp_path / 'evaluation'
    directory.mkdir(exist_ok=True)
    (directory / 'metrics.json').write_text(json.dumps({
        'blessed': blessed, 'reasons': ['overall: AUC 0.7 is at least 0.6', 'a: PCOC 3 is out'],
        'checks': [{'passed': True, 'reason': 'overall: AUC 0.7 is at least 0.6'},
                   {'passed': blessed, 'reason': 'a: PCOC 3 is out'}],
        'model': {'digest': model_digest(export)}, **values}))
    return str(directory)


def entries(path):
    return sorted(name for name in os.listdir(path) if not name.endswith('.lock'))


def test_a_blessed_model_becomes_version_after_version(tmp_path, model):
    judged, served = evaluation(tmp_path, model), str(tmp_path / 'models')
    assert latest_version(served, 'clicks') is None
    first = push(model, judged, served, 'clicks')
    assert (first.pushed, first.version) == (True, 1)
    assert first.path == os.path.join(served, 'clicks', '1') == latest_version(served, 'clicks')
    os.rename(first.path, os.path.join(served, 'clicks', '9'))
    second = push(model, judged, served, 'clicks')
    assert second.version == 10  # by number, not by text
    assert latest_version(served, 'clicks') == second.path
    assert entries(os.path.join(served, 'clicks')) == ['10', '9']
    assert model_digest(second.path) == model_digest(model)


def test_a_model_that_is_not_blessed_is_not_pushed(tmp_path, model):
    served = tmp_path / 'models'
    result = push(model, evaluation(tmp_path, model, blessed=False), str(served), 'clicks')
    assert (result.pushed, result.version, result.path) == (False, None, None)
    assert 'not blessed: a: PCOC 3 is out.' in result.reason
    assert not served.exists()


@pytest.mark.parametrize('content', [None, '{', '{"blessed": "yes", "reasons": []}', '[]'])
def test_no_evaluation(tmp_path, model, content):
    (tmp_path / 'evaluation').mkdir()
    if content is not None:
        (tmp_path / 'evaluation' / 'metrics.json').write_text(content)
    with pytest.raises(UserError, match='holds no evaluation'):
        push(model, str(tmp_path / 'evaluation'), str(tmp_path / 'models'), 'clicks')
    assert not (tmp_path / 'models').exists()


def test_the_verdict_on_another_model_blesses_nothing(tmp_path, model):
    judged = evaluation(tmp_path, model, model={'digest': 'of another'})
    with pytest.raises(UserError, match='is of another model'):
        push(model, judged, str(tmp_path / 'models'), 'clicks')


def test_no_model(tmp_path, model):
    with pytest.raises(UserError, match='holds no exported model'):
        push(str(tmp_path), evaluation(tmp_path, model), str(tmp_path / 'models'), 'clicks')


@pytest.mark.parametrize(('spoil', 'message'), [
    (lambda golden: golden['scores'].__setitem__(0, 0.7002), 'scores row 0 .* 0.7002'),
    (lambda golden: golden['inputs'].pop('words'), 'does not score its golden batch'),
    (lambda golden: golden.pop('scores'), 'cannot be read'),
])
def test_a_model_that_does_not_score_as_in_training(tmp_path, model, spoil, message):
    import shutil

    copy = str(tmp_path / 'copy')
    shutil.copytree(model, copy)
    path = os.path.join(copy, 'golden.json')
    with open(path) as file:
        golden = json.load(file)
    spoil(golden)
    with open(path, 'w') as file:
        json.dump(golden, file)
    with pytest.raises(UserError, match=f'Not pushed: .*{message}'):
        push(copy, evaluation(tmp_path, copy), str(tmp_path / 'models'), 'clicks')
    assert not (tmp_path / 'models').exists()


def test_a_destination_that_is_a_file(tmp_path, model):
    (tmp_path / 'models').write_text('')
    with pytest.raises(UserError, match='cannot be pushed to'):
        push(model, evaluation(tmp_path, model), str(tmp_path / 'models'), 'clicks')


_PUSH = textwrap.dedent('''
    import os, sys, time
    from trainer import push as module
    module._check_golden = lambda model: None  # it is not what is tried here
    rename = os.rename
    def hindered(source, target):
        print(HINDRANCE, flush=True)
        time.sleep(PAUSE)
        rename(source, target)
    os.rename = hindered
    print(module.push(*sys.argv[1:]).version, flush=True)
''')


def start(*arguments, pause):
    code = _PUSH.replace('HINDRANCE', repr('about to rename')).replace('PAUSE', str(pause))
    return subprocess.Popen([sys.executable, '-c', code, *arguments], stdout=subprocess.PIPE,
                            text=True)


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


def test_pushes_at_once_take_different_versions(tmp_path, model):
    judged, served = evaluation(tmp_path, model), str(tmp_path / 'models')
    children = [start(model, judged, served, 'clicks', pause=0.3) for _ in range(3)]
    versions = [child.communicate()[0].split()[-1] for child in children]
    assert sorted(versions) == ['1', '2', '3']
    assert entries(os.path.join(served, 'clicks')) == ['1', '2', '3']
    assert len({model_digest(os.path.join(served, 'clicks', v)) for v in versions}) == 1


def test_a_version_taken_meanwhile_is_passed_over(tmp_path, model):
    judged, served = evaluation(tmp_path, model), str(tmp_path / 'models')
    child = start(model, judged, served, 'clicks', pause=1.5)
    assert child.stdout.readline() == 'about to rename\n'
    taken = os.path.join(served, 'clicks', '1')  # as from where the lock does not reach
    os.makedirs(taken)
    with open(os.path.join(taken, 'saved_model.pb'), 'w') as file:
        file.write('of another')
    assert child.communicate()[0].split()[-1] == '2'
    with open(os.path.join(taken, 'saved_model.pb')) as file:
        assert file.read() == 'of another'


def test_the_latest_version_is_complete_and_a_number(tmp_path):
    for name in ('2', '10', '11', 'latest', '.tmp-x', '007', '-3'):
        (tmp_path / 'clicks' / name).mkdir(parents=True)
        if name != '11':  # half copied
            (tmp_path / 'clicks' / name / 'saved_model.pb').write_text('')
    assert latest_version(str(tmp_path), 'clicks') == str(tmp_path / 'clicks' / '10')
    assert latest_version(str(tmp_path), 'other') is None


def test_a_model_that_was_overtaken_leaves_the_served_one(tmp_path, model):
    judged, served = evaluation(tmp_path, model), str(tmp_path / 'models')
    assert push(model, judged, served, 'clicks', expected=0).version == 1
    late = push(model, judged, served, 'clicks', expected=0)
    assert (late.pushed, late.version, late.path) == (False, None, None)
    assert 'version 1 of clicks came after version 0' in late.reason
    assert entries(os.path.join(served, 'clicks')) == ['1']
    os.makedirs(os.path.join(served, 'clicks', '2'))  # half-written by another machine
    assert not push(model, judged, served, 'clicks', expected=1).pushed
    assert push(model, judged, served, 'clicks', expected=2).version == 3
    assert complete_versions(served, 'clicks') == [
        os.path.join(served, 'clicks', version) for version in ('3', '1')]


def test_of_pushes_at_once_that_expect_the_same_one_alone_succeeds(tmp_path, model):
    judged, served = evaluation(tmp_path, model), str(tmp_path / 'models')
    code = ('import sys; from trainer.push import push; '
            'print(push(*sys.argv[1:], "clicks", expected=0).pushed)')
    children = [subprocess.Popen([sys.executable, '-c', code, model, judged, served],
                                 stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = sorted(child.communicate()[0].strip() for child in children)
    assert said == ['False', 'False', 'True']
    assert entries(os.path.join(served, 'clicks')) == ['1']
