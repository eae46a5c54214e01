"""Component: trains and exports a model."""

from kfp import dsl

from components.component import component


@component
def train(
    name: str,
    config: str,
    workspace: str,
    dataset: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Artifact],
    model: dsl.Output[dsl.Model],
    logs: dsl.Output[dsl.Artifact],
    again: bool = False,
) -> None:
    """Trains and exports a model.

    An interrupted run resumes from its checkpoint. A finished run of the same dataset, settings
    and version of mdctr is reused.

    Args:
        name: Name of the configuration.
        config: Section `train`, as JSON.
        workspace: Directory that the steps of a pipeline share.
        dataset: Location of the dataset.
        validation: Location of the validation, which found no anomalies.
        model: Location of the exported SavedModel; the metadata describes it.
        logs: Location of the TensorBoard logs.
        again: Whether to train even if there is a finished run.
    """
    from components.steps import train_step

    train_step(name, config, workspace, again, dataset, model, logs)
