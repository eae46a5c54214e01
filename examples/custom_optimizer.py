"""An optimizer of your own: Signum, signSGD with momentum (Bernstein et al. 2018).

    mdctr train shops.yaml --set train.optimizer=custom_optimizer:Signum \\
        --set train.learning_rate=1e-4 --set train.optimizer_options.momentum=0.95
"""

from typing import Any

from trainer.keras import keras, tf


class Signum(keras.optimizers.Optimizer):
    """m <- beta m + (1 - beta) g;  theta <- theta - eta sign(m).

    State is kept in variables, so that checkpoints hold it; training checks that.

    Args:
        learning_rate: Learning rate eta, a number or a Keras schedule.
        momentum: Momentum beta.
    """

    def __init__(
        self,
        learning_rate: Any = 1e-4,
        momentum: float = 0.9,
        name: str = 'Signum',
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.momentum = momentum

    def build(self, var_list: list[tf.Variable]) -> None:
        super().build(var_list)
        if not hasattr(self, '_momenta'):
            self._momenta = [
                self.add_variable_from_reference(variable, 'momentum') for variable in var_list
            ]

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        gradient = tf.convert_to_tensor(gradient)  # the gradient of an embedding is sparse
        momentum = self._momenta[self._index_dict[self._var_key(variable)]]
        momentum.assign(self.momentum * momentum + (1 - self.momentum) * gradient)
        rate = tf.cast(self.learning_rate, variable.dtype)
        variable.assign_sub(rate * tf.sign(momentum))

    def get_config(self) -> dict[str, Any]:
        rate = self._serialize_hyperparameter(self._learning_rate)
        return {**super().get_config(), 'learning_rate': rate, 'momentum': self.momentum}
