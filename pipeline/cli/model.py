"""`mdctr train`, `add-domain`, `evaluate` and `push`: models of a dataset."""

import argparse
from typing import Any

from pipeline.cli.arguments import (
    Commands,
    add_again_argument,
    add_command,
    add_config_arguments,
    add_renamed_option,
    add_split_arguments,
    load_config,
)
from pipeline.cli.evaluation import print_evaluation


def add_commands(commands: Commands) -> None:
    """Declares the commands."""
    train = add_command(commands, 'train', _train, 'train a model on a dataset and export it')
    add_config_arguments(train)
    add_again_argument(train)
    train.add_argument(
        '--warm-start',
        metavar='MODEL_DIR',
        help='exported model whose parameters training starts from',
    )
    train.add_argument(
        '--warm-start-parts',
        default='all',
        choices=['all', 'embeddings', 'id_embeddings'],
        help='parameters that are loaded from it (%(default)s)',
    )
    add_renamed_option(train, '--initial', '--warm-start')
    add_renamed_option(train, '--initial-parts', '--warm-start-parts')
    train.add_argument(
        '--id-features',
        default=[],
        nargs='+',
        metavar='NAME',
        help='ID features in addition to users and items, for id_embeddings',
    )
    train.add_argument(
        '--source',
        metavar='MODEL_DIR',
        help='exported source model, for ctnet and dual_embedding',
    )
    add_split_arguments(train, None, None)
    train.add_argument(
        '--domains',
        nargs='+',
        metavar='NAME',
        help='domains whose rows are used; all if absent',
    )

    add_domain = add_command(
        commands,
        'add-domain',
        _add_domain,
        'add a domain to a trained model, from the rows of that domain only',
    )
    add_config_arguments(add_domain)
    add_domain.add_argument(
        '--from', required=True, dest='source', metavar='MODEL_DIR', help='exported model'
    )
    add_domain.add_argument(
        '--domain',
        required=True,
        metavar='NAME',
        help='domain of the dataset to add',
    )
    add_split_arguments(add_domain, ['train'], 'validation')
    add_domain.add_argument(
        '--parameters',
        choices=['rows', 'all'],
        help='which parameters are trained for the domain: its `rows` of the per-domain '
        'variables, or a copy of `all` parameters; rows if the model has such variables',
    )
    add_domain.add_argument('--output', required=True, help='directory of the new export')

    evaluate = add_command(
        commands, 'evaluate', _evaluate, 'evaluate an exported model', beam=True
    )
    add_config_arguments(evaluate)
    evaluate.add_argument('--model-directory', required=True, help='exported or pushed model')
    evaluate.add_argument('--output', required=True, help='directory of the evaluation')

    push = add_command(commands, 'push', _push, 'push an evaluated model if it is blessed')
    add_config_arguments(push)
    push.add_argument('--model-directory', required=True, help='exported model')
    push.add_argument('--evaluation', required=True, help='directory of its evaluation')
    push.add_argument(
        '--again', action='store_true', help='push a model that was rolled back or removed'
    )


def _train(arguments: argparse.Namespace) -> None:
    from mdctr.workspace import current_dataset
    from trainer.workspace_run import train_in_workspace

    config = load_config(arguments, components=True)
    model = train_in_workspace(
        current_dataset(arguments.workspace, config.name),
        arguments.workspace,
        config.name,
        config.train,
        again=arguments.again,
        **_start(arguments),
    )
    print(f'The model: {model}')


def _start(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `trainer.train.train` that select rows and models to start from."""
    start = {
        key: value
        for key, value in (
            ('train_split', arguments.train_splits),
            ('domains', arguments.domains),
            ('source', arguments.source),
            ('validation_split', arguments.validation_split),
        )
        if value is not None
    }
    if arguments.validation_split == 'none':
        start['validation_split'] = None
    if arguments.warm_start:
        from trainer.export.load import WarmStart

        start['warm_start'] = WarmStart(
            arguments.warm_start,
            arguments.warm_start_parts,
            tuple(arguments.id_features),
        )
    return start


def _add_domain(arguments: argparse.Namespace) -> None:
    from mdctr.workspace import current_dataset
    from trainer.add_domain import add_domain

    config = load_config(arguments)
    validation = None if arguments.validation_split == 'none' else arguments.validation_split
    export = add_domain(
        arguments.source,
        current_dataset(arguments.workspace, config.name),
        arguments.domain,
        arguments.output,
        config.train,
        arguments.train_splits,
        validation,
        arguments.parameters,
    )
    print(f'The model: {export}')


def _evaluate(arguments: argparse.Namespace) -> None:
    from beam_jobs.evaluation.evaluate import evaluate
    from mdctr.pushed_models import all_versions
    from mdctr.workspace import current_dataset, models_directory

    config = load_config(arguments)
    evaluate(
        current_dataset(arguments.workspace, config.name),
        arguments.model_directory,
        arguments.output,
        config.evaluate,
        pushed=all_versions(models_directory(arguments.workspace), config.name),
        beam_args=arguments.beam_args,
    )
    print_evaluation(arguments.output)


def _push(arguments: argparse.Namespace) -> None:
    from mdctr.workspace import models_directory
    from trainer.export.push import push

    config = load_config(arguments)
    result = push(
        arguments.model_directory,
        arguments.evaluation,
        models_directory(arguments.workspace),
        config.name,
        again=arguments.again,
    )
    print(result.reason)
