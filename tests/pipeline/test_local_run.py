"""The whole pipeline through kfp.local, as `mdctr run` starts it, on a user's own log."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from own_log import write_config, write_log

from pipeline.cli import main


@pytest.fixture(scope='module')
def home(tmp_path_factory):
    """A workspace in which the pipeline ran once."""
    home = tmp_path_factory.mktemp('home')
    write_log(home / 'log.csv', bad=3)
    config = write_config(home / 'shops.yaml', home / 'log.csv')
    assert main(['run', config, '--workspace', str(home / 'runs')]) == 0
    return home


def _run(home, capfd, *arguments) -> tuple[int, str, str]:
    status = main(['run', str(home / 'shops.yaml'), '--workspace', str(home / 'runs'),
                   *arguments])
    captured = capfd.readouterr()
    return status, captured.out, captured.err


def _versions(home) -> list[str]:
    return sorted(entry for entry in os.listdir(home / 'runs' / 'models' / 'shops')
                  if not entry.startswith('.'))


def test_leaves_a_dataset_a_run_an_evaluation_and_a_version(home):
    runs = home / 'runs'
    manifest = json.loads((runs / 'datasets' / 'shops' / 'manifest.json').read_text())
    assert manifest['rows']['read'] == 6003 and manifest['rows']['rejected'] == 3
    assert [domain['name'] for domain in manifest['domains']] == ['books', 'music', 'toys']
    model, = (runs / 'training' / 'shops').iterdir()
    assert (model / 'export' / 'saved_model.pb').exists()
    assert any(file.name.startswith('events.out.tfevents')
               for file in (model / 'logs').rglob('*'))
    assert _versions(home) == ['1']
    metrics, = (runs / 'pipelines').rglob('metrics.json')
    metrics = json.loads(metrics.read_text())
    assert metrics['blessed'] and set(metrics['domains']) == {'books', 'music', 'toys'}
    assert metrics['overall']['auc'] > 0.6  # the parity of user and item can be learned


def test_the_pushed_model_serves_raw_values_of_any_mix(home):
    from trainer.keras import tf

    model = tf.saved_model.load(str(home / 'runs' / 'models' / 'shops' / '1'))
    serve = model.signatures['serving_default']

    def score(users, shops):
        rows = len(users)
        return serve(user_id=tf.constant(users), domain=tf.constant(shops),
                     item_id=tf.constant(['i1'] * rows), age=tf.constant([21.0] * rows),
                     tags=tf.constant([['a', 'b']] * rows),
                     recent=tf.constant([['i3', '']] * rows))['score'].numpy()

    together = score(['u1', 'nobody', 'u1', 'u2'], ['books', 'toys', 'a new shop', 'music'])
    assert np.all((together > 0) & (together < 1))
    apart = [score([user], [shop])[0] for user, shop in [
        ('u1', 'books'), ('nobody', 'toys'), ('u1', 'a new shop'), ('u2', 'music')]]
    np.testing.assert_allclose(together, apart, atol=1e-6)


def test_a_second_run_is_judged_against_the_pushed_model(home, capfd):
    status, out, _ = _run(home, capfd)
    assert status == 0
    assert 'overall' in out and 'tensorboard' in out.splitlines()[-1]
    assert _versions(home) == ['1', '2']
    assert len(os.listdir(home / 'runs' / 'training' / 'shops')) == 2


def test_a_worse_model_is_not_pushed(home, capfd):
    before = _versions(home)
    status, out, _ = _run(home, capfd, '--set', 'train.epochs=1', '--set',
                          'train.learning_rate=1.0e-9', '--set', 'evaluate.max_gauc_drop=0.01')
    assert status == 0
    assert 'Not blessed' in out and 'Not pushed' in out
    assert _versions(home) == before


def test_training_that_was_killed_goes_on(home, caplog):
    arguments = ['train', str(home / 'shops.yaml'), '--workspace', str(home / 'runs'),
                 '--set', 'train.epochs=20', '--set', 'train.patience=20',
                 '--set', 'train.checkpoint_steps=10']
    training = home / 'runs' / 'training' / 'shops'
    before = set(os.listdir(training))
    child = subprocess.Popen([sys.executable, '-m', 'pipeline.cli', *arguments],
                             stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not any(int(file.stem.split('-')[1]) >= 100
                  for file in training.glob('*/checkpoints/ckpt-*.index')
                  if file.parts[-3] not in before):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    run, = set(os.listdir(training)) - before
    assert not (training / run / 'export').exists()
    assert main(arguments) == 0
    assert 'Continuing at epoch' in caplog.text
    assert set(os.listdir(training)) - before == {run}
    assert (training / run / 'export' / 'saved_model.pb').exists()


def test_drift_stops_the_pipeline_before_training(home, capfd, tmp_path):
    # On the last day, another kind of user: the shares of `age` are another's.
    log = tmp_path / 'drifted.csv'
    lines = (home / 'log.csv').read_text().splitlines()
    last_day = 1577836800 + 5 * 86400
    moved = [line if not line.split(',')[3].isdigit() or int(line.split(',')[3]) < last_day
             else ','.join([*line.split(',')[:5], '99', line.split(',')[6]])
             for line in lines]
    log.write_text('\n'.join(moved) + '\n')
    before = os.listdir(home / 'runs' / 'training' / 'shops')
    config = pathlib.Path(write_config(tmp_path / 'drifted.yaml', log))
    status = main(['run', str(config), '--workspace', str(home / 'runs')])
    error = capfd.readouterr().err.strip().splitlines()[-1]
    assert status == 2
    assert error.startswith('mdctr: The dataset shops is not sound: ') and 'age' in error
    assert 'The report is ' in error
    report = pathlib.Path(error.split('The report is ')[1].rstrip('.'))
    assert '<html' in report.read_text()
    assert os.listdir(home / 'runs' / 'training' / 'shops') == before
    shutil.rmtree(home / 'runs' / 'datasets' / 'shops')


@pytest.mark.parametrize(('changes', 'sentence'), [
    (['dataset.inputs=[/nowhere/log.csv]'], '/nowhere/log.csv'),
    (['dataset.max_rejected_share=0.0'], 'click not 0 or 1'),
    (['dataset.split.days.test=[2021-01-01, 2021-01-02]'], 'test'),
    (['train.model.name=nothing'], 'There is no model nothing'),
])
def test_a_mistake_ends_in_one_sentence(home, capfd, changes, sentence):
    flags = [flag for change in changes for flag in ('--set', change)]
    status, _, error = _run(home, capfd, *flags)
    last = error.strip().splitlines()[-1]
    assert status == 2
    assert last.startswith('mdctr: ') and sentence in last
