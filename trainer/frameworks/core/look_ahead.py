"""The gradient of a loss after a step on another loss, shared by MAML and MLDG."""

from __future__ import annotations

from trainer.data.batching import Batch
from trainer.frameworks.core.gradient_step import (
    Gradient,
    GradientStep,
    deduplicate_gradient,
    weighted_sum,
)
from trainer.keras import tf


def mean_gradient(step: GradientStep, batches: list[Batch]) -> tuple[list[tf.Tensor], Gradient]:
    """Returns the losses of batches, and the gradient of their mean with unique row indices.

    Args:
        step: Step that computes gradients.
        batches: Batches of one domain each.
    """
    losses, gradients = zip(*map(step.gradient, batches), strict=True)
    if len(batches) == 1:
        return list(losses), gradients[0]
    return list(losses), deduplicate_gradient(
        weighted_sum(gradients, [1 / len(batches)] * len(batches))
    )


def look_ahead(
    step: GradientStep,
    first: list[Batch],
    gradient: Gradient,
    second: list[Batch],
    rate: float,
    second_order: bool,
) -> tuple[list[tf.Tensor], Gradient]:
    """Returns the losses of `second` at theta' = theta - rate * gradient, and a gradient.

    The gradient is that of the mean of these losses: to first order grad L(theta'); to second
    order, with respect to theta,

        (I - rate H) grad L(theta')

    where H is the Hessian of the mean loss of `first` at theta.

    Args:
        step: Step whose model has the parameters theta, before and after.
        first: Batches that `gradient` was computed from.
        gradient: Gradient of the mean loss of `first` at theta.
        second: Batches whose losses are computed at theta'.
        rate: Learning rate of the step to theta'.
        second_order: Whether to differentiate through theta'.
    """
    previous = step.descend(gradient, rate)
    try:
        losses, ahead = mean_gradient(step, second)
    finally:
        step.undo(previous)
    if not second_order:
        return losses, ahead
    products = [step.hessian_vector_product(batch, ahead) for batch in first]
    weights = [1.0] + [-rate / len(first)] * len(first)
    return losses, weighted_sum([ahead, *products], weights)
