"""One period's training of the source's model, or of a target's."""

from kfp import dsl

from components.component import component


@component
def train_period(name: str, model_name: str, period: str, config: str, workspace: str,
                 model: dsl.Output[dsl.Model], logs: dsl.Output[dsl.Artifact]) -> str:
    """Trains a model on a period from its newest blessed version, or goes on with that.

    Args:
        name: the configuration's name.
        model_name: `source`, or the target domain.
        period: its number; '' does nothing.
        config: the `continual` section, as JSON.
        workspace: the directory that the steps of a pipeline share.
        model: the exported SavedModel.
        logs: the TensorBoard logs.

    Returns:
        What is to be judged and pushed, as JSON; '' where there was nothing to train on.
    """
    from components.continual.steps import train_period_step

    return train_period_step(name, model_name, period, config, workspace, model, logs)
