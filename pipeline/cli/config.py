"""`mdctr config`: the schema and the reference of configurations."""

import argparse
import json

from pipeline.cli.arguments import Commands, add_command


def add_commands(commands: Commands) -> None:
    """Declares the commands."""
    group = commands.add_parser('config', help='print the schema of configurations')
    commands = group.add_subparsers(required=True, metavar='COMMAND')
    add_command(
        commands, 'schema', _schema, 'print the JSON Schema of configurations, for editors'
    )
    add_command(
        commands, 'docs', _docs, 'print the reference of all keys, docs/configuration.md'
    )


def _schema(arguments: argparse.Namespace) -> None:
    from pipeline.config_schema import config_schema

    print(json.dumps(config_schema(), indent=2, ensure_ascii=False))


def _docs(arguments: argparse.Namespace) -> None:
    from pipeline.config_docs import configuration_page

    print(configuration_page(), end='')
