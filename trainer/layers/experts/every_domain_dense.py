"""The dense layer of every domain, computed for every row."""

from __future__ import annotations

from trainer.keras import keras, tf
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.domain_dense import DomainDense


@keras.utils.register_keras_serializable('mdctr')
class EveryDomainDense(DomainDense):
    """`DomainDense` whose outputs for a row are those of all domains.

    For a row x, whatever its domain, and each domain m:

        y_m = phi(W_m^T x_m + b_m)        x_m = x, or the row's input for domain m

    for models that combine what the other domains' networks make of a row. Its cost grows with
    the number of domains, and every domain's weights get a gradient from every row. All domains
    start at the same weights. m = 0, for unseen domains, has the mean of the domains' weights;
    in training it is a domain like any other.

    Example:

    >>> layer = EveryDomainDense(4, num_domains=3)
    >>> layer(tf.ones([2, 8]), tf.constant([1, 2])).shape
    TensorShape([2, 3, 4])

    Args:
        units: Width of each domain's output.
        num_domains: Number of domains, including row 0 for unseen ones.
        activation: phi, name of a Keras activation.
        blocks: Number of independent layers that the units consist of; it affects only their
            initialization.

    Shapes: inputs [batch, c] or [batch, num_domains, c] to [batch, num_domains, units].
    """

    def compute(self, inputs: tf.Tensor, domains: DomainBatch, training: bool) -> tf.Tensor:
        if self.folded is not None and not training:
            kernel = tf.cast(self.folded.kernel, inputs.dtype)
            bias = tf.cast(self.folded.bias, inputs.dtype)
        elif training:
            kernel = tf.convert_to_tensor(self.domain_kernel)
            bias = tf.convert_to_tensor(self.domain_bias)
        else:
            kernel = self.rows_with_mean(self.domain_kernel)
            bias = self.rows_with_mean(self.domain_bias)
        rows = 'bc' if inputs.shape.rank == 2 else 'bnc'
        return self.activation(tf.einsum(f'{rows},ncu->bnu', inputs, kernel) + bias)


def own_output(outputs: tf.Tensor, domains: DomainBatch) -> tf.Tensor:
    """Selects the output of each row's own domain.

    Example:

    >>> outputs = tf.reshape(tf.range(6.0), [1, 3, 2])  # of one row, for three domains
    >>> own_output(outputs, DomainBatch(tf.constant([2]), 3)).numpy().tolist()
    [[4.0, 5.0]]

    Args:
        outputs: Outputs of all domains, [batch, num_domains, units]; rows sorted by domain.
        domains: Domains of the rows.

    Returns:
        [batch, units].
    """
    if domains.single_domain:
        return tf.gather(outputs, domains.domain, axis=1)
    return tf.gather(outputs, domains.domain, axis=1, batch_dims=1)
