"""Dataset to trained, exported model."""

from kfp import dsl

from components.component import component


@component
def train(name: str, config: str, workspace: str, dataset: dsl.Input[dsl.Dataset],
          validation: dsl.Input[dsl.Artifact], model: dsl.Output[dsl.Model],
          logs: dsl.Output[dsl.Artifact]):
    """Trains and exports a model; a run that was killed goes on from its checkpoint.

    Args:
        name: the configuration's name.
        config: the `train` section, as JSON.
        workspace: the directory that the steps of a pipeline share.
        dataset: the dataset's directory.
        validation: what shows that the dataset was found sound.
        model: the exported SavedModel.
        logs: the TensorBoard logs.
    """
    from components.steps import train_step

    train_step(name, config, workspace, dataset, model, logs)
