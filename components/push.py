"""Blessed model to the directory that is served."""

from kfp import dsl

from components.component import component


@component
def push(name: str, workspace: str, model: dsl.Input[dsl.Model],
         evaluation: dsl.Input[dsl.Artifact], pushed: dsl.Output[dsl.Model]):
    """Pushes the model as the next version if its evaluation blessed it.

    Args:
        name: the pushed model's name.
        workspace: the directory that the steps of a pipeline share.
        model: the exported SavedModel.
        evaluation: the evaluation, whose verdict decides.
        pushed: the version's directory; what was decided and why in the metadata.
    """
    from components.steps import push_step

    push_step(name, workspace, model, evaluation, pushed)
