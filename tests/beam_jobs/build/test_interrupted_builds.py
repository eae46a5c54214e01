"""Builds and extensions that are killed, or run at the same time, lose nothing."""

import re
import shutil
import signal

import pytest

from mdctr.dataset import open_dataset
from tests.beam_jobs.build.versioned_dataset import (
    PRELOAD,
    build,
    build_with_another_seed,
    contents,
    extend,
    own_files,
)
from tests.stopped_writes import StoppedProcess, count_writes, with_short_leases

LOST_LEASE = 'This process lost the lease of .*: run the command again'
OTHER_CAME_FIRST = (
    '.* was built or extended by another process in the meantime: extend it again'
)


def process(function, *arguments, at=0) -> StoppedProcess:
    """A process that is killed at a write."""
    return StoppedProcess(function, arguments, at, preload=PRELOAD)


def suspended(function, *arguments, at) -> StoppedProcess:
    """A process that is suspended at a write; its leases expire soon after."""
    arguments = (function, *arguments)
    return StoppedProcess(with_short_leases, arguments, at, signal.SIGSTOP, preload=PRELOAD)


def writes_of(function, *arguments) -> int:
    return count_writes(function, arguments, preload=PRELOAD)


@pytest.fixture(scope='module')
def expected(tmp_path_factory):
    """The versions that builds and extensions make when nothing disturbs them."""
    directory = str(tmp_path_factory.mktemp('expected') / 'shop')
    built, extended = build(directory), extend(directory)
    return {
        'directory': directory,
        'build': contents(built),
        'extend': contents(extended),
        'files': {'build': own_files(built), 'extend': own_files(extended)},
    }


@pytest.fixture(scope='module')
def base(tmp_path_factory) -> str:
    """A built dataset, to be copied."""
    directory = str(tmp_path_factory.mktemp('base') / 'shop')
    build(directory)
    return directory


def points(writes: int, every: bool) -> list[int]:
    """The writes at which a process is stopped: all of them, or some from start to end."""
    chosen = range(1, writes + 1)
    return list(chosen) if every else sorted({*chosen[1 :: max(writes // 3, 1)], writes - 1})


def check_kills(function, name, tmp_path, expected, base, every):
    counted = tmp_path / 'counted'
    if base:
        shutil.copytree(base, counted)
    for at in points(writes_of(function, str(counted)), every):
        directory = str(tmp_path / str(at))
        if base:
            shutil.copytree(base, directory)
        assert process(function, directory, at=at).was_killed(), at
        if base:  # whatever is current is complete
            open_dataset(directory).verify()
        again = process(function, directory)
        assert again.join() is None, at
        current = open_dataset(directory)
        assert contents(current.directory) == expected[name], at
        assert own_files(current.directory) == expected['files'][name], at


def test_a_build_that_is_killed_and_repeated_gives_the_same_bytes(tmp_path, expected):
    check_kills(build, 'build', tmp_path, expected, None, every=False)


def test_an_extension_that_is_killed_and_repeated_gives_the_same_bytes(
    tmp_path, expected, base
):
    check_kills(extend, 'extend', tmp_path, expected, base, every=False)


@pytest.mark.slow
def test_a_build_that_is_killed_at_any_write(tmp_path, expected):
    check_kills(build, 'build', tmp_path, expected, None, every=True)


@pytest.mark.slow
def test_an_extension_that_is_killed_at_any_write(tmp_path, expected, base):
    check_kills(extend, 'extend', tmp_path, expected, base, every=True)


def check_race(tmp_path, base, function, others, check, every):
    """Suspends a process at its writes while others run, and continues it afterwards.

    Args:
        tmp_path: Directory for the datasets.
        base: Dataset to begin with; None to begin with nothing.
        function: What the suspended process does.
        others: What the others do, one after the other: functions with their arguments.
        check: Called with the directory and the sentences of all, in the order of `others`
            and then of the suspended process; None for those that ended well.
        every: Whether it is suspended at every write rather than at some.
    """
    counted = tmp_path / 'counted'
    if base:
        shutil.copytree(base, counted)
    for at in points(writes_of(function, str(counted)), every):
        for attempt in range(5):
            directory = str(tmp_path / f'{at}-{attempt}')
            if base:
                shutil.copytree(base, directory)
            paused = suspended(function, directory, at=at)
            if paused.wait_until_stopped():
                break
            # On a busy machine it could not renew its lease in time, and said so.
            assert re.match(LOST_LEASE, str(paused.join())), at
        else:
            raise AssertionError(f'The process never reached write {at}.')
        sentences = [
            process(other, directory, *arguments).join() for other, *arguments in others
        ]
        paused.resume()
        sentences.append(paused.join())
        check(directory, sentences)


def of_two_builds(expected):
    def check(directory, sentences):
        assert sentences[0] is None
        assert sentences[1] is None or re.match(LOST_LEASE, sentences[1])
        assert contents(directory) == expected['build']
        assert own_files(open_dataset(directory).directory) == expected['files']['build']

    return check


def of_two_extensions(directory, sentences):
    """Both days are there, or the suspended one says what became of it."""
    added = open_dataset(directory).manifest.added
    open_dataset(directory).verify()
    other_said, suspended_said = sentences
    assert other_said is None
    if suspended_said is None:
        assert added == ['fourth', 'fifth']
    else:  # or it began after the other
        assert added == ['fifth']
        assert re.match(f'{LOST_LEASE}|{OTHER_CAME_FIRST}|.*begins on', suspended_said)


def of_build_and_extension(directory, sentences):
    """The day is current; or the build came first, and the extension says what to do."""
    current = open_dataset(directory)
    current.verify()
    build_said, extension_said = sentences
    if extension_said is None:
        assert current.manifest.added == ['fourth']
        assert build_said is None or '--without-extensions' in build_said
    else:
        assert re.match(f'{LOST_LEASE}|{OTHER_CAME_FIRST}', extension_said)
        assert build_said is None and current.manifest.seed == 7


def test_two_builds_at_the_same_time(tmp_path, expected):
    check_race(tmp_path, None, build, [(build,)], of_two_builds(expected), every=False)


def test_two_extensions_at_the_same_time(tmp_path, base):
    check_race(tmp_path, base, extend, [(extend, 'fifth')], of_two_extensions, every=False)


def test_a_build_while_the_dataset_is_extended(tmp_path, base):
    others = [(build_with_another_seed,)]
    check_race(tmp_path, base, extend, others, of_build_and_extension, every=False)


@pytest.mark.slow
def test_two_builds_with_one_suspended_at_any_write(tmp_path, expected):
    check_race(tmp_path, None, build, [(build,)], of_two_builds(expected), every=True)


@pytest.mark.slow
def test_two_extensions_with_one_suspended_at_any_write(tmp_path, base):
    check_race(tmp_path, base, extend, [(extend, 'fifth')], of_two_extensions, every=True)


@pytest.mark.slow
def test_a_build_while_an_extension_is_suspended_at_any_write(tmp_path, base):
    others = [(build_with_another_seed,)]
    check_race(tmp_path, base, extend, others, of_build_and_extension, every=True)


def test_a_reader_keeps_the_version_that_it_opened(tmp_path, base):
    """Whatever becomes current: training reads the files of the version that it began with."""
    directory = str(tmp_path / 'shop')
    shutil.copytree(base, directory)
    opened = open_dataset(directory)
    before = contents(opened.directory)
    assert process(build_with_another_seed, directory).join() is None
    assert process(build, directory).join() is None
    assert process(extend, directory).join() is None
    assert open_dataset(directory).directory != opened.directory
    assert contents(opened.directory) == before
