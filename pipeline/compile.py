"""The pipeline as Kubeflow's intermediate representation, and its submission."""

import os

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

    from pipeline.pipeline import training_pipeline

    if not output.endswith(('.yaml', '.yml')):
        raise UserError(f'{output}: the compiled pipeline is YAML; name the file *.yaml.')
    folder = os.path.dirname(os.path.abspath(output))
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise UserError(f'{output} cannot be written: {folder} is not a writable directory.')
    pipeline = training_pipeline(config, config.cluster.mount_path, config.cluster.beam_args)
    compiler.Compiler().compile(pipeline, output)


def submit(config: RunConfig, host: str, experiment: str, namespace: str | None) -> str:
    """Sends the pipeline to a Kubeflow Pipelines server and starts a run.

    Returns:
        The run's id.

    Raises:
        UserError: the server does not answer or refuses.
    """
    import kfp

    from pipeline.pipeline import training_pipeline

    pipeline = training_pipeline(config, config.cluster.mount_path, config.cluster.beam_args)
    try:
        client = kfp.Client(host=host, namespace=namespace or 'kubeflow')
        run = client.create_run_from_pipeline_func(
            pipeline, experiment_name=experiment, namespace=namespace, enable_caching=False)
    except Exception as error:  # the client raises whatever its HTTP library raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f'The pipeline was not submitted to {host}: {reason[:200]}') from error
    return run.run_id
