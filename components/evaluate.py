"""Component: evaluates a model and decides whether it is blessed."""

from kfp import dsl

from components.component import component


@component
def evaluate(
    name: str,
    config: str,
    workspace: str,
    beam_args: list,
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    table: dsl.Output[dsl.Markdown],
) -> None:
    """Scores the test split with Beam and compares the model with the pushed one.

    Args:
        name: Name of the configuration and of the pushed model.
        config: Section `evaluate`, as JSON.
        workspace: Directory that the steps of a pipeline share.
        beam_args: Beam options; if empty, the Beam job runs in memory.
        dataset: Location of the dataset.
        model: Location of the exported SavedModel.
        evaluation: Location of the evaluation; the metadata says whether the model is blessed.
        metrics: Overall metrics, and the best and the worst domains.
        report: HTML page with the metrics of every domain, which opens offline.
        table: Metrics of every domain, as a table.
    """
    from components.steps import evaluate_step

    evaluate_step(
        name, config, workspace, beam_args, dataset, model, evaluation, metrics, report, table
    )
