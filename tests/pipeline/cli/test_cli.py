"""The command line: quick help, one sentence for a mistake, no traceback."""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from pipeline.cli.main import main, make_parser


def _commands(
    parser: argparse.ArgumentParser, path: tuple[str, ...] = ()
) -> Iterator[list[str]]:
    """Every command, the ones that only group others included."""
    yield list(path)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield from _commands(command, (*path, name))


@pytest.mark.parametrize(
    'command', _commands(make_parser()), ids=lambda command: ' '.join(command) or 'mdctr'
)
def test_help_imports_nothing_heavy(command):
    # Heavy imports make help slow; the time itself is asserted once, below.
    code = (
        'import sys\nfrom pipeline.cli.main import main\n'
        f'try: main({[*command, "--help"]!r})\n'
        'except SystemExit as end: assert not end.code\n'
        'heavy = {"tensorflow", "apache_beam", "kfp", "pyarrow", "pandas", "numpy"}\n'
        'heavy |= {"pydantic", "ruamel"}\n'
        'assert not heavy & set(sys.modules), heavy & set(sys.modules)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'usage: ' in done.stdout


def test_help_answers_in_under_a_second():
    def seconds():
        start = time.monotonic()
        subprocess.run(
            [sys.executable, '-m', 'pipeline.cli.main', '--help'],
            check=True,
            capture_output=True,
        )
        return time.monotonic() - start

    assert min(seconds() for _ in range(3)) < 1


def test_a_mistake_is_one_sentence_on_stderr(capsys):
    assert main(['compile', 'movielense', '-o', 'x.yaml']) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith('mdctr: movielense is neither a file nor')
    assert captured.err.count('\n') == 1
    assert captured.out == ''


def test_unknown_options_are_refused_where_beam_takes_none(capsys):
    with pytest.raises(SystemExit) as end:
        main(['train', 'movielens', '--runner=FlinkRunner'])
    assert end.value.code == 2
    assert 'unrecognized arguments: --runner=FlinkRunner' in capsys.readouterr().err


def test_training_without_a_dataset_is_one_sentence(tmp_path, capsys):
    assert main(['train', 'movielens', '--workspace', str(tmp_path)]) == 2
    assert 'does not contain a complete dataset' in capsys.readouterr().err


def test_a_continual_pipeline_does_not_train_a_period_again(tmp_path, capsys):
    assert main(['run', 'ctnet-abc', '--again', '--workspace', str(tmp_path)]) == 2
    assert '--again cannot be used' in capsys.readouterr().err
