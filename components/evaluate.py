"""Dataset and model to scores, metrics and a verdict."""

from kfp import dsl

from components.component import component


@component
def evaluate(name: str, config: str, workspace: str, beam_args: list,
             dataset: dsl.Input[dsl.Dataset], model: dsl.Input[dsl.Model],
             evaluation: dsl.Output[dsl.Artifact], metrics: dsl.Output[dsl.Metrics],
             report: dsl.Output[dsl.HTML]):
    """Scores the test split with Beam and judges the model against the pushed one.

    Args:
        name: the configuration's name, and the pushed model's.
        config: the `evaluate` section, as JSON.
        workspace: the directory that the steps of a pipeline share.
        beam_args: ordinary Beam options; empty runs in memory.
        dataset: the dataset's directory.
        model: the exported SavedModel.
        evaluation: metrics.json, with the verdict in the metadata.
        metrics: overall and per-domain figures.
        report: a page that needs no network to open.
    """
    from components.steps import evaluate_step

    evaluate_step(name, config, workspace, beam_args, dataset, model, evaluation, metrics,
                  report)
