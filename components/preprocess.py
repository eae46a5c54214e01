"""Component: builds the dataset from raw logs."""

from kfp import dsl

from components.component import component


@component
def preprocess(
    name: str, config: str, workspace: str, beam_args: list, dataset: dsl.Output[dsl.Dataset]
) -> None:
    """Builds the dataset with Beam, unless it is already up to date.

    Args:
        name: Name of the configuration and of the dataset.
        config: Section `dataset`, as JSON.
        workspace: Directory that the steps of a pipeline share.
        beam_args: Beam options; if empty, the Beam job runs in memory.
        dataset: Location of the dataset in the workspace.
    """
    from components.steps import preprocess_step

    preprocess_step(name, config, workspace, beam_args, dataset)
