"""`mdctr dataset list`, `prune` and `verify`: the versions of datasets."""

import argparse
from typing import TYPE_CHECKING

from mdctr.errors import UserError
from pipeline.cli.arguments import Commands, add_command, add_workspace_argument

if TYPE_CHECKING:
    from mdctr.stored_versions import StoredVersion

_RECENT = 3
_COLUMNS = ('version', 'current since', 'examples', 'size', 'splits', 'kept')


def add_commands(commands: Commands) -> None:
    """Declares the commands, in the group `dataset`."""
    show = add_command(commands, 'list', _list, 'list the versions of a dataset')
    _add_dataset_arguments(show)

    prune = add_command(
        commands,
        'prune',
        _prune,
        'remove the versions of a dataset that are not current, that no model or training run '
        'of the workspace was trained on, that no other version refers to, and that are not '
        'recent',
    )
    _add_dataset_arguments(prune)
    prune.add_argument(
        '--yes', action='store_true', help='remove the versions instead of printing them'
    )

    verify = add_command(
        commands,
        'verify',
        _verify,
        'compare the contents of every file of the current version with its manifest',
    )
    _add_dataset_arguments(verify, recent=False)


def _add_dataset_arguments(parser: argparse.ArgumentParser, recent: bool = True) -> None:
    parser.add_argument(
        'config',
        nargs='?',
        metavar='CONFIG',
        help='configuration file, or name of a built-in one',
    )
    parser.add_argument('--all', action='store_true', help='all datasets of the workspace')
    if recent:
        parser.add_argument(
            '--recent',
            type=int,
            default=_RECENT,
            metavar='N',
            help='number of versions that are kept because they were current last '
            '(%(default)s)',
        )
    add_workspace_argument(parser, 'directory of all datasets, runs and models')


def _names(arguments: argparse.Namespace) -> list[str]:
    """The names of the datasets that a command is about."""
    from mdctr import storage
    from mdctr.workspace import datasets_directory
    from pipeline.config import load_config

    if (arguments.config is None) != arguments.all:
        raise UserError('Name a configuration, or use --all, but not both.')
    if not arguments.all:
        return [load_config(arguments.config).name]
    with storage.reporting_errors(arguments.workspace):
        directory = datasets_directory(arguments.workspace)
        return [
            name
            for name in storage.list_directory(directory)
            if storage.is_directory(storage.join(directory, name))
        ]


def _versions(arguments: argparse.Namespace, name: str) -> 'list[StoredVersion]':
    from mdctr import storage
    from mdctr.stored_versions import stored_versions

    if arguments.recent < 0:
        raise UserError('--recent must be at least 0.')
    with storage.reporting_errors(arguments.workspace):
        return stored_versions(arguments.workspace, name, arguments.recent)


def _list(arguments: argparse.Namespace) -> None:
    for name in _names(arguments):
        versions = _versions(arguments, name)
        print(f'{name}: {len(versions)} version{"" if len(versions) == 1 else "s"}')
        if versions:
            print(_table(versions))


def _prune(arguments: argparse.Namespace) -> None:
    from mdctr.stored_versions import remove_version

    found = [
        version
        for name in _names(arguments)
        for version in _versions(arguments, name)
        if not version.kept
    ]
    if not found:
        print('No version can be removed.')
    for version in found:
        if arguments.yes:
            remove_version(version)
        print(f'{"Removed" if arguments.yes else "Would remove"} {version.directory}')
    if found and not arguments.yes:
        print('Add --yes to remove them.')


def _verify(arguments: argparse.Namespace) -> None:
    from mdctr import storage
    from mdctr.workspace import current_dataset

    for name in _names(arguments):
        dataset = current_dataset(arguments.workspace, name)
        with storage.reporting_errors(dataset.directory):
            size = dataset.verify()
        files = len(dataset.manifest.files)
        print(f'{dataset}: {files:,} files of {size:,} bytes are as they were built')


def _table(versions: 'list[StoredVersion]') -> str:
    rows = [list(_COLUMNS), *(_row(version) for version in versions)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return '\n'.join(
        '  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _row(version: 'StoredVersion') -> list[str]:
    fingerprint, since = version.fingerprint[:12], version.since[:19].replace('T', ' ')
    kept = '; '.join(version.kept) or 'can be removed'
    if version.manifest is None:
        return [fingerprint, since or '-', '-', '-', 'not complete', kept]
    splits = version.manifest.splits
    examples = sum(sum(split.examples.values()) for split in splits.values())
    return [
        fingerprint,
        since or '-',
        f'{examples:,}',
        f'{version.size / 1e6:,.1f} MB',
        ' '.join(splits) if len(splits) < 6 else f'{len(splits)} splits',
        kept,
    ]
