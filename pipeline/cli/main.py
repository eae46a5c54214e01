"""The command line, `mdctr`. A command imports what it needs when it runs."""

import argparse
import sys
from collections.abc import Sequence

from mdctr import storage
from mdctr.console import quiet_libraries
from mdctr.errors import UserError
from pipeline.cli import compare, config, dataset, model, models, run


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: Arguments; those of the process if None.

    Returns:
        The exit status: 0; 1 if a run of the pipeline or of a comparison failed; 2 if the input
        was wrong; 130 if the command was interrupted.
    """
    parser = make_parser()
    arguments, beam_args = parser.parse_known_args(argv)
    if beam_args and not arguments.takes_beam_args:
        parser.error(f'unrecognized arguments: {" ".join(beam_args)}')
    arguments.beam_args = beam_args
    quiet_libraries()
    try:
        if storage.is_url(getattr(arguments, 'workspace', '')):
            arguments.workspace = storage.resolve(arguments.workspace)
        return arguments.command(arguments) or 0
    except UserError as error:
        print(f'mdctr: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('mdctr: interrupted; the same command resumes where it stopped.', file=sys.stderr)
        return 130


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog='mdctr',
        description='One click-through-rate model for many domains: build and validate the '
        'dataset, train, evaluate and push.',
    )
    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    for group in (run, dataset, model, models, compare, config):
        group.add_commands(commands)
    return parser


if __name__ == '__main__':
    sys.exit(main())
