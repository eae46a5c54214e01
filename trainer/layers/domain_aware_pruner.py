"""The domain-aware pruner of AdaSparse (3.1)."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from trainer.keras import keras, tf
from trainer.layers.domain_rows import DomainRows

Formulation = Literal['binarization', 'scaling', 'fusion']


class Factors(NamedTuple):
    """The weighting factors of a layer's neurons.

    Attributes:
        factors: pi, [batch, units], or [1, units] where all rows have the same.
        ratio: r, the share of them that is zero, a scalar with a gradient.
    """

    factors: tf.Tensor
    ratio: tf.Tensor


@keras.utils.register_keras_serializable('mdctr')
class DomainAwarePruner(keras.layers.Layer):
    """Weighs or removes each neuron of a layer's input h, by the row's domain and by h itself.

    AdaSparse, equations 2 and 3: h <- h (x) pi with pi = S_eps(sigma(W_p [e_d; h])), where

        binarization (4, 5)   v = sigma(alpha x)         S(v) = sign(v - eps)
        scaling (6, 7)        v = beta sigma(x)          S(v) = v sign(v)
        fusion (8)            v = beta sigma(alpha x)    S(v) = v sign(v - eps)

    with sign(x) 1 for x > 0 and else 0: binarization gives exactly 0 and 1, fusion exact
    zeros. The sign has no useful slope, and the paper leaves open what stands for it. Here

    * in pi, gradients go straight through the threshold: dS/dv is taken as 1 in all three,
      for pruned neurons too, which can so come back;
    * in the ratio r = 1 - ||sign(v - eps)||_1 / N of equation 9, d sign(v - eps)/dx is taken
      as alpha / 4, the sigmoid's slope in its middle, for every neuron. With the sigmoid's
      own slope, neurons far below the threshold cannot be moved, and a layer that has lost
      too many stays so whatever the weight of the loss.

    Gradients flow into e_d and h through W_p too, as nothing in the paper stops them. The
    paper omits biases, and the pruner has one.

    The product with e_d is computed once a domain, which is the same sum.

    Args:
        formulation: see above.
        epsilon: eps, the paper's 0.25.
        beta: the greatest factor of scaling and fusion, the paper's 2.
        reads_hidden: whether h is an input of the pruner, as in the paper; without it, pi
            depends on e_d alone, and is fixed for a domain.
    """

    def __init__(self, formulation: Formulation = 'fusion', epsilon: float = 0.25,
                 beta: float = 2.0, reads_hidden: bool = True, **kwargs: Any):
        super().__init__(**kwargs)
        if formulation not in ('binarization', 'scaling', 'fusion'):
            raise ValueError(f'formulation must be binarization, scaling or fusion, not '
                             f'{formulation}')
        self.formulation, self.epsilon, self.beta = formulation, epsilon, beta
        self.reads_hidden = reads_hidden

    def build(self, input_shape: tuple[tf.TensorShape, tf.TensorShape]) -> None:
        units, context = (shape[-1] for shape in input_shape)
        width = context + (units if self.reads_hidden else 0)

        def part(shape, dtype=None, **kwargs):
            return keras.initializers.GlorotUniform()((width, units), dtype)[:shape[0]]
        self.context_kernel = self.add_weight('context_kernel', (context, units),
                                              initializer=part)
        self.hidden_kernel = (self.add_weight('hidden_kernel', (units, units),
                                              initializer=part)
                              if self.reads_hidden else None)
        self.bias = self.add_weight('bias', (units,), initializer='zeros')
        super().build(input_shape)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor], rows: DomainRows | None,
             alpha: tf.Tensor) -> tuple[tf.Tensor, Factors]:
        """Prunes.

        Args:
            inputs: h, [batch, units], and e_d: [present, dim], one a domain of `rows`; or
                without those [batch, dim].
            rows: the rows' domains, where e_d depends on the domain alone.
            alpha: of the sigmoid, a scalar; scaling doesn't use it.

        Returns:
            h (x) pi, [batch, units], and pi.
        """
        hidden, vectors = inputs
        logits = tf.matmul(vectors, self.context_kernel) + self.bias
        if rows is not None:
            logits = rows.spread(logits)
        if self.reads_hidden:
            logits += tf.matmul(hidden, self.hidden_kernel)
        factors = self.factors(logits, alpha)
        return hidden * factors.factors, factors

    def factors(self, logits: tf.Tensor, alpha: tf.Tensor) -> Factors:
        """pi of x = W_p [e_d; h], [batch, units]."""
        if self.formulation == 'scaling':
            return Factors(self.beta * tf.sigmoid(logits), tf.zeros([]))
        alpha = tf.cast(alpha, logits.dtype)
        values = tf.sigmoid(alpha * logits)
        if self.formulation == 'fusion':
            values *= self.beta
        ratio = share_below(logits, values <= self.epsilon, alpha / 4)
        if self.formulation == 'binarization':
            return Factors(sign_above(values, self.epsilon), ratio)
        return Factors(keep_above(values, self.epsilon), ratio)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'formulation': self.formulation,
                'epsilon': self.epsilon, 'beta': self.beta,
                'reads_hidden': self.reads_hidden}


def sign_above(values: tf.Tensor, threshold: float) -> tf.Tensor:
    """sign(v - eps) in {0, 1} (AdaSparse, equation 5), with the gradient of v."""
    @tf.custom_gradient
    def straight_through(values):
        return tf.cast(values > threshold, values.dtype), tf.identity
    return straight_through(values)


def keep_above(values: tf.Tensor, threshold: float) -> tf.Tensor:
    """v sign(v - eps) (AdaSparse, equation 8), with the gradient of v."""
    @tf.custom_gradient
    def straight_through(values):
        return tf.where(values > threshold, values, tf.zeros_like(values)), tf.identity
    return straight_through(values)


def share_below(logits: tf.Tensor, pruned: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
    """r of AdaSparse's equation 9, float32, with the gradient of -mean(slope x logits)."""
    @tf.custom_gradient
    def straight_through(logits):
        def gradient(upstream):
            share = tf.cast(upstream, logits.dtype) / tf.cast(tf.size(logits), logits.dtype)
            return tf.fill(tf.shape(logits), -share * slope)
        return tf.reduce_mean(tf.cast(pruned, tf.float32)), gradient
    return straight_through(logits)
