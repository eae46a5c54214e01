"""The gradient of a loss after a step on another loss, which MAML and MLDG share."""

from __future__ import annotations

from trainer.examples import Batch
from trainer.frameworks.gradient_step import Gradient, GradientStep, rows_once, total
from trainer.keras import tf


def mean_gradient(step: GradientStep,
                  batches: list[Batch]) -> tuple[list[tf.Tensor], Gradient]:
    """The batches' losses and the gradient of their mean, each row once."""
    losses, gradients = zip(*map(step.gradient, batches), strict=True)
    if len(batches) == 1:
        return list(losses), gradients[0]
    return list(losses), rows_once(total(gradients, [1 / len(batches)] * len(batches)))


def look_ahead(step: GradientStep, first: list[Batch], gradient: Gradient,
               second: list[Batch], rate: float,
               second_order: bool) -> tuple[list[tf.Tensor], Gradient]:
    """The losses of `second` at theta' = theta - rate * gradient, and their mean's gradient.

    To the first order, grad L(theta'); to the second, with respect to theta,
    (I - rate H) grad L(theta'), H being the Hessian of the mean loss of `first` at theta.

    Args:
        step: whose model is at theta, before and after.
        first: the batches of which `gradient` is the mean gradient.
        gradient: at theta.
        second: the batches whose loss is wanted.
        rate: of the step to theta'.
        second_order: whether H is taken into account.
    """
    before = step.descend(gradient, rate)
    try:
        losses, ahead = mean_gradient(step, second)
    finally:
        step.put_back(before)
    if not second_order:
        return losses, ahead
    bends = [step.curvature(batch, ahead) for batch in first]
    return losses, total([ahead, *bends], [1.0] + [-rate / len(first)] * len(first))
