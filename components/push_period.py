"""The component that pushes the blessed model of a period."""

from kfp import dsl

from components.component import component


@component
def push_period(
    name: str, attempt: str, config: str, workspace: str, pushed: dsl.Output[dsl.Model]
) -> str:
    """Pushes the model if it is blessed and no other was pushed since it was planned.

    Args:
        name: Name of the configuration.
        attempt: Output of `evaluate_period`; '' does nothing.
        config: `continual` section, as JSON.
        workspace: Directory that the steps share.
        pushed: Location of the version, with the decision and its reason in the metadata.

    Returns:
        The outcome in one sentence.
    """
    from components.continual.steps import push_period_step

    return push_period_step(name, attempt, config, workspace, pushed)
