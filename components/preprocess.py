"""Raw logs to a dataset."""

from kfp import dsl

from components.component import component


@component
def preprocess(name: str, config: str, workspace: str, beam_args: list,
               dataset: dsl.Output[dsl.Dataset]):
    """Builds the dataset with Beam, or finds it built already from the same source.

    Args:
        name: the configuration's name, and the dataset's.
        config: the `dataset` section, as JSON.
        workspace: the directory that the steps of a pipeline share.
        beam_args: ordinary Beam options; empty runs in memory.
        dataset: the dataset's directory in the workspace.
    """
    from components.steps import preprocess_step

    preprocess_step(name, config, workspace, beam_args, dataset)
