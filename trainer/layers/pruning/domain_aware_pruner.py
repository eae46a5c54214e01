"""The domain-aware pruner of AdaSparse (3.1)."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from trainer.keras import keras, tf
from trainer.layers.domain.domain_batch import DomainBatch

Formulation = Literal['binarization', 'scaling', 'fusion']


class PruningFactors(NamedTuple):
    """Weighting factors of a layer's neurons.

    Attributes:
        factors: pi, [batch, units], or [1, units] if all rows have the same.
        ratio: r, the fraction of the factors that are zero; a scalar with a gradient.
    """

    factors: tf.Tensor
    ratio: tf.Tensor


@keras.utils.register_keras_serializable('mdctr')
class DomainAwarePruner(keras.layers.Layer):
    """Weights or removes each neuron of a layer's input h, by the row's domain and h itself.

    AdaSparse, equations 2 and 3: h <- h (x) pi with pi = S_eps(sigma(W_p [e_d; h])), where

        binarization (4, 5)   v = sigma(alpha x)         S(v) = sign(v - eps)
        scaling (6, 7)        v = beta sigma(x)          S(v) = v sign(v)
        fusion (8)            v = beta sigma(alpha x)    S(v) = v sign(v - eps)

    with sign(x) 1 for x > 0, else 0: binarization gives exactly 0 and 1, fusion exact zeros.
    The gradient of sign is zero almost everywhere, and the paper does not say what replaces
    it. Here

    * in pi, gradients pass straight through the threshold: dS/dv is taken as 1 in all three
      formulations, for pruned neurons too, which can thereby return;
    * in the ratio r = 1 - ||sign(v - eps)||_1 / N of equation 9, d sign(v - eps)/dx is taken
      as alpha / 4, the maximum slope of the sigmoid, for every neuron. With the sigmoid's own
      slope, neurons far below the threshold would not move, and a layer that has lost too
      many could not recover at any weight of the loss.

    Gradients also flow through W_p into e_d and h, as nothing in the paper stops them. The
    paper omits biases; the pruner has one.

    The product with e_d is computed once per domain, with the same result.

    Example:

    >>> pruner = DomainAwarePruner('fusion')
    >>> domains = DomainBatch(tf.constant(1), 3)
    >>> hidden, embedding = tf.ones([2, 8]), tf.ones([1, 4])
    >>> pruned, factors = pruner((hidden, embedding), domains, alpha=tf.constant(5.0))
    >>> pruned.shape, factors.ratio.shape
    (TensorShape([2, 8]), TensorShape([]))

    Args:
        formulation: `binarization`, `scaling` or `fusion`.
        epsilon: Threshold eps; the paper has 0.25.
        beta: Maximum factor of scaling and fusion; the paper has 2.
        reads_hidden: Whether h is an input of the pruner, as in the paper; if not, pi depends
            only on e_d and is fixed for a domain.

    Raises:
        ValueError: The formulation is unknown.
    """

    def __init__(
        self,
        formulation: Formulation = 'fusion',
        epsilon: float = 0.25,
        beta: float = 2.0,
        reads_hidden: bool = True,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if formulation not in ('binarization', 'scaling', 'fusion'):
            raise ValueError(
                f'formulation must be binarization, scaling or fusion, not {formulation}'
            )
        self.formulation, self.epsilon, self.beta = formulation, epsilon, beta
        self.reads_hidden = reads_hidden

    def build(self, input_shape: tuple[tf.TensorShape, tf.TensorShape]) -> None:
        units, context = (shape[-1] for shape in input_shape)
        width = context + (units if self.reads_hidden else 0)

        def rows_of_whole(
            shape: tuple[int, ...], dtype: Any = None, **kwargs: Any
        ) -> tf.Tensor:
            """Draws W_p, of which a variable is a part, and returns as many of its rows."""
            return keras.initializers.GlorotUniform()((width, units), dtype)[: shape[0]]

        self.context_kernel = self.add_weight(
            'context_kernel', (context, units), initializer=rows_of_whole
        )
        self.hidden_kernel = (
            self.add_weight('hidden_kernel', (units, units), initializer=rows_of_whole)
            if self.reads_hidden
            else None
        )
        self.bias = self.add_weight('bias', (units,), initializer='zeros')
        super().build(input_shape)

    def call(
        self, inputs: tuple[tf.Tensor, tf.Tensor], domains: DomainBatch | None, alpha: tf.Tensor
    ) -> tuple[tf.Tensor, PruningFactors]:
        """Prunes a layer's input.

        Args:
            inputs: h, [batch, units], and e_d: [present, dim], one for each present domain,
                or [batch, dim] if `domains` is None.
            domains: Domains of the rows, if e_d depends only on the domain.
            alpha: Steepness of the sigmoid, a scalar; scaling does not use it.

        Returns:
            h (x) pi, [batch, units], and pi.
        """
        hidden, vectors = inputs
        logits = tf.matmul(vectors, self.context_kernel) + self.bias
        if domains is not None:
            logits = domains.broadcast(logits)
        if self.reads_hidden:
            logits += tf.matmul(hidden, self.hidden_kernel)
        factors = self.factors(logits, alpha)
        return hidden * factors.factors, factors

    def factors(self, logits: tf.Tensor, alpha: tf.Tensor) -> PruningFactors:
        """Computes pi from x = W_p [e_d; h], [batch, units]."""
        if self.formulation == 'scaling':
            return PruningFactors(self.beta * tf.sigmoid(logits), tf.zeros([]))
        alpha = tf.cast(alpha, logits.dtype)
        values = tf.sigmoid(alpha * logits)
        if self.formulation == 'fusion':
            values *= self.beta
        ratio = pruned_ratio(logits, values <= self.epsilon, alpha / 4)
        if self.formulation == 'binarization':
            return PruningFactors(sign_above(values, self.epsilon), ratio)
        return PruningFactors(keep_above(values, self.epsilon), ratio)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            'formulation': self.formulation,
            'epsilon': self.epsilon,
            'beta': self.beta,
            'reads_hidden': self.reads_hidden,
        }


def sign_above(values: tf.Tensor, threshold: float) -> tf.Tensor:
    """sign(v - eps) in {0, 1} (AdaSparse, equation 5), with the gradient of v.

    >>> sign_above(tf.constant([0.1, 0.9]), 0.25).numpy().tolist()
    [0.0, 1.0]
    """

    @tf.custom_gradient
    def straight_through(values: tf.Tensor) -> tuple[tf.Tensor, Any]:
        return tf.cast(values > threshold, values.dtype), tf.identity

    return straight_through(values)


def keep_above(values: tf.Tensor, threshold: float) -> tf.Tensor:
    """v sign(v - eps) (AdaSparse, equation 8), with the gradient of v.

    >>> keep_above(tf.constant([0.125, 1.5]), 0.25).numpy().tolist()
    [0.0, 1.5]
    """

    @tf.custom_gradient
    def straight_through(values: tf.Tensor) -> tuple[tf.Tensor, Any]:
        return tf.where(values > threshold, values, tf.zeros_like(values)), tf.identity

    return straight_through(values)


def pruned_ratio(logits: tf.Tensor, pruned: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
    """r of AdaSparse's equation 9, float32, with the gradient of -mean(slope x logits).

    Args:
        logits: x, [batch, units].
        pruned: Whether a neuron is pruned, bool [batch, units].
        slope: Slope of sign(v - eps) in x, a scalar.
    """

    @tf.custom_gradient
    def straight_through(logits: tf.Tensor) -> tuple[tf.Tensor, Any]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            share = tf.cast(upstream, logits.dtype) / tf.cast(tf.size(logits), logits.dtype)
            return tf.fill(tf.shape(logits), -share * slope)

        return tf.reduce_mean(tf.cast(pruned, tf.float32)), gradient

    return straight_through(logits)
