"""Maps between the users' spaces of two domains that keep lengths and angles."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf
from trainer.layers.domain_layer import DomainLayer
from trainer.layers.domain_rows import DomainRows


@keras.utils.register_keras_serializable('mdctr')
class OrthogonalMapping(DomainLayer):
    """The latent orthogonal mapping of DDTCDR (Li and Tuzhilin 2020, section 3.2) and of DASL's
    dual embedding (Li et al. 2021).

    X_k takes a user's vector in the source domain to that in target domain k, and, as it is
    orthogonal, its transpose back:

        u_source X_k ~ u_k,    u_k X_k^T ~ u_source

    A row of a target domain is mapped to the source, a row of the source to its partner, one
    of the targets. All start at the same orthogonal matrix, and `penalty` keeps them so. An
    unseen domain has the mean of the targets' matrices.

    Args:
        num_domains: the domains, and in row 0 the unseen ones.
        source: the source domain.
        partner: the target domain to which the source's own rows are mapped.

    Shapes: inputs [batch, dim] to the same.
    """

    def __init__(self, num_domains: int, source: int, partner: int, **kwargs: Any):
        super().__init__(num_domains, **kwargs)
        self.source, self.partner = source, partner

    def build(self, input_shape: tf.TensorShape) -> None:
        dim = input_shape[-1]

        def initializer(shape, dtype=None, **kwargs):
            matrix = keras.initializers.Orthogonal()((dim, dim), dtype=dtype)
            return tf.tile(matrix[None], [self.num_domains, 1, 1])
        self.domain_mapping = self.add_domain_weight('mapping', (dim, dim),
                                                     initializer=initializer)
        super().build(input_shape)

    def compute(self, inputs: tf.Tensor, rows: DomainRows, training: bool) -> tf.Tensor:
        matrices = self._take(rows)
        if not training:
            unseen = tf.equal(rows.present, 0)
            matrices = tf.cond(
                tf.reduce_any(unseen), lambda: tf.where(
                    unseen[:, None, None], self.shared_row(self.domain_mapping), matrices),
                lambda: matrices)
        back = tf.not_equal(rows.present, self.source)[:, None, None]
        return rows.dense(inputs, tf.where(
            back, tf.transpose(matrices, [0, 2, 1]), matrices))

    def penalty(self, rows: DomainRows) -> tf.Tensor:
        """How far the matrices that these rows use are from orthogonal: the mean of
        ||X X^T - I||^2 (Frobenius)."""
        matrices = tf.cast(self._take(rows), tf.float32)
        products = tf.matmul(matrices, matrices, transpose_b=True)
        away = products - tf.eye(tf.shape(products)[1])
        return tf.reduce_mean(tf.reduce_sum(tf.square(away), axis=[1, 2]))

    def _take(self, rows: DomainRows) -> tf.Tensor:
        number = tf.where(tf.equal(rows.present, self.source), self.partner, rows.present)
        return tf.gather(self.domain_mapping, number)

    def shared_row(self, variable: tf.Variable) -> tf.Tensor:
        targets = [domain for domain in range(1, self.num_domains) if domain != self.source]
        return tf.reduce_mean(tf.gather(variable, targets), axis=0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'source': self.source, 'partner': self.partner}
