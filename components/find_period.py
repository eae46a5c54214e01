"""The component that finds the next period of a continual pipeline."""

from kfp import dsl

from components.component import component


@component
def find_period(
    name: str,
    dataset_config: str,
    config: str,
    evaluate_config: str,
    workspace: str,
    beam_args: list,
    history: dsl.Output[dsl.Markdown],
) -> str:
    """Finds the next period with a model to train, and extends the dataset up to it.

    Args:
        name: Name of the configuration.
        dataset_config: `dataset` section, as JSON.
        config: `continual` section, as JSON.
        evaluate_config: `evaluate` section, as JSON.
        workspace: Directory that the steps share.
        beam_args: Beam options; if empty, the jobs run in memory.
        history: Table of the models that were evaluated so far, below what the run reports of
            the raw log.

    Returns:
        Number of the period; '' if there is none.
    """
    from components.continual.steps import find_period_step

    return find_period_step(
        name, dataset_config, config, evaluate_config, workspace, beam_args, history
    )
