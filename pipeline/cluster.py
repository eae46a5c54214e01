"""Compiles the pipeline for Kubeflow Pipelines, and submits it."""

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from mdctr.errors import UserError
from pipeline.config import RunConfig

if TYPE_CHECKING:
    import kfp


def compile_pipeline(config: RunConfig, output: str) -> None:
    """Writes the pipeline of a configuration as KFP IR YAML.

    Args:
        config: Configuration; its section `cluster` sets the image, the volume and the GPU.
        output: Path of the file, ending in `.yaml`.

    Raises:
        UserError: The file cannot be written.
    """
    from kfp import compiler

    if not output.endswith(('.yaml', '.yml')):
        raise UserError(f'{output}: the compiled pipeline is YAML; name the file *.yaml.')
    folder = os.path.dirname(os.path.abspath(output))
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise UserError(f'{output} cannot be written: {folder} is not a writable directory.')
    compiler.Compiler().compile(_pipeline(config), output)
    _set_retry_duration(output)


def _set_retry_duration(path: str) -> None:
    """Restores the maximum duration of retries, which KFP before 2.14 limits to an hour."""
    from pipeline.training_pipeline import RETRY_MAX_DURATION

    with open(path, encoding='utf-8') as file:
        text = file.read()
    with open(path, 'w', encoding='utf-8') as file:
        file.write(
            re.sub(
                r'^( +backoffMaxDuration: )\d+s$',
                rf'\g<1>{RETRY_MAX_DURATION}',
                text,
                flags=re.MULTILINE,
            )
        )


def _pipeline(config: RunConfig) -> Callable[..., Any]:
    """The pipeline of a configuration: continual if it has that section, else training."""
    from pipeline.continual_pipeline import continual_pipeline
    from pipeline.training_pipeline import training_pipeline

    make = training_pipeline if config.continual is None else continual_pipeline
    return make(config, config.cluster.mount_path, config.cluster.beam_args)


def submit(
    config: RunConfig,
    host: str,
    experiment: str,
    namespace: str | None,
    token: str | None = None,
) -> str:
    """Submits the pipeline to a Kubeflow Pipelines server and starts a run.

    Args:
        config: Configuration of the pipeline.
        host: URL of the server.
        experiment: Name of the experiment that the run belongs to.
        namespace: Namespace of the run, on a multi-user cluster.
        token: Bearer token, if the server requires one.

    Returns:
        The ID of the run.

    Raises:
        UserError: The server does not respond, or refuses the request.
    """
    with _client(config, host, namespace, token) as (client, package):
        return client.create_run_from_pipeline_package(
            package, experiment_name=experiment, namespace=namespace, enable_caching=False
        ).run_id


def submit_recurring(
    config: RunConfig,
    host: str,
    experiment: str,
    namespace: str | None,
    cron: str,
    token: str | None = None,
) -> str:
    """Creates a recurring run of the continual pipeline, one run at a time.

    Missed runs are not caught up (`no_catchup`), because the next run trains all pending
    periods.

    Args:
        config: Configuration with a section `continual`.
        host: URL of the server.
        experiment: Name of the experiment that the runs belong to.
        namespace: Namespace of the runs, on a multi-user cluster.
        cron: Schedule in Kubeflow's six fields, seconds first; five fields have no seconds.
        token: Bearer token, if the server requires one.

    Returns:
        The ID of the recurring run.

    Raises:
        UserError: The configuration is not continual, `cron` is not a schedule, or the server
            does not respond or refuses the request.
    """
    if config.continual is None:
        raise UserError(
            f'{config.name} has no section continual, which a recurring run needs: add it, or '
            'submit a single run without --recurring.'
        )
    schedule = _schedule(cron)
    with _client(config, host, namespace, token) as (client, package):
        created = client.create_experiment(experiment, namespace=namespace)
        return client.create_recurring_run(
            created.experiment_id,
            f'mdctr-{config.name}-continual',
            cron_expression=schedule,
            max_concurrency=1,
            no_catchup=True,
            pipeline_package_path=package,
            enable_caching=False,
        ).recurring_run_id


@contextlib.contextmanager
def _client(
    config: RunConfig, host: str, namespace: str | None, token: str | None
) -> Iterator[tuple['kfp.Client', str]]:
    """Context with a client of the server and the path of the compiled pipeline.

    Errors inside become a `UserError`.
    """
    import kfp

    with tempfile.TemporaryDirectory() as folder:
        package = os.path.join(folder, 'pipeline.yaml')
        compile_pipeline(config, package)
        with _as_user_errors(host):
            yield (
                kfp.Client(host=host, namespace=namespace or 'kubeflow', existing_token=token),
                package,
            )


def _schedule(cron: str) -> str:
    fields = cron.split()
    if len(fields) == 5:
        fields = ['0', *fields]
    if len(fields) != 6 or not all(re.fullmatch(r'[\w*/,?#-]+', field) for field in fields):
        raise UserError(
            f"--recurring {cron!r} is not a schedule: write five or six fields, for example '0 "
            "0 3 * * *' for every night at three o'clock."
        )
    return ' '.join(fields)


@contextlib.contextmanager
def _as_user_errors(host: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the client passes on any error of its HTTP library
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f'The pipeline was not submitted to {host}: {reason[:200]}') from error
