"""`mdctr run` of a continual configuration, killed in the middle of a period."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from pipeline.cli.main import main
from tests import yaml_files
from tests.components.continual.daily_log import Home, settings, write_day


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """Workspaces: `whole` with two periods, and `cut` with only the first of them."""
    place = tmp_path_factory.mktemp('place')
    for number in (1, 2):
        write_day(place / 'log', number)
    values = settings(place / 'log')
    # Long enough to be killed in the middle.
    train = {**values['continual']['target_train'], 'epochs': 40}
    values['continual'] = {**values['continual'], 'target_train': train}
    yaml_files.write(place / 'shops.yaml', values)
    whole = Home(values, place / 'whole')
    whole.walk()
    shutil.copytree(place / 'whole', place / 'cut')
    write_day(place / 'log', 3)
    whole.walk()
    return place


@pytest.mark.slow
def test_killed_in_the_middle_of_a_period_it_ends_as_if_it_had_not_been(place, capfd):
    arguments = ['run', str(place / 'shops.yaml'), '--workspace', str(place / 'cut')]
    child = subprocess.Popen(
        [sys.executable, '-m', 'pipeline.cli.main', *arguments],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    runs = place / 'cut' / 'training' / 'shops-small'
    deadline = time.monotonic() + 400
    # When the second checkpoint exists, the first one is complete.
    while not list(runs.glob('2020-01-02-transfer-*/checkpoints/ckpt-[!2]*.index')):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)  # each step is a process of its own
    child.wait()
    (run,) = (path for path in runs.glob('2020-01-02-transfer-*') if path.is_dir())
    assert not (run / 'export').exists()
    assert sorted(os.listdir(place / 'cut' / 'models' / 'shops-source')) == [
        '1',
        '2',
        'current.json',
    ]

    assert main(arguments) == 0
    said = capfd.readouterr().out
    assert 'Continuing at epoch' in said
    assert 'shops-small   transfer' in said.splitlines()[-1]
    for model in ('source', 'small'):
        assert _golden(place / 'cut', model) == _golden(place / 'whole', model)


def _golden(workspace, model) -> dict:
    """The versions of a model and the scores of their golden batches."""
    found = {}
    for version in ('1', '2'):
        directory = workspace / 'models' / f'shops-{model}' / version
        golden = json.loads((directory / 'golden.json').read_text())
        described = json.loads((directory / 'model.json').read_text())
        described['continual'].pop('parent')  # the digest covers the files
        described['continual'].pop('source')
        described['continual'].pop('digest')
        found[version] = (np.round(golden['scores'], 5).tolist(), described['continual'])
    return found


@pytest.mark.slow
def test_run_again_it_does_nothing_and_says_so(place, capfd):
    models = place / 'cut' / 'models'
    before = sorted(str(path) for path in models.rglob('*'))
    assert main(['run', str(place / 'shops.yaml'), '--workspace', str(place / 'cut')]) == 0
    assert 'No new days; nothing to do.' in capfd.readouterr().out
    assert sorted(str(path) for path in models.rglob('*')) == before
