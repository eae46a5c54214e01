"""The continual pipeline: find the period, then source and targets: train, evaluate, push."""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

from kfp import dsl
from kfp.dsl import PipelineTask
from kfp.dsl.pipeline_channel import PipelineParameterChannel

from components.continual.config import served_name
from components.evaluate_period import evaluate_period
from components.find_period import find_period
from components.push_period import push_period
from components.train_period import train_period
from pipeline.config import RunConfig
from pipeline.training_pipeline import as_json, configure_step, configure_training


class ContinualOutputs(NamedTuple):
    """Outputs of a run, next to the pushed models.

    Attributes:
        period: Number of the first period that it found; '' if there was none.
    """

    period: str


def continual_pipeline(
    config: RunConfig, workspace: str, beam_args: list[str], conditional: bool = True
) -> Callable[..., Any]:
    """The pipeline that trains the next period of a configuration, or does nothing.

    It finds its state in the pushed models. So the same pipeline is run on a schedule on a
    cluster, and repeatedly on one machine.

    Args:
        config: Configuration with a section `continual`.
        workspace: Default of the parameter `workspace`.
        beam_args: Default of the parameter `beam_args`.
        conditional: Whether a step with nothing to do is not started (on a cluster, where an
            idle training step would request a GPU), and up to `periods_per_run` pending
            periods are trained one after the other. Kubeflow's local runner does not support
            conditions: there, such a step reports that it has nothing to do.
    """
    continual = config.continual
    assert continual is not None

    @dsl.pipeline(
        name=f'mdctr-{config.name}-continual'.lower().replace('_', '-'),
        description=f'A period of the source and the targets of {config.name}.',
    )
    def mdctr_continual(
        dataset_config: str = as_json(config.dataset),
        continual_config: str = as_json(continual),
        evaluate_config: str = as_json(config.evaluate),
        workspace: str = workspace,
        beam_args: list = beam_args,
    ) -> ContinualOutputs:
        def run_model(
            period: PipelineParameterChannel, model: str
        ) -> tuple[PipelineTask, PipelineTask]:
            train = train_period(
                name=config.name,
                model_name=model,
                period=period,
                config=continual_config,
                workspace=workspace,
            )
            configure_training(train, config.cluster)
            evaluate = evaluate_period(
                name=config.name,
                attempt=train.outputs['Output'],
                config=continual_config,
                evaluate_config=evaluate_config,
                workspace=workspace,
                beam_args=beam_args,
            )
            push = push_period(
                name=config.name,
                attempt=evaluate.outputs['Output'],
                config=continual_config,
                workspace=workspace,
            )
            for verb, task in (('train', train), ('evaluate', evaluate), ('push', push)):
                configure_step(task, config.cluster)
                task.set_display_name(f'{verb} {served_name(config.name, model)}')
            return train, push

        numbers = []
        with contextlib.ExitStack() as conditions:
            # On a cluster, each period is nested in the condition of the one before it.
            pushes: list[PipelineTask] = []
            for _ in range(continual.periods_per_run if conditional else 1):
                found = find_period(
                    name=config.name,
                    dataset_config=dataset_config,
                    config=continual_config,
                    evaluate_config=evaluate_config,
                    workspace=workspace,
                    beam_args=beam_args,
                )
                configure_step(found, config.cluster)
                found.after(*pushes)
                numbers.append(found.outputs['Output'])
                if conditional:
                    conditions.enter_context(dsl.If(numbers[-1] != '', 'a period is pending'))
                source, *targets = [run_model(numbers[-1], model) for model in continual.models]
                for train, _ in targets:  # with this period's source model, if it is blessed
                    train.after(source[1])
                pushes = [push for _, push in (source, *targets)]
        return ContinualOutputs(period=numbers[0])

    return mdctr_continual
