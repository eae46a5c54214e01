"""The verdict on the model of a period, by the day after it."""

from kfp import dsl

from components.component import component


@component
def evaluate_period(name: str, attempt: str, config: str, evaluate_config: str,
                    workspace: str, beam_args: list, evaluation: dsl.Output[dsl.Artifact],
                    metrics: dsl.Output[dsl.Metrics], report: dsl.Output[dsl.HTML]) -> str:
    """Scores the rows of the model's domains with Beam and judges it beside the served one.

    Args:
        name: the configuration's name.
        attempt: of `train_period`; '' does nothing.
        config: the `continual` section, as JSON.
        evaluate_config: the `evaluate` section, as JSON.
        workspace: the directory that the steps of a pipeline share.
        beam_args: ordinary Beam options; empty runs in memory.
        evaluation: metrics.json, with the verdict in the metadata.
        metrics: overall and per-domain figures.
        report: a page that needs no network to open.

    Returns:
        `attempt`.
    """
    from components.continual.steps import evaluate_period_step

    return evaluate_period_step(name, attempt, config, evaluate_config, workspace, beam_args,
                                evaluation, metrics, report)
