"""A scale and a shift of each domain."""

from __future__ import annotations

from trainer.keras import keras, tf
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.domain_layer import FoldedDense
from trainer.layers.domain.shared_mean import SharedMeanLayer


@keras.utils.register_keras_serializable('mdctr')
class DomainScale(SharedMeanLayer):
    """Multiplies the entries of each row by factors of its domain and adds others.

    Scenario-specific linear transformation of SAR-Net (Shen et al. 2021), for a row x of domain
    p and the product by entry (x):

        y = w_p (x) x + b_p

    w_p starts at one and b_p at zero. Rows of an unseen domain are transformed with the mean of
    the domains' weights; in training, row 0 is a domain like any other.

    Example:

    >>> layer = DomainScale(num_domains=3)
    >>> layer(tf.constant([[1.0, 2.0]]), tf.constant([2])).numpy().tolist()
    [[1.0, 2.0]]

    Args:
        num_domains: Number of domains, including row 0 for unseen ones.

    Shapes: inputs [batch, units] to the same.
    """

    def build(self, input_shape: tf.TensorShape) -> None:
        shape = (input_shape[-1],)
        self.domain_scale = self.add_domain_weight('scale', shape, initializer='ones')
        self.domain_shift = self.add_domain_weight('shift', shape, initializer='zeros')
        super().build(input_shape)

    def compute(self, inputs: tf.Tensor, domains: DomainBatch, training: bool) -> tf.Tensor:
        if self.folded is not None and not training:
            scale = tf.cast(domains.gather(self.folded.kernel), inputs.dtype)
            shift = tf.cast(domains.gather(self.folded.bias), inputs.dtype)
        else:
            scale = self.gather_with_mean(domains, self.domain_scale, training)
            shift = self.gather_with_mean(domains, self.domain_shift, training)
        return inputs * domains.broadcast(scale) + domains.broadcast(shift)

    def fold(self) -> None:
        """Computes the mean of the domains' weights once."""
        self.folded = FoldedDense(
            self.with_shared_row(self.domain_scale), self.with_shared_row(self.domain_shift)
        )
