"""One process at a time holds a lease, whether it ends well, is killed or is suspended."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mdctr import leases, storage
from mdctr.errors import UserError
from mdctr.leases import lease

HOLD = """
import sys, time
from mdctr.leases import lease
with lease(sys.argv[1], 'builds the dataset shop', duration=float(sys.argv[2])) as held:
    print('held', flush=True)
    time.sleep(float(sys.argv[3]))
    held.check()
"""


@pytest.fixture(params=['local', 's3'])
def path(request, tmp_path):
    if request.param == 'local':
        return str(tmp_path / 'datasets' / 'shop.lease')
    return request.getfixturevalue('bucket') + '/datasets/shop.lease'


def start(path, duration, seconds):
    process = subprocess.Popen(
        [sys.executable, '-c', HOLD, path, str(duration), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == 'held\n', process.stderr.read()
    return process


def test_another_process_is_refused_and_told_who_holds_it(path):
    process = start(path, 30, 60)
    try:
        message = (
            rf'Process {process.pid} on .* builds the dataset shop; its lease ends at '
            r'\d\d:\d\d:\d\d UTC'
        )
        with pytest.raises(UserError, match=message), lease(path, 'trains'):
            pass
    finally:
        process.kill()
        process.communicate()


def test_it_is_free_after_its_holder_is_done(path):
    for _ in range(3):
        with lease(path, 'trains') as held:
            held.check()


def test_it_is_free_at_once_when_its_holder_on_this_machine_was_killed(path):
    process = start(path, 300, 60)
    process.kill()
    process.communicate()
    begin = time.monotonic()
    with lease(path, 'trains'):
        assert time.monotonic() - begin < 10


def test_it_expires_when_its_holder_elsewhere_was_killed(path, monkeypatch):
    process = start(path, 3, 60)
    process.kill()
    process.communicate()
    monkeypatch.setattr(leases, '_has_died', lambda process: False)
    with pytest.raises(UserError), lease(path, 'trains'):
        pass
    with lease(path, 'trains', wait=True) as held:
        held.check()


def test_it_is_renewed_while_it_is_held(path):
    with lease(path, 'trains', duration=2) as held:
        time.sleep(4)
        held.check()


def test_a_suspended_holder_loses_it_and_stops(path):
    process = start(path, 2, 4)
    os.kill(process.pid, signal.SIGSTOP)
    with lease(path, 'trains', wait=True):
        os.kill(process.pid, signal.SIGCONT)
        _, errors = process.communicate(timeout=60)
        assert 'This process lost the lease' in errors
        assert process.returncode == 1


def test_a_suspended_holder_goes_on_if_nobody_took_it(path):
    process = start(path, 2, 4)
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(3)
    os.kill(process.pid, signal.SIGCONT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors


def test_an_expired_lease_is_taken_again_before_the_next_write(path):
    with lease(path, 'trains') as held:
        held._expires = 0.0
        held.check()
        with pytest.raises(UserError), lease(path, 'evaluates'):
            pass


def test_a_lease_that_could_not_be_taken_again_is_not_held(path, monkeypatch):
    def fails(path, data):
        raise OSError('the network is down')

    with lease(path, 'trains') as held:
        held._expires = 0.0
        with monkeypatch.context() as patched:
            patched.setattr(storage, 'create', fails)
            for _ in range(2):
                with pytest.raises(OSError, match='network'):
                    held.check()
        held.check()


def test_a_waiting_process_says_for_whom(path, caplog):
    process = start(path, 30, 3)
    with caplog.at_level('INFO'), lease(path, 'trains', wait=True):
        assert f'Waiting: process {process.pid} on' in caplog.text
    process.communicate()


def test_a_lost_lease_stops_writes_below_what_it_protects(path):
    directory = storage.join(storage.parent(path), 'version')
    with lease(path, 'builds', protects=directory) as held:
        storage.write_text(storage.join(directory, 'a'), '')
        held._expires = 0.0
        storage.write_text(f'{path}.7', '')  # another process took it
        with pytest.raises(UserError, match='lost the lease'):
            storage.write_text(storage.join(directory, 'b'), '')
    assert storage.list_directory(directory) == ['a']


def test_many_processes_hold_it_one_after_another(path, tmp_path):
    log = tmp_path / 'log'
    code = """
import sys, time
from mdctr.leases import lease
for _ in range(3):
    with lease(sys.argv[1], 'counts', wait=True):
        with open(sys.argv[2], 'a') as file: file.write('begin\\n')
        time.sleep(0.05)
        with open(sys.argv[2], 'a') as file: file.write('end\\n')
"""
    processes = [
        subprocess.Popen([sys.executable, '-c', code, path, str(log)]) for _ in range(4)
    ]
    assert [process.wait(120) for process in processes] == [0] * 4
    assert log.read_text().split() == ['begin', 'end'] * 12
