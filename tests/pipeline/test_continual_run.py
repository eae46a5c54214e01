"""`mdctr run` of a continual configuration, killed in the middle of a period."""

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
import yaml

from pipeline.cli import main

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / 'components'))
from daily_log import Home, settings, write_day


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A workspace `whole` with two periods, and `cut` with the first of them alone."""
    place = tmp_path_factory.mktemp('place')
    for number in (1, 2):
        write_day(place / 'log', number)
    values = settings(place / 'log')
    # Long enough to be killed in the middle.
    train = {**values['continual']['target_train'], 'epochs': 40}
    values['continual'] = {**values['continual'], 'target_train': train}
    (place / 'shops.yaml').write_text(yaml.safe_dump(values))
    whole = Home(values, place / 'whole')
    whole.walk()
    shutil.copytree(place / 'whole', place / 'cut')
    write_day(place / 'log', 3)
    whole.walk()
    return place


def test_killed_in_the_middle_of_a_period_it_ends_as_if_it_had_not_been(place, capfd):
    arguments = ['run', str(place / 'shops.yaml'), '--workspace', str(place / 'cut')]
    child = subprocess.Popen([sys.executable, '-m', 'pipeline.cli', *arguments],
                             stdout=subprocess.DEVNULL, start_new_session=True)
    runs = place / 'cut' / 'training' / 'shops-small'
    deadline = time.monotonic() + 400
    # With the second checkpoint the first one is complete.
    while not list(runs.glob('2020-01-02-transfer-*/checkpoints/ckpt-[!2]*.index')):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)  # the steps are processes of their own
    child.wait()
    run, = runs.glob('2020-01-02-transfer-*[0-9a-f]')
    assert not (run / 'export').exists()
    assert sorted(os.listdir(place / 'cut' / 'models' / 'shops-source')) == [
        '.push.lock', '1', '2']

    assert main(arguments) == 0
    said = capfd.readouterr().out
    assert 'Continuing at epoch' in said
    assert 'shops-small   transfer' in said.splitlines()[-1]
    for model in ('source', 'small'):
        assert _golden(place / 'cut', model) == _golden(place / 'whole', model)


def _golden(workspace, model) -> dict:
    """What the versions of a model are, and how they score."""
    found = {}
    for version in ('1', '2'):
        directory = workspace / 'models' / f'shops-{model}' / version
        golden = json.loads((directory / 'golden.json').read_text())
        described = json.loads((directory / 'model.json').read_text())
        described['continual'].pop('parent')  # its digest is of files
        described['continual'].pop('source')
        described['continual'].pop('digest')
        found[version] = (np.round(golden['scores'], 5).tolist(), described['continual'])
    return found


def test_run_again_it_does_nothing_and_says_so(place, capfd):
    models = place / 'cut' / 'models'
    before = sorted(str(path) for path in models.rglob('*'))
    assert main(['run', str(place / 'shops.yaml'), '--workspace', str(place / 'cut')]) == 0
    assert 'There is no new day: nothing was to be done.' in capfd.readouterr().out
    assert sorted(str(path) for path in models.rglob('*')) == before
