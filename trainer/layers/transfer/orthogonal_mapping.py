"""Orthogonal maps between the users' vectors in two domains."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.domain_layer import DomainLayer


@keras.utils.register_keras_serializable('mdctr')
class OrthogonalMapping(DomainLayer):
    """Latent orthogonal mapping of DDTCDR (Li and Tuzhilin 2020, section 3.2) and of DASL's
    dual embedding (Li et al. 2021).

    X_k maps a user's vector in the source domain to that in target domain k and, as it is
    orthogonal, its transpose maps back:

        u_source X_k ~ u_k,    u_k X_k^T ~ u_source

    A row of a target domain is mapped to the source, a row of the source to its partner, one
    of the targets. All maps start at the same orthogonal matrix, and `penalty` keeps them
    orthogonal. An unseen domain has the mean of the targets' matrices.

    Example:

    >>> layer = OrthogonalMapping(num_domains=3, source=1, partner=2)
    >>> inputs = tf.constant([[3.0, 4.0]])
    >>> round(float(tf.norm(layer(inputs, tf.constant(2)))), 4)
    5.0

    Args:
        num_domains: Number of domains, including row 0 for unseen ones.
        source: Source domain.
        partner: Target domain to which rows of the source are mapped.

    Shapes: inputs [batch, dim] to the same.
    """

    def __init__(self, num_domains: int, source: int, partner: int, **kwargs: Any):
        super().__init__(num_domains, **kwargs)
        self.source, self.partner = source, partner

    def build(self, input_shape: tf.TensorShape) -> None:
        dim = input_shape[-1]

        def initialize(shape: tuple[int, ...], dtype: Any = None, **kwargs: Any) -> tf.Tensor:
            matrix = keras.initializers.Orthogonal()((dim, dim), dtype=dtype)
            return tf.tile(matrix[None], [self.num_domains, 1, 1])

        self.domain_mapping = self.add_domain_weight(
            'mapping', (dim, dim), initializer=initialize
        )
        super().build(input_shape)

    def compute(self, inputs: tf.Tensor, domains: DomainBatch, training: bool) -> tf.Tensor:
        matrices = self._gather(domains)
        if not training:
            unseen = tf.equal(domains.present_domains, 0)
            matrices = tf.cond(
                tf.reduce_any(unseen),
                lambda: tf.where(
                    unseen[:, None, None], self.shared_row(self.domain_mapping), matrices
                ),
                lambda: matrices,
            )
        to_source = tf.not_equal(domains.present_domains, self.source)[:, None, None]
        matrices = tf.where(to_source, tf.transpose(matrices, [0, 2, 1]), matrices)
        return domains.dense(inputs, matrices)

    def penalty(self, domains: DomainBatch) -> tf.Tensor:
        """Distance from orthogonality of the matrices that these rows use: the mean of
        ||X X^T - I||^2 (Frobenius)."""
        matrices = tf.cast(self._gather(domains), tf.float32)
        products = tf.matmul(matrices, matrices, transpose_b=True)
        difference = products - tf.eye(tf.shape(products)[1])
        return tf.reduce_mean(tf.reduce_sum(tf.square(difference), axis=[1, 2]))

    def _gather(self, domains: DomainBatch) -> tf.Tensor:
        """Matrices of the present domains; the source's is its partner's."""
        present = domains.present_domains
        number = tf.where(tf.equal(present, self.source), self.partner, present)
        return tf.gather(self.domain_mapping, number)

    def shared_row(self, variable: tf.Variable) -> tf.Tensor:
        targets = [domain for domain in range(1, self.num_domains) if domain != self.source]
        return tf.reduce_mean(tf.gather(variable, targets), axis=0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'source': self.source, 'partner': self.partner}
