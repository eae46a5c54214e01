"""The training pipeline: preprocess -> validate data -> train -> evaluate -> push."""

import json
from collections.abc import Callable
from typing import NamedTuple

from kfp import dsl, kubernetes
from kfp.dsl import PipelineTask

from beam_jobs.options import to_mapping
from components.evaluate import evaluate
from components.preprocess import preprocess
from components.push import push
from components.train import train
from components.validate_data import validate_data
from pipeline.config import ClusterConfig, RunConfig


class Outputs(NamedTuple):
    """What a run of the pipeline leaves."""

    dataset: dsl.Dataset
    model: dsl.Model
    logs: dsl.Artifact
    evaluation: dsl.Artifact
    pushed: dsl.Model


def training_pipeline(config: RunConfig, workspace: str, beam_args: list[str]) -> Callable:
    """The pipeline of a configuration: one object, run locally or compiled for a cluster.

    Every section of the configuration becomes a parameter with the configuration's value as
    its default, as JSON, so that a run can be started from the user interface with others.

    Args:
        config: the configuration.
        workspace: the default of the parameter `workspace`, the directory that the steps
            share: a local one, or where the volume claim is mounted.
        beam_args: the default of the parameter `beam_args`.
    """
    name = config.name

    @dsl.pipeline(name=f'mdctr-{name}'.lower().replace('_', '-'),
                  description=f'One CTR model for the domains of {name}.')
    def mdctr_pipeline(dataset_config: str = as_json(config.dataset),
                       validate_config: str = as_json(config.validate),
                       train_config: str = as_json(config.train),
                       evaluate_config: str = as_json(config.evaluate),
                       workspace: str = workspace,
                       beam_args: list = beam_args) -> Outputs:
        built = preprocess(name=name, config=dataset_config, workspace=workspace,
                           beam_args=beam_args)
        validated = validate_data(config=validate_config, dataset=built.outputs['dataset'])
        trained = train(name=name, config=train_config, workspace=workspace,
                        dataset=built.outputs['dataset'],
                        validation=validated.outputs['validation'])
        evaluated = evaluate(name=name, config=evaluate_config, workspace=workspace,
                             beam_args=beam_args, dataset=built.outputs['dataset'],
                             model=trained.outputs['model'])
        pushed = push(name=name, workspace=workspace, model=trained.outputs['model'],
                      evaluation=evaluated.outputs['evaluation'])
        for task in (built, validated, trained, evaluated, pushed):
            on_cluster(task, config.cluster)
        with_accelerator(trained, config.cluster)
        return Outputs(dataset=built.outputs['dataset'], model=trained.outputs['model'],
                       logs=trained.outputs['logs'],
                       evaluation=evaluated.outputs['evaluation'],
                       pushed=pushed.outputs['pushed'])

    return mdctr_pipeline


def as_json(section: object) -> str:
    """A section as the parameter of a pipeline."""
    # Compact and in the order of the dataclass: the golden copy compares text.
    return json.dumps(to_mapping(section), ensure_ascii=False)


def on_cluster(task: PipelineTask, cluster: ClusterConfig) -> None:
    """The settings of every step; the local runner ignores them."""
    task.set_container_image(cluster.image)
    # The backend's cache key holds no file contents: a new day of logs under the same path
    # would be taken for the old one. The build skips itself by its own fingerprint.
    task.set_caching_options(False)
    kubernetes.mount_pvc(task, pvc_name=cluster.volume_claim, mount_path=cluster.mount_path)


def with_accelerator(task: PipelineTask, cluster: ClusterConfig) -> None:
    """Training's own settings: nothing else in the pipeline asks for an accelerator."""
    task.set_cpu_request(cluster.train_cpu).set_memory_request(cluster.train_memory)
    if cluster.gpus:
        task.set_accelerator_type(cluster.gpu_resource).set_accelerator_limit(cluster.gpus)
        for key in cluster.tolerations:
            kubernetes.add_toleration(task, key=key, operator='Exists', effect='NoSchedule')
    for key, value in cluster.node_selector.items():
        kubernetes.add_node_selector(task, label_key=key, label_value=value)
    # Training that was preempted goes on from its checkpoint in the workspace.
    task.set_retry(num_retries=3)
