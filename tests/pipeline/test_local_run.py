"""The whole pipeline through kfp.local, as `mdctr run` starts it, on a user's own log."""

import contextlib
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

from mdctr.workspace import current_dataset
from pipeline.cli.main import main
from tests.pipeline.own_log import write_config, write_log


@pytest.fixture(scope='module')
def home(tmp_path_factory):
    """A workspace in which the pipeline ran once."""
    home = tmp_path_factory.mktemp('home')
    write_log(home / 'log.csv', bad=3)
    config = write_config(home / 'shops.yaml', home / 'log.csv')
    assert main(['run', config, '--workspace', str(home / 'runs')]) == 0
    return home


def _run(home, capfd, *arguments) -> tuple[int, str, str]:
    status = main(
        ['run', str(home / 'shops.yaml'), '--workspace', str(home / 'runs'), *arguments]
    )
    captured = capfd.readouterr()
    return status, captured.out, captured.err


def _versions(home) -> list[str]:
    return sorted(
        entry for entry in os.listdir(home / 'runs' / 'models' / 'shops') if entry.isdigit()
    )


def test_leaves_a_dataset_a_run_an_evaluation_and_a_version(home):
    runs = home / 'runs'
    manifest = current_dataset(str(runs), 'shops').manifest
    assert manifest.rows.read == 6003 and manifest.rows.rejected == 3
    assert [domain.name for domain in manifest.domains] == ['books', 'music', 'toys']
    (model,) = (runs / 'training' / 'shops').iterdir()
    assert (model / 'export' / 'saved_model.pb').exists()
    assert any(
        file.name.startswith('events.out.tfevents') for file in (model / 'logs').rglob('*')
    )
    assert _versions(home) == ['1']
    (metrics,) = (runs / 'training').rglob('metrics.json')
    metrics = json.loads(metrics.read_text())
    assert metrics['blessed'] and set(metrics['domains']) == {'books', 'music', 'toys'}
    assert metrics['overall']['auc'] > 0.6  # the parity of user and item can be learned


def test_the_pushed_model_serves_raw_values_of_any_mix(home):
    from trainer.keras import tf

    model = tf.saved_model.load(str(home / 'runs' / 'models' / 'shops' / '1'))
    serve = model.signatures['serving_default']

    def score(users, shops):
        rows = len(users)
        return serve(
            user_id=tf.constant(users),
            domain=tf.constant(shops),
            item_id=tf.constant(['i1'] * rows),
            age=tf.constant([21.0] * rows, tf.float64),
            tags=tf.constant([['a', 'b']] * rows),
            recent=tf.constant([['i3', '']] * rows),
        )['score'].numpy()

    together = score(['u1', 'nobody', 'u1', 'u2'], ['books', 'toys', 'a new shop', 'music'])
    assert np.all((together > 0) & (together < 1))
    apart = [
        score([user], [shop])[0]
        for user, shop in [
            ('u1', 'books'),
            ('nobody', 'toys'),
            ('u1', 'a new shop'),
            ('u2', 'music'),
        ]
    ]
    np.testing.assert_allclose(together, apart, atol=1e-6)


def test_a_second_run_reuses_the_model_and_pushes_nothing(home, capfd):
    runs = os.listdir(home / 'runs' / 'training' / 'shops')
    status, out, _ = _run(home, capfd)
    assert status == 0
    assert 'Reusing the model' in out and 'shops version 1 is this model already' in out
    assert 'overall' in out and 'tensorboard' in out.splitlines()[-1]
    assert _versions(home) == ['1']
    assert os.listdir(home / 'runs' / 'training' / 'shops') == runs


@pytest.mark.slow
def test_a_run_that_is_asked_to_trains_again(home, capfd):
    status, out, _ = _run(home, capfd, '--again')
    assert status == 0 and 'Reusing the model' not in out
    assert len(os.listdir(home / 'runs' / 'training' / 'shops')) == 2
    # Whether two trainings end with the same bits depends on the timing of threads.
    same = 'shops version 1 is this model already' in out
    assert _versions(home) == (['1'] if same else ['1', '2'])


@pytest.mark.slow
def test_a_worse_model_is_not_pushed(home, capfd):
    before = _versions(home)
    status, out, _ = _run(
        home,
        capfd,
        '--set',
        'train.epochs=1',
        '--set',
        'train.learning_rate=1.0e-9',
        '--set',
        'evaluate.max_gauc_drop=0.01',
    )
    assert status == 0
    assert 'Not blessed' in out and 'Not pushed' in out
    assert _versions(home) == before


