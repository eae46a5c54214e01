"""`mdctr compare`: models and frameworks on the same splits."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from mdctr import storage
from mdctr.errors import UserError
from pipeline.cli.arguments import (
    Commands,
    add_command,
    add_config_arguments,
    load_config,
    words,
)

if TYPE_CHECKING:
    from components.continual.config import ContinualConfig
    from pipeline.config import RunConfig


def add_commands(commands: Commands) -> None:
    """Declares the command."""
    compare = add_command(
        commands,
        'compare',
        _compare,
        'train models and frameworks on the same splits, and tabulate their metrics',
    )
    add_config_arguments(compare)
    compare.add_argument(
        '--models',
        required=True,
        type=words,
        help='models, separated by spaces; name:key=value,... for a variant, name+framework '
        'for a model with its own framework',
    )
    compare.add_argument(
        '--frameworks',
        type=words,
        help='learning frameworks, separated by spaces; that of the configuration if absent',
    )
    compare.add_argument(
        '--references',
        type=words,
        default=[],
        help='methods of other libraries, separated by spaces: boosted_trees',
    )
    compare.add_argument(
        '--seeds', type=int, default=3, help='number of runs of each method (%(default)s)'
    )
    compare.add_argument(
        '--jobs',
        type=int,
        default=1,
        help='runs at the same time, which share the cores (%(default)s)',
    )
    compare.add_argument(
        '--output',
        help='directory of the tables; compare/NAME of the workspace, with the runs, if absent',
    )
    compare.add_argument(
        '--baseline', help='method that the others are compared with; the first if absent'
    )


def _compare(arguments: argparse.Namespace) -> int:
    config = load_config(arguments)
    for key in ('seeds', 'jobs'):
        if getattr(arguments, key) < 1:
            raise UserError(f'--{key} must be at least 1.')
    if config.continual is not None:
        return _compare_transfer(config, config.continual, arguments)
    return _compare_methods(config, arguments)


def _compare_methods(config: 'RunConfig', arguments: argparse.Namespace) -> int:
    from mdctr.workspace import current_dataset
    from pipeline.compare.methods import parse_methods, parse_references
    from pipeline.compare.report import write_reports
    from pipeline.compare.run import compare

    methods = parse_methods(
        config.train, arguments.models, arguments.frameworks or [config.train.framework]
    )
    methods += parse_references(config.train, arguments.references)
    baseline = _baseline(arguments, [method.name for method in methods])
    directory = storage.join(arguments.workspace, 'compare', config.name)
    dataset = current_dataset(arguments.workspace, config.name)
    output = arguments.output or directory
    storage.check_writable(output)
    results, failures = compare(
        dataset, directory, methods, range(1, arguments.seeds + 1), jobs=arguments.jobs
    )
    _report_failures(failures, results)
    print(write_reports(dataset.manifest, output, results, baseline))
    return 1 if failures else 0


def _compare_transfer(
    config: 'RunConfig', continual: 'ContinualConfig', arguments: argparse.Namespace
) -> int:
    from mdctr.workspace import current_dataset
    from pipeline.compare.transfer.methods import parse_transfer_method
    from pipeline.compare.transfer.run import compare_transfer
    from pipeline.compare.transfer.tables import write_tables

    if arguments.frameworks or arguments.references:
        option = '--frameworks' if arguments.frameworks else '--references'
        raise UserError(
            f'{option} cannot be used with a configuration that has a section continual, which '
            'compares transfer methods over periods: remove it.'
        )
    methods = [parse_transfer_method(text) for text in dict.fromkeys(arguments.models)]
    baseline = _baseline(arguments, [method.name for method in methods])
    directory = storage.join(arguments.workspace, 'compare', config.name)
    dataset = current_dataset(arguments.workspace, config.name)
    output = arguments.output or directory
    storage.check_writable(output)
    results, failures = compare_transfer(
        dataset,
        directory,
        continual,
        methods,
        range(1, arguments.seeds + 1),
        arguments.jobs,
    )
    _report_failures(failures, results)
    print(write_tables(output, results, baseline))
    return 1 if failures else 0


def _baseline(arguments: argparse.Namespace, names: list[str]) -> str:
    baseline: str = arguments.baseline or names[0]
    if baseline not in names:
        raise UserError(f'--baseline {baseline} is not one of the methods {", ".join(names)}.')
    return baseline


def _report_failures(failures: list[str], results: list[Any]) -> None:
    for failure in failures:
        print(f'mdctr: {failure}', file=sys.stderr)
    if not results:
        raise UserError('No run of the comparison finished.')
