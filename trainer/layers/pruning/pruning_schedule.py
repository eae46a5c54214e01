"""The parameters that grow while AdaSparse trains."""

from __future__ import annotations

from typing import Any, NamedTuple

from trainer.keras import keras, tf


class PruningStrength(NamedTuple):
    """Values of a step; scalars.

    Attributes:
        alpha: Steepness of the sigmoid of AdaSparse's equations 4 and 8.
        lambda_hat: Balancing weight of equation 10.
    """

    alpha: tf.Tensor
    lambda_hat: tf.Tensor


@keras.utils.register_keras_serializable('mdctr')
class PruningSchedule(keras.layers.Layer):
    """alpha and lambda-hat of AdaSparse, which grow with every training step.

    The paper gives their initial values, alpha's limit, and that they grow gradually. Here
    both grow by the same amount in every step:

        alpha_t = min(0.1 + t (5 - 0.1) / alpha_steps, 5)
        lambda-hat_t = 0.01 + t lambda_growth

    They are variables, saved, restored and exported with the model. Calls with
    `training=False` return them unchanged.

    Example:

    >>> schedule = PruningSchedule(lambda_growth=0.5, lambda_start=0.0)
    >>> [float(schedule(None, training=True).lambda_hat) for _ in range(3)]
    [0.0, 0.5, 1.0]

    Args:
        alpha_steps: Number of steps until alpha has reached its limit.
        lambda_growth: Growth of lambda-hat in each step.
        alpha_start: alpha of the first step.
        alpha_limit: Limit of alpha.
        lambda_start: lambda-hat of the first step.

    Output: the `PruningStrength` of this step; a training call then advances to the next.
    """

    def __init__(
        self,
        alpha_steps: int = 2000,
        lambda_growth: float = 0.01,
        alpha_start: float = 0.1,
        alpha_limit: float = 5.0,
        lambda_start: float = 0.01,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.alpha_steps, self.lambda_growth = alpha_steps, lambda_growth
        self.alpha_start, self.alpha_limit = alpha_start, alpha_limit
        self.lambda_start = lambda_start

    def build(self, input_shape: Any) -> None:
        exact = {'dtype': tf.float32, 'trainable': False, 'experimental_autocast': False}
        constant = keras.initializers.Constant
        self.alpha = self.add_weight(
            'alpha', (), initializer=constant(self.alpha_start), **exact
        )
        self.lambda_hat = self.add_weight(
            'lambda_hat', (), initializer=constant(self.lambda_start), **exact
        )
        super().build(input_shape)

    def call(self, inputs: Any = None, training: bool = False) -> PruningStrength:
        now = PruningStrength(tf.identity(self.alpha), tf.identity(self.lambda_hat))
        if training:
            growth = (self.alpha_limit - self.alpha_start) / self.alpha_steps
            self.alpha.assign(tf.minimum(now.alpha + growth, self.alpha_limit))
            self.lambda_hat.assign(now.lambda_hat + self.lambda_growth)
        return now

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            'alpha_steps': self.alpha_steps,
            'lambda_growth': self.lambda_growth,
            'alpha_start': self.alpha_start,
            'alpha_limit': self.alpha_limit,
            'lambda_start': self.lambda_start,
        }
