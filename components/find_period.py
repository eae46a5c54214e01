"""Raw log and pushed models to the next period of a continual pipeline."""

from components.component import component


@component
def find_period(name: str, dataset_config: str, config: str, evaluate_config: str,
                workspace: str, beam_args: list) -> str:
    """Finds the period that is to be trained next, and extends the dataset up to it.

    Args:
        name: the configuration's name.
        dataset_config: the `dataset` section, as JSON.
        config: the `continual` section, as JSON.
        evaluate_config: the `evaluate` section, as JSON.
        workspace: the directory that the steps of a pipeline share.
        beam_args: ordinary Beam options; empty runs in memory.

    Returns:
        The period's number; '' where there is no new day.
    """
    from components.continual.steps import find_period_step

    return find_period_step(name, dataset_config, config, evaluate_config, workspace,
                            beam_args)
