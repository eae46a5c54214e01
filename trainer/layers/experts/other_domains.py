"""What the networks of the other domains make of a row, as one vector."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.domain_layer import DomainLayer, uniform_with_zero_first_row


@keras.utils.register_keras_serializable('mdctr')
class OtherDomains(DomainLayer):
    """Mean of the outputs of the other domains' networks.

    For a row of domain p with the outputs y_m of all domains m:

        z = sum_{m != p} w_pm y_m        w_pm = 1 / (number of domains - 1)

    A row of an unseen domain has the mean of all domains. A domain added later reads those that
    were there before, as an unseen one does, and no other domain reads it. Without another
    domain z is zero.

    Example:

    >>> outputs = tf.constant([[[9.0], [1.0], [3.0], [5.0]]])  # of one row, for four domains
    >>> OtherDomains(num_domains=4)(outputs, tf.constant(3)).numpy().tolist()
    [[2.0]]

    Args:
        num_domains: Number of domains, including row 0 for unseen ones.

    Shapes: inputs [batch, num_domains, units] to [batch, units].
    """

    def build(self, input_shape: tf.TensorShape) -> None:
        self.domain_reads = self.add_domain_weight(
            'reads',
            (self.num_domains,),
            initializer=_all_others,
            trainable=False,
            dtype=tf.float32,
            experimental_autocast=False,
        )
        super().build(input_shape)

    def compute(self, inputs: tf.Tensor, domains: DomainBatch, training: bool) -> tf.Tensor:
        weights = tf.cast(domains.broadcast(self.shares(domains)), inputs.dtype)
        return tf.reduce_sum(weights[:, :, None] * inputs, axis=1)

    def shares(self, domains: DomainBatch) -> tf.Tensor:
        """w_pm of the present domains p, [present, num_domains]."""
        reads = domains.gather(self.domain_reads)
        return tf.math.divide_no_nan(reads, tf.reduce_sum(reads, axis=1, keepdims=True))


@keras.utils.register_keras_serializable('mdctr')
class DomainAttention(OtherDomains):
    """Outputs of the other domains' networks, weighted by an attention of the row's domain.

    Scenario-aware attentive network of HiNet (Zhou et al. 2023): with the embedding e_p of the
    row's domain,

        z = sum_{m != p} w_pm y_m        w_p = softmax over m != p of (k_m^T e_p + c_m)

    The embedding of unseen domains is zero and remains so.

    Example:

    >>> outputs = tf.constant([[[9.0], [1.0], [4.0]]])  # of one row, for three domains
    >>> DomainAttention(num_domains=3, dim=2)(outputs, tf.constant(2)).numpy().tolist()
    [[1.0]]

    Args:
        num_domains: Number of domains, including row 0 for unseen ones.
        dim: Dimension of e_p.

    Shapes: inputs [batch, num_domains, units] to [batch, units].
    """

    def __init__(self, num_domains: int, dim: int, **kwargs: Any):
        super().__init__(num_domains, **kwargs)
        self.dim = dim

    def build(self, input_shape: tf.TensorShape) -> None:
        self.domain_embedding = self.add_domain_weight(
            'embedding', (self.dim,), initializer=uniform_with_zero_first_row
        )
        self.domain_key = self.add_domain_weight(
            'key', (self.dim,), initializer='glorot_uniform'
        )
        self.domain_key_bias = self.add_domain_weight('key_bias', (), initializer='zeros')
        super().build(input_shape)

    @property
    def domain_vectors(self) -> tf.Variable:
        return self.domain_embedding

    def shares(self, domains: DomainBatch) -> tf.Tensor:
        reads = domains.gather(self.domain_reads)
        embedding = domains.gather(self.domain_embedding)
        logits = tf.matmul(embedding, self.domain_key, transpose_b=True) + self.domain_key_bias
        logits = tf.where(reads > 0, tf.cast(logits, tf.float32), -1e9)
        return tf.nn.softmax(logits) * reads

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'dim': self.dim}


def _all_others(shape: tuple[int, int], dtype: Any = None, **kwargs: Any) -> tf.Tensor:
    """1 where a domain (row) reads another one (column): all but itself and the unseen one."""
    return tf.pad(tf.ones([shape[0], shape[1] - 1], dtype), [[0, 0], [1, 0]]) * (
        1 - tf.eye(shape[0], dtype=dtype)
    )
