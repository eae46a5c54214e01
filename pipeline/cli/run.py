"""`mdctr run`, `compile` and `submit`: the whole pipeline."""

import argparse
import os
import shlex
import sys
from typing import TYPE_CHECKING

from mdctr import storage
from mdctr.errors import UserError
from pipeline.cli.arguments import (
    Commands,
    add_again_argument,
    add_command,
    add_config_arguments,
    load_config,
)
from pipeline.cli.evaluation import print_evaluation

if TYPE_CHECKING:
    from pipeline.config import RunConfig


def add_commands(commands: Commands) -> None:
    """Declares the commands."""
    run = add_command(
        commands, 'run', _run, 'run the whole pipeline on this machine', beam=True
    )
    add_config_arguments(run)
    add_again_argument(run)

    compile_ = add_command(commands, 'compile', _compile, 'compile the pipeline for a cluster')
    add_config_arguments(compile_, workspace=False)
    compile_.add_argument('-o', '--output', required=True, help='YAML file to write')

    submit = add_command(commands, 'submit', _submit, 'run the pipeline on a Kubeflow cluster')
    add_config_arguments(submit, workspace=False)
    submit.add_argument(
        '--host', required=True, help='address of the Kubeflow Pipelines server'
    )
    submit.add_argument('--experiment', default='mdctr', help='experiment (%(default)s)')
    submit.add_argument('--namespace', help='namespace, on a multi-user cluster')
    submit.add_argument(
        '--token',
        '--existing-token',
        metavar='TOKEN',
        help='bearer token, if the server requires one (default: the variable MDCTR_TOKEN)',
    )
    submit.add_argument(
        '--recurring',
        metavar='CRON',
        help='run a continual pipeline on this schedule instead, in six fields with seconds '
        "first, e.g. '0 0 3 * * *'",
    )


def _run(arguments: argparse.Namespace) -> int:
    from components.artifacts import read_location
    from pipeline.local import StepFailed, Stopped, run_local

    config = load_config(arguments, components=True)
    try:
        if config.continual is not None:
            if arguments.again:
                raise UserError(
                    '--again cannot be used with a configuration that has a section continual, '
                    'which trains each period once: remove it.'
                )
            _run_all_periods(config, arguments)
            return 0
        outputs = run_local(config, arguments.workspace, arguments.beam_args, arguments.again)
    except StepFailed as error:
        print(f'mdctr: {error}', file=sys.stderr)
        return 1
    except Stopped:
        print('mdctr: stopped by SIGTERM; the same command resumes the run.', file=sys.stderr)
        raise
    directories = {
        name: read_location(outputs[name]).location for name in ('model', 'logs', 'evaluation')
    }
    logs = storage.parent(storage.parent(directories['logs']))
    print_evaluation(directories['evaluation'])
    print(f'The report: {storage.join(directories["evaluation"], "report.html")}')
    print(f'\nThe model: {directories["model"]}')
    print(outputs['pushed'].metadata['reason'])
    if storage.is_url(logs):
        print(f'TensorBoard logs: {directories["logs"]}')
        return 0
    tensorboard = os.path.join(os.path.dirname(sys.executable), 'tensorboard')
    print(f'TensorBoard: {shlex.join([tensorboard, "--logdir", logs])}')
    return 0


def _run_all_periods(config: 'RunConfig', arguments: argparse.Namespace) -> None:
    from components.continual.context import ContinualContext
    from components.continual.history import history_table
    from pipeline.local import run_pending_periods

    assert config.continual is not None
    if not run_pending_periods(config, arguments.workspace, arguments.beam_args):
        print('No new days; nothing to do.')
    context = ContinualContext(
        config.name, config.continual, storage.resolve(arguments.workspace)
    )
    print(history_table(context))


def _compile(arguments: argparse.Namespace) -> None:
    from pipeline.cluster import compile_pipeline

    compile_pipeline(load_config(arguments, components=True), arguments.output)
    print(f'Wrote {arguments.output}')


def _submit(arguments: argparse.Namespace) -> None:
    from pipeline.cluster import submit, submit_recurring

    config = load_config(arguments, components=True)
    server = arguments.host, arguments.experiment, arguments.namespace
    token = arguments.token or os.environ.get('MDCTR_TOKEN')
    if arguments.recurring is not None:
        run = submit_recurring(config, *server, arguments.recurring, token)
        print(f'Created the recurring run {run} on {arguments.host}')
    else:
        print(f'Started the run {submit(config, *server, token)} on {arguments.host}')
