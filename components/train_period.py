"""The component that trains the source's or a target's model on a period."""

from kfp import dsl

from components.component import component


@component
def train_period(
    name: str,
    model_name: str,
    period: str,
    config: str,
    workspace: str,
    model: dsl.Output[dsl.Model],
    logs: dsl.Output[dsl.Artifact],
) -> str:
    """Trains a model on a period from its newest blessed version, or resumes that training.

    Args:
        name: Name of the configuration.
        model_name: `source` or the target domain.
        period: Number of the period; '' does nothing.
        config: `continual` section, as JSON.
        workspace: Directory that the steps share.
        model: Location of the exported SavedModel, described in the metadata.
        logs: Location of the TensorBoard logs.

    Returns:
        The attempt to evaluate and push, as JSON; '' if there was nothing to train on.
    """
    from components.continual.steps import train_period_step

    return train_period_step(name, model_name, period, config, workspace, model, logs)
