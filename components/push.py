"""Component: pushes a blessed model to the directory of the model server."""

from kfp import dsl

from components.component import component


@component
def push(
    name: str,
    workspace: str,
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    pushed: dsl.Output[dsl.Model],
) -> None:
    """Pushes the model as the next version if its evaluation blessed it.

    Args:
        name: Name of the pushed model.
        workspace: Directory that the steps of a pipeline share.
        model: Location of the exported SavedModel.
        evaluation: Location of the evaluation, which decides.
        pushed: Location of the version; the metadata has the decision and its reason.
    """
    from components.steps import push_step

    push_step(name, workspace, model, evaluation, pushed)
