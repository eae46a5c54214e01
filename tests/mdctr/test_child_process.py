"""Steps end with the command that started them, by real processes."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from tests.processes import with_tests

# A step that writes its id and then works; it takes a second to stop.
STEP = """
import os, pathlib, signal, sys, time
from mdctr.child_process import child_of_runner

def stop(*_):
    time.sleep(1)
    place.joinpath('saved').touch()
    sys.exit(143)

place = pathlib.Path(sys.argv[1])
signal.signal(signal.SIGTERM, signal.SIG_IGN if sys.argv[2] == 'stubborn' else stop)
with child_of_runner():
    place.joinpath('step').write_text(str(os.getpid()))
    time.sleep(120)
"""
# The command starts the step as kfp.local does: by a shell, of which it knows nothing.
COMMAND = """
import subprocess, sys
from mdctr.child_process import child_processes

with child_processes(grace=float(sys.argv[4])) as steps:
    ended = subprocess.run(['sh', '-c', '"$0" -c "$1" "$2" "$3"', sys.executable,
                            *sys.argv[1:4]])
    print(ended.returncode, steps.stopping, flush=True)
"""

# A comparison whose only run takes long.
COMPARISON = """
import os, time
from pipeline.compare.run import process_pool

with process_pool(1) as pool:
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 120).result()
"""


def start(place: pathlib.Path, kind: str = 'usual', grace: float = 60) -> subprocess.Popen:
    """Starts the command, and returns when its step works."""
    command = subprocess.Popen(
        [sys.executable, '-c', COMMAND, STEP, str(place), kind, str(grace)],
        env=with_tests(),
        stdout=subprocess.PIPE,
        text=True,
    )
    until(lambda: (place / 'step').exists() and (place / 'step').read_text())
    return command


def until(condition, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(place: pathlib.Path) -> bool:
    process = int((place / 'step').read_text())
    try:
        return pathlib.Path(f'/proc/{process}/stat').read_text().split()[2] != 'Z'
    except OSError:
        return False


def test_a_step_ends_at_once_when_the_command_is_killed(tmp_path):
    command = start(tmp_path)
    command.kill()
    command.wait()
    until(lambda: not alive(tmp_path), seconds=2)
    assert not (tmp_path / 'saved').exists()


def test_a_command_that_is_asked_to_stop_waits_for_its_step(tmp_path):
    command = start(tmp_path)
    command.terminate()
    out, _ = command.communicate(timeout=20)
    assert out.split() == ['143', 'True']
    assert (tmp_path / 'saved').exists() and not alive(tmp_path)


def test_a_step_that_does_not_stop_is_killed(tmp_path):
    command = start(tmp_path, 'stubborn', grace=0.5)
    command.terminate()
    out, _ = command.communicate(timeout=20)
    assert out.split() == ['137', 'True']
    assert not alive(tmp_path)


def test_a_step_that_starts_too_late_does_not_work(tmp_path):
    (tmp_path / 'stop').touch()
    environment = with_tests()
    for runner in (os.getpid(), 2**22 - 7):  # a command that is stopping, and one that is gone
        environment['MDCTR_RUNNER'] = f'{runner}:{tmp_path}'
        ended = subprocess.run(
            [sys.executable, '-c', STEP, str(tmp_path), 'usual'], env=environment, timeout=20
        )
        assert ended.returncode == 128 + signal.SIGTERM
    assert not (tmp_path / 'step').exists()


@pytest.mark.parametrize('variable', ['', None])
def test_without_a_command_a_step_is_left_alone(monkeypatch, variable):
    from mdctr.child_process import child_of_runner

    if variable is None:
        monkeypatch.delenv('MDCTR_RUNNER', raising=False)
    else:
        monkeypatch.setenv('MDCTR_RUNNER', variable)
    with child_of_runner():
        pass


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL])
def test_a_run_of_a_comparison_ends_with_the_comparison(number):
    comparison = subprocess.Popen(
        [sys.executable, '-c', COMPARISON],
        env=with_tests(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert comparison.stdout is not None
    run = int(comparison.stdout.readline())
    comparison.send_signal(number)
    until(lambda: not pathlib.Path(f'/proc/{run}').exists())
    comparison.wait(20)
    comparison.stdout.close()
