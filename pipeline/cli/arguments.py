"""Declares commands, and the arguments that several commands share."""

import argparse
import datetime
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from pipeline.config import RunConfig

WORKSPACE = 'runs'
Commands = Any  # what `ArgumentParser.add_subparsers` returns, whose type is private


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int | None],
    text: str,
    *,
    beam: bool = False,
) -> argparse.ArgumentParser:
    """Declares a command.

    Args:
        commands: Commands of the group that it belongs to.
        name: Name of the command.
        run: Function that runs it and returns its exit status; None counts as 0.
        text: Description for `--help`.
        beam: Whether unknown options are passed to Beam.
    """
    more = '; unknown options, such as --runner=..., are passed to Beam' if beam else ''
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text + more
    )
    parser.set_defaults(command=run, takes_beam_args=beam)
    return parser


def add_config_arguments(parser: argparse.ArgumentParser, *, workspace: bool = True) -> None:
    """Adds the arguments of a command that reads a configuration.

    Args:
        parser: Parser of the command.
        workspace: Whether the command uses a workspace.
    """
    parser.add_argument(
        'config', metavar='CONFIG', help='configuration file, or name of a built-in one'
    )
    parser.add_argument('--model', help='architecture; short for --set train.model.name=')
    parser.add_argument(
        '--set',
        action='append',
        default=[],
        metavar='KEY=VALUE',
        help='change a value of the configuration, e.g. train.epochs=3',
    )
    if workspace:
        add_workspace_argument(parser, 'directory of all datasets, runs and models')


def add_workspace_argument(parser: argparse.ArgumentParser, text: str) -> None:
    """Adds `--workspace`; `text` is its description for `--help`."""
    parser.add_argument('--workspace', default=WORKSPACE, help=f'{text} (%(default)s)')


def add_again_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--again` to a command that trains."""
    parser.add_argument(
        '--again',
        action='store_true',
        help='train even if a run with the same dataset and settings has finished',
    )


def add_split_arguments(
    parser: argparse.ArgumentParser, train: list[str] | None, validation: str | None
) -> None:
    """Adds the arguments that select the splits for training and validation."""
    parser.add_argument(
        '--train-splits',
        nargs='+',
        metavar='NAME',
        default=train,
        help='splits to train on (train)',
    )
    parser.add_argument(
        '--validation-split',
        metavar='NAME',
        default=validation,
        help='split for early stopping (validation); `none` to keep the last epoch',
    )


class _RenamedOption(argparse.Action):
    """Refuses an option, and names the one that replaces it."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> NoReturn:
        parser.error(f'{self.option_strings[0]} is now called {self.const}')


def add_renamed_option(parser: argparse.ArgumentParser, old: str, new: str) -> None:
    """Makes `old` an error that names `new`."""
    parser.add_argument(
        old, action=_RenamedOption, nargs='?', const=new, help=argparse.SUPPRESS
    )


def load_config(arguments: argparse.Namespace, *, components: bool = False) -> 'RunConfig':
    """Loads the configuration of a command with the changes of its arguments.

    Args:
        arguments: Parsed arguments, among them those of `add_config_arguments`.
        components: Whether to check the components that it names, which imports TensorFlow.

    Raises:
        UserError: The configuration is not valid.
    """
    from pipeline.config import load_config

    overrides = list(arguments.set)
    if arguments.model:
        overrides.append(f'train.model.name={arguments.model}')
    return load_config(arguments.config, overrides, check_components=components)


def day(text: str) -> str:
    """Parses an argument that is a date, YYYY-MM-DD."""
    return datetime.date.fromisoformat(text).isoformat()


def words(text: str) -> list[str]:
    """Parses an argument that is a list of words, separated by spaces."""
    return text.split()
