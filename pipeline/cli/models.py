"""`mdctr models`: the pushed versions of a model."""

import argparse

from pipeline.cli.arguments import Commands, add_command, add_workspace_argument


def add_commands(commands: Commands) -> None:
    """Declares the commands."""
    group = commands.add_parser(
        'models', help='list and roll back the pushed versions of a model'
    )
    commands = group.add_subparsers(required=True, metavar='COMMAND')

    list_ = add_command(commands, 'list', _list, 'list the pushed versions of a model')
    _add_arguments(list_)

    rollback = add_command(
        commands,
        'rollback',
        _rollback,
        'push an earlier version as the newest one, and withdraw the later ones',
    )
    _add_arguments(rollback)
    rollback.add_argument(
        '--to',
        type=int,
        metavar='VERSION',
        help='version to return to; the one that was served before if absent',
    )


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'name', metavar='NAME', help='name of the model, which is that of its configuration'
    )
    add_workspace_argument(parser, 'workspace of the model')


def _list(arguments: argparse.Namespace) -> None:
    from mdctr import storage
    from mdctr.pushed_models import describe_versions
    from mdctr.workspace import check_name, models_directory

    check_name(arguments.name)
    models = models_directory(arguments.workspace)
    with storage.reporting_errors(models):
        versions = describe_versions(models, arguments.name)
    if not versions:
        print(f'No version of {arguments.name} was pushed to {models}.')
        return
    print(f'{"version":>7}  {"digest":8}  {"dataset":16}  state')
    for version in versions:
        print(
            f'{version.number:>7}  {version.digest[:8]:8}  {version.dataset[:16]:16}  '
            f'{version.state}'
        )


def _rollback(arguments: argparse.Namespace) -> None:
    from mdctr.workspace import check_name, models_directory
    from trainer.export.rollback import rollback

    check_name(arguments.name)
    models = models_directory(arguments.workspace)
    print(f'Pushed: {rollback(models, arguments.name, arguments.to)}')
