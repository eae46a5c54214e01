"""The training pipeline: preprocess -> validate data -> train -> evaluate -> push."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from kfp import dsl, kubernetes
from kfp.dsl import PipelineTask

from components.evaluate import evaluate
from components.preprocess import preprocess
from components.push import push
from components.train import train
from components.validate_data import validate_data
from mdctr.settings import to_mapping
from pipeline.config import ClusterConfig, RunConfig

# An evicted or preempted pod is restarted and resumes from the workspace.
RETRY_BACKOFF, RETRY_BACKOFF_FACTOR = '30s', 2.0
# Counted from the start of the first attempt: afterwards no attempt is started, and Argo ends
# the running one. KFP's default of an hour would end every longer training that was evicted.
RETRY_MAX_DURATION = '604800s'


class Outputs(NamedTuple):
    """The output artifacts of the pipeline."""

    dataset: dsl.Dataset
    model: dsl.Model
    logs: dsl.Artifact
    evaluation: dsl.Artifact
    pushed: dsl.Model


def training_pipeline(
    config: RunConfig, workspace: str, beam_args: list[str], again: bool = False
) -> Callable[..., Any]:
    """The training pipeline of a configuration, to run locally or to compile for a cluster.

    Each section of the configuration becomes a JSON parameter, with the section as its default,
    so that a run can be started with other values from the user interface.

    Args:
        config: Configuration of the pipeline.
        workspace: Default of the parameter `workspace`, the directory that the steps share: a
            local directory, or the path at which the volume claim is mounted.
        beam_args: Default of the parameter `beam_args`, Beam options.
        again: Default of the parameter `again`: whether to train even if there is a finished
            run of the same dataset and settings.
    """
    name = config.name

    @dsl.pipeline(
        name=f'mdctr-{name}'.lower().replace('_', '-'),
        description=f'One CTR model for the domains of {name}.',
    )
    def mdctr_pipeline(
        dataset_config: str = as_json(config.dataset),
        validate_config: str = as_json(config.data_validation),
        train_config: str = as_json(config.train),
        evaluate_config: str = as_json(config.evaluate),
        workspace: str = workspace,
        beam_args: list = beam_args,
        again: bool = again,
    ) -> Outputs:
        built = preprocess(
            name=name, config=dataset_config, workspace=workspace, beam_args=beam_args
        )
        validated = validate_data(
            name=name,
            config=validate_config,
            workspace=workspace,
            dataset=built.outputs['dataset'],
        )
        trained = train(
            name=name,
            config=train_config,
            workspace=workspace,
            dataset=built.outputs['dataset'],
            validation=validated.outputs['validation'],
            again=again,
        )
        evaluated = evaluate(
            name=name,
            config=evaluate_config,
            workspace=workspace,
            beam_args=beam_args,
            dataset=built.outputs['dataset'],
            model=trained.outputs['model'],
        )
        pushed = push(
            name=name,
            workspace=workspace,
            model=trained.outputs['model'],
            evaluation=evaluated.outputs['evaluation'],
        )
        for task in (built, validated, trained, evaluated, pushed):
            configure_step(task, config.cluster)
        configure_training(trained, config.cluster)
        return Outputs(
            dataset=built.outputs['dataset'],
            model=trained.outputs['model'],
            logs=trained.outputs['logs'],
            evaluation=evaluated.outputs['evaluation'],
            pushed=pushed.outputs['pushed'],
        )

    return mdctr_pipeline


def as_json(section: object) -> str:
    """A section of the configuration as the JSON text of a pipeline parameter."""
    # Keys keep the order of the class, because the golden file is compared as text.
    return json.dumps(to_mapping(section), ensure_ascii=False)


def configure_step(task: PipelineTask, cluster: ClusterConfig) -> None:
    """Applies the cluster settings of every step, which the local runner ignores."""
    task.set_container_image(cluster.image)
    # KFP's cache key does not include file contents, so it would miss a new day of logs under
    # the same path. The build has its own fingerprint and skips work that is up to date.
    task.set_caching_options(False)
    kubernetes.mount_pvc(task, pvc_name=cluster.volume_claim, mount_path=cluster.mount_path)
    for secret, variables in cluster.secrets.items():
        kubernetes.use_secret_as_env(
            task, secret_name=secret, secret_key_to_env=dict(variables)
        )
    if cluster.retries:
        task.set_retry(cluster.retries, RETRY_BACKOFF, RETRY_BACKOFF_FACTOR, RETRY_MAX_DURATION)


def configure_training(task: PipelineTask, cluster: ClusterConfig) -> None:
    """Applies the resources of training, the only step that requests an accelerator."""
    task.set_cpu_request(cluster.train_cpu).set_memory_request(cluster.train_memory)
    if cluster.gpus:
        task.set_accelerator_type(cluster.gpu_resource).set_accelerator_limit(cluster.gpus)
        for key in cluster.tolerations:
            kubernetes.add_toleration(task, key=key, operator='Exists', effect='NoSchedule')
    for key, value in cluster.node_selector.items():
        kubernetes.add_node_selector(task, label_key=key, label_value=value)
