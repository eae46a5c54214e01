"""Blessed model of a period to the directory that is served."""

from kfp import dsl

from components.component import component


@component
def push_period(name: str, attempt: str, config: str, workspace: str,
                pushed: dsl.Output[dsl.Model]) -> str:
    """Pushes the model if it is blessed and none was pushed since it was trained.

    Args:
        name: the configuration's name.
        attempt: of `evaluate_period`; '' does nothing.
        config: the `continual` section, as JSON.
        workspace: the directory that the steps of a pipeline share.
        pushed: the version's directory; what was decided and why in the metadata.

    Returns:
        What came of it, in one sentence.
    """
    from components.continual.steps import push_period_step

    return push_period_step(name, attempt, config, workspace, pushed)