@pytest.mark.slow
def test_training_that_was_killed_resumes(home, caplog):
    arguments = [
        'train',
        str(home / 'shops.yaml'),
        '--workspace',
        str(home / 'runs'),
        '--set',
        'train.epochs=20',
        '--set',
        'train.patience=20',
        '--set',
        'train.checkpoint_steps=10',
    ]
    training = home / 'runs' / 'training' / 'shops'
    before = set(os.listdir(training))
    child = subprocess.Popen(
        [sys.executable, '-m', 'pipeline.cli.main', *arguments], stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 240
    while not any(
        int(file.stem.split('-')[1]) >= 100
        for file in training.glob('*/checkpoints/ckpt-*.index')
        if file.parts[-3] not in before
    ):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    (run,) = set(os.listdir(training)) - before
    assert not (training / run / 'export').exists()
    assert main(arguments) == 0
    assert 'Continuing at epoch' in caplog.text
    assert set(os.listdir(training)) - before == {run}
    assert (training / run / 'export' / 'saved_model.pb').exists()


@pytest.mark.slow
def test_steps_end_with_the_command(home):
    """Killed, the command takes its step with it; on SIGTERM it lets the step save first."""
    arguments = ['run', str(home / 'shops.yaml'), '--workspace', str(home / 'runs')]
    arguments += ['--set', 'train.epochs=500', '--set', 'train.patience=500']
    arguments += ['--set', 'train.checkpoint_steps=10']
    training = home / 'runs' / 'training' / 'shops'
    before = set(os.listdir(training))

    def start(steps: int) -> tuple[subprocess.Popen, set[int]]:
        """Starts the command; returns it and its steps when training is at `steps`."""
        child = subprocess.Popen(
            [sys.executable, '-m', 'pipeline.cli.main', *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        deadline = time.monotonic() + 240
        while latest() < steps:
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        return child, steps_of(child.pid)

    def latest() -> int:
        return max(
            (
                int(file.stem.split('-')[1])
                for name in set(os.listdir(training)) - before
                for file in (training / name / 'checkpoints').glob('ckpt-*.index')
            ),
            default=0,
        )

    child, steps = start(50)
    child.kill()
    child.communicate()
    deadline = time.monotonic() + 5
    while steps & running():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    killed_at = latest()

    child, steps = start(killed_at + 50)
    child.terminate()
    out, _ = child.communicate(timeout=60)
    assert child.returncode == 128 + signal.SIGTERM
    assert 'Continuing at epoch' in out
    assert 'stopped by SIGTERM; the same command resumes the run' in out
    assert 'Traceback' not in out
    assert not steps & running()
    assert len(set(os.listdir(training)) - before) == 1


def running() -> set[int]:
    """The ids of all processes that have not ended."""
    found = set()
    for path in pathlib.Path('/proc').glob('[0-9]*/stat'):
        with contextlib.suppress(OSError):
            if path.read_text().rsplit(')', 1)[1].split()[0] != 'Z':
                found.add(int(path.parent.name))
    return found


def steps_of(command: int) -> set[int]:
    """The processes that a command has started as its steps."""
    found = set()
    for process in running():
        with contextlib.suppress(OSError):
            environment = pathlib.Path(f'/proc/{process}/environ').read_bytes()
            if f'MDCTR_RUNNER={command}:'.encode() in environment:
                found.add(process)
    assert found
    return found


def test_drift_stops_the_pipeline_before_training(home, capfd, tmp_path):
    # On the last day the users have other ages.
    log = tmp_path / 'drifted.csv'
    lines = (home / 'log.csv').read_text().splitlines()
    last_day = 1577836800 + 5 * 86400
    moved = [
        line
        if not line.split(',')[3].isdigit() or int(line.split(',')[3]) < last_day
        else ','.join([*line.split(',')[:5], '99', line.split(',')[6]])
        for line in lines
    ]
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


@pytest.mark.parametrize(
    ('command', 'change', 'sentence'),
    [
        # A step reports it to the command; the others need no process of their own.
        (['run'], 'dataset.max_rejected_fraction=0.0', 'click not 0 or 1'),
        (['run'], 'train.model.name=nothing', 'There is no model nothing'),
        (['dataset', 'build'], 'dataset.inputs=[/nowhere/log.csv]', '/nowhere/log.csv'),
        (
            ['dataset', 'build'],
            'dataset.split.days.test=[2021-01-01, 2021-01-02]',
            'The split test (2021-01-01 to 2021-01-02) has no rows',
        ),
    ],
)
def test_a_mistake_ends_in_one_sentence(home, capfd, command, change, sentence):
    config, workspace = str(home / 'shops.yaml'), str(home / 'runs')
    assert main([*command, config, '--workspace', workspace, '--set', change]) == 2
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith('mdctr: ') and sentence in last
