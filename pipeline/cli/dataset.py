"""`mdctr dataset`: fetch, build, validate, extend, list, prune, verify, export, simulate."""

import argparse
from typing import TYPE_CHECKING

from mdctr import storage
from mdctr.errors import UserError
from pipeline.cli import dataset_versions
from pipeline.cli.arguments import (
    Commands,
    add_command,
    add_config_arguments,
    add_workspace_argument,
    day,
    load_config,
)

if TYPE_CHECKING:
    from beam_jobs.validation.config import DataValidationConfig
    from mdctr.dataset import Dataset


def add_commands(commands: Commands) -> None:
    """Declares the commands."""
    group = commands.add_parser('dataset', help='fetch raw data, build and validate datasets')
    commands = group.add_subparsers(required=True, metavar='COMMAND')

    fetch = add_command(commands, 'fetch', _fetch, 'fetch the raw data of a configuration')
    add_config_arguments(fetch)

    build = add_command(commands, 'build', _build, 'build a dataset and validate it', beam=True)
    add_config_arguments(build)
    build.add_argument(
        '--without-extensions',
        action='store_true',
        help='make the dataset current without the splits that `extend` has added',
    )

    validate = add_command(commands, 'validate', _validate, 'validate a dataset')
    add_config_arguments(validate)
    validate.add_argument(
        '--serving',
        metavar='SPLIT',
        help='check the skew between this split, such as a log of served impressions added by '
        '`extend`, and the training split, instead of the drift of the test split',
    )

    extend = add_command(
        commands,
        'extend',
        _extend,
        'add later days, as a new split, to a dataset built with dataset.extendable=true',
        beam=True,
    )
    add_config_arguments(extend)
    extend.add_argument('--split', required=True, help='name of the new split')
    extend.add_argument(
        '--days',
        required=True,
        nargs=2,
        metavar=('FIRST', 'LAST'),
        type=day,
        help='first and last day of the split, after those of the dataset',
    )
    extend.add_argument(
        '--inputs',
        required=True,
        nargs='+',
        help='log of these days, in the format of the original log',
    )

    dataset_versions.add_commands(commands)

    export = add_command(
        commands, 'export', _export, 'write the examples in another format', beam=True
    )
    add_config_arguments(export)
    export.add_argument(
        '--format',
        required=True,
        choices=['tfrecord'],
        help='tfrecord: tf.Examples in TFRecord files',
    )
    export.add_argument('--output', required=True, help='new directory to write to')

    simulate = add_command(
        commands,
        'simulate',
        _simulate,
        'write a simulated log of many domains with its true click probabilities',
    )
    simulate.add_argument(
        'preset', metavar='PRESET', help='published dataset whose statistics are simulated'
    )
    simulate.add_argument(
        '--rows', type=int, default=1_000_000, help='number of impressions (%(default)s)'
    )
    simulate.add_argument('--seed', type=int, default=1, help='random seed (%(default)s)')
    add_workspace_argument(simulate, 'directory under which simulated/PRESET is written')


def _fetch(arguments: argparse.Namespace) -> None:
    from beam_jobs.readers import make_reader
    from mdctr.workspace import cache_directory

    config = load_config(arguments)
    for path in make_reader(config.dataset, cache_directory(arguments.workspace)).files():
        print(path)


def _build(arguments: argparse.Namespace) -> None:
    from beam_jobs.build.pipeline import build_dataset
    from mdctr.workspace import cache_directory, dataset_directory

    config = load_config(arguments)
    dataset = build_dataset(
        config.dataset,
        config.name,
        dataset_directory(arguments.workspace, config.name),
        cache_directory(arguments.workspace),
        beam_args=arguments.beam_args,
        without_extensions=arguments.without_extensions,
    )
    _print_validation(arguments.workspace, dataset, config.data_validation)
    print(f'The dataset: {dataset}')


def _validate(arguments: argparse.Namespace) -> None:
    from mdctr.workspace import current_dataset

    config = load_config(arguments)
    settings = config.data_validation
    if arguments.serving:
        settings = settings.replace(test_split=arguments.serving)
    dataset = current_dataset(arguments.workspace, config.name)
    _print_validation(arguments.workspace, dataset, settings)


def _print_validation(
    workspace: str, dataset: 'Dataset', settings: 'DataValidationConfig'
) -> None:
    from beam_jobs.validation.validate import validate_dataset
    from mdctr.workspace import validation_directory

    manifest = dataset.manifest
    output = validation_directory(workspace, manifest.name, manifest.fingerprint, settings)
    validation = validate_dataset(dataset, output, settings)
    report = storage.join(output, 'report.html')
    if validation.anomalies:
        raise UserError(f'{validation.message} The report is {report}.')
    print(f'{validation.message}\nThe report: {report}')


def _extend(arguments: argparse.Namespace) -> None:
    from beam_jobs.build.extend import extend_dataset
    from mdctr.workspace import cache_directory, dataset_directory

    config = load_config(arguments)
    extended = extend_dataset(
        dataset_directory(arguments.workspace, config.name),
        arguments.split,
        tuple(arguments.days),
        arguments.inputs,
        cache_directory(arguments.workspace),
        beam_args=arguments.beam_args,
        in_memory_gb=config.dataset.in_memory_gb,
    )
    examples = sum(extended.manifest.splits[arguments.split].examples.values())
    print(
        f'Added {examples:,} examples as the split {arguments.split}\nThe dataset: {extended}'
    )


def _export(arguments: argparse.Namespace) -> None:
    from beam_jobs.examples.export import export_tfrecords
    from mdctr.workspace import current_dataset

    dataset = current_dataset(arguments.workspace, load_config(arguments).name)
    for split, examples in export_tfrecords(
        dataset, arguments.output, arguments.beam_args
    ).items():
        print(f'Exported {examples:,} examples of the split {split}')


def _simulate(arguments: argparse.Namespace) -> None:
    from beam_jobs.simulation.simulate import simulate

    directory = storage.join(arguments.workspace, 'simulated', arguments.preset)
    ceiling = simulate(arguments.preset, arguments.rows, directory, seed=arguments.seed)
    overall = ceiling['all']['overall']
    print(
        f'Wrote {overall["impressions"]:,} impressions to {directory}; their true click '
        f'probabilities have AUC {overall["auc"]:.4f}, GAUC {overall["gauc"]:.4f} and log loss '
        f'{overall["log_loss"]:.4f}, and no model can be expected to do better'
    )
