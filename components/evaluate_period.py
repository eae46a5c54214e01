"""The component that evaluates the model of a period on the following day."""

from kfp import dsl

from components.component import component


@component
def evaluate_period(
    name: str,
    attempt: str,
    config: str,
    evaluate_config: str,
    workspace: str,
    beam_args: list,
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    table: dsl.Output[dsl.Markdown],
) -> str:
    """Evaluates the model on its own domains with Beam, against the served model.

    Args:
        name: Name of the configuration.
        attempt: Output of `train_period`; '' does nothing.
        config: `continual` section, as JSON.
        evaluate_config: `evaluate` section, as JSON.
        workspace: Directory that the steps share.
        beam_args: Beam options; if empty, the jobs run in memory.
        evaluation: Location of the evaluation; the metadata says whether the model is blessed.
        metrics: Overall metrics, and the best and the worst domains.
        report: HTML page with the metrics of every domain, which opens offline.
        table: Metrics of every domain, as a table.

    Returns:
        `attempt`.
    """
    from components.continual.steps import evaluate_period_step

    return evaluate_period_step(
        name,
        attempt,
        config,
        evaluate_config,
        workspace,
        beam_args,
        evaluation,
        metrics,
        report,
        table,
    )
