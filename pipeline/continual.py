"""The continual pipeline: find the period, then source and targets: train, evaluate, push."""

import contextlib
from collections.abc import Callable
from typing import NamedTuple

from kfp import dsl

from components.continual.config import served_name
from components.evaluate_period import evaluate_period
from components.find_period import find_period
from components.push_period import push_period
from components.train_period import train_period
from pipeline.config import RunConfig
from pipeline.pipeline import as_json, on_cluster, with_accelerator


class Outputs(NamedTuple):
    """What a run leaves beside the pushed models."""

    period: str


def continual_pipeline(config: RunConfig, workspace: str, beam_args: list[str],
                       conditional: bool = True) -> Callable:
    """The pipeline that trains the next period of a configuration, or does nothing.

    Where it stands it finds out by itself, from the models that are pushed; so the same
    pipeline is run on a schedule on a cluster and again and again on one machine.

    Args:
        config: the configuration, with a section `continual`.
        workspace: the default of the parameter `workspace`.
        beam_args: the default of the parameter `beam_args`.
        conditional: whether a step that has nothing to do is not started (on a cluster, where
            an idle training step would wait for a GPU), and up to `periods_per_run` waiting
            periods are trained one after the other. Kubeflow's local runner knows no
            conditions: there, a step that has nothing to do says so.
    """
    continual = config.continual

    @dsl.pipeline(name=f'mdctr-{config.name}-continual'.lower().replace('_', '-'),
                  description=f'A period of the source and the targets of {config.name}.')
    def mdctr_continual(dataset_config: str = as_json(config.dataset),
                        continual_config: str = as_json(continual),
                        evaluate_config: str = as_json(config.evaluate),
                        workspace: str = workspace,
                        beam_args: list = beam_args) -> Outputs:
        def trained(period, model):
            train = train_period(name=config.name, model_name=model, period=period,
                                 config=continual_config, workspace=workspace)
            with_accelerator(train, config.cluster)
            evaluate = evaluate_period(
                name=config.name, attempt=train.outputs['Output'], config=continual_config,
                evaluate_config=evaluate_config, workspace=workspace, beam_args=beam_args)
            push = push_period(name=config.name, attempt=evaluate.outputs['Output'],
                               config=continual_config, workspace=workspace)
            for verb, task in (('train', train), ('evaluate', evaluate), ('push', push)):
                on_cluster(task, config.cluster)
                task.set_display_name(f'{verb} {served_name(config.name, model)}')
            return train, push

        def periods(left, before=()):
            found = find_period(name=config.name, dataset_config=dataset_config,
                                config=continual_config, evaluate_config=evaluate_config,
                                workspace=workspace, beam_args=beam_args)
            on_cluster(found, config.cluster)
            found.after(*before)
            waiting = (dsl.If(found.output != '', 'a period waits') if conditional
                       else contextlib.nullcontext())
            with waiting:
                source, *targets = [trained(found.output, model)
                                    for model in continual.models]
                for train, _ in targets:  # with the source model of this period, if blessed
                    train.after(source[1])
                if left > 1:
                    periods(left - 1, [push for _, push in (source, *targets)])
            return found

        found = periods(continual.periods_per_run if conditional else 1)
        return Outputs(period=found.output)

    return mdctr_continual
