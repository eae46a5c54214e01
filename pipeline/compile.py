"""The pipeline as Kubeflow's intermediate representation, and its submission."""

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator

from beam_jobs.errors import UserError
from pipeline.config import RunConfig


def compile_pipeline(config: RunConfig, output: str) -> None:
    """Writes the pipeline of a configuration as KFP IR YAML.

    Args:
        config: the configuration; its `cluster` section decides images, volume and GPU.
        output: the file to write, ending in `.yaml`.

    Raises:
        UserError: the file cannot be written.
    """
    from kfp import compiler

    if not output.endswith(('.yaml', '.yml')):
        raise UserError(f'{output}: the compiled pipeline is YAML; name the file *.yaml.')
    folder = os.path.dirname(os.path.abspath(output))
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise UserError(f'{output} cannot be written: {folder} is not a writable directory.')
    compiler.Compiler().compile(_pipeline(config), output)


def _pipeline(config: RunConfig) -> Callable:
    """The pipeline of a configuration for a cluster: the continual one, where it is that."""
    from pipeline.continual import continual_pipeline
    from pipeline.pipeline import training_pipeline

    make = training_pipeline if config.continual is None else continual_pipeline
    return make(config, config.cluster.mount_path, config.cluster.beam_args)


def submit(config: RunConfig, host: str, experiment: str, namespace: str | None) -> str:
    """Sends the pipeline to a Kubeflow Pipelines server and starts a run.

    Returns:
        The run's id.

    Raises:
        UserError: the server does not answer or refuses.
    """
    import kfp

    pipeline = _pipeline(config)
    with _sentences(host):
        client = kfp.Client(host=host, namespace=namespace or 'kubeflow')
        return client.create_run_from_pipeline_func(
            pipeline, experiment_name=experiment, namespace=namespace,
            enable_caching=False).run_id


def submit_recurring(config: RunConfig, host: str, experiment: str, namespace: str | None,
                     cron: str) -> str:
    """Creates a recurring run of the continual pipeline, one run at a time.

    What a missed run would have done the next one does: the pipeline finds by itself what is
    waiting, so Kubeflow is told not to catch up.

    Args:
        config: with a section `continual`.
        cron: when it runs, in Kubeflow's six fields, seconds first; five are taken for those
            without seconds.

    Returns:
        The recurring run's id.

    Raises:
        UserError: the configuration is not continual, `cron` is no schedule, or the server
            does not answer or refuses.
    """
    import kfp

    if config.continual is None:
        raise UserError(f'{config.name} has no section continual: a recurring run is for '
                        'pipelines that find new days by themselves.')
    schedule = _schedule(cron)
    with tempfile.TemporaryDirectory() as folder, _sentences(host):
        package = os.path.join(folder, 'pipeline.yaml')
        compile_pipeline(config, package)
        client = kfp.Client(host=host, namespace=namespace or 'kubeflow')
        found = client.create_experiment(experiment, namespace=namespace)
        return client.create_recurring_run(
            found.experiment_id, f'mdctr-{config.name}-continual', cron_expression=schedule,
            max_concurrency=1, no_catchup=True, pipeline_package_path=package,
            enable_caching=False).recurring_run_id


def _schedule(cron: str) -> str:
    fields = cron.split()
    if len(fields) == 5:
        fields = ['0', *fields]
    if len(fields) != 6 or not all(re.fullmatch(r'[\w*/,?#-]+', field) for field in fields):
        raise UserError(f'--recurring {cron!r} is no schedule: write five or six fields, for '
                        "example '0 0 3 * * *' for three o'clock each night.")
    return ' '.join(fields)


@contextlib.contextmanager
def _sentences(host: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the client raises whatever its HTTP library raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f'The pipeline was not submitted to {host}: {reason[:200]}') from error
