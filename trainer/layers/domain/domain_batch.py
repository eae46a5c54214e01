"""Domains of the rows of a batch, sorted once for all layers."""

from __future__ import annotations

from trainer.keras import tf
from trainer.layers.domain.grouped_matmul import UNROLLED_GROUPS, column_sums, grouped_matmul
from trainer.layers.sparse.dispatch import dispatch
from trainer.layers.sparse.domain_indicator import DomainIndicator
from trainer.layers.sparse.paths import choose_dispatch


class DomainBatch:
    """Domains of the rows of one batch.

    With it, a layer is written once for both kinds of batch: it gathers the present domains'
    rows of its variables with `gather`, computes one value per present domain, and applies
    these to the batch's rows with `dense` or `broadcast`. No row is computed with another
    domain's weights.

    * One domain (`domain` is a scalar): a single present domain; `dense` is one matrix
      product and `broadcast` leaves the broadcasting to the next operation.
    * Mixed (`domain` is a vector): rows must first be sorted with `sort`; each domain's rows
      are then a slice, and `dense` computes one matrix product per slice or, for few rows, one
      sparse product. `broadcast` and `sum` are products with the rows-by-domain matrix, a
      `tf.SparseTensor`.

    Ids outside [0, num_domains) are the unseen domain, 0.

    Example:

    >>> domains = DomainBatch(tf.constant([2, 1, 2]), num_domains=3)
    >>> domains.present_domains.numpy().tolist()
    [1, 2]
    >>> rows = domains.sort(tf.constant([[1.0], [2.0], [3.0]]))
    >>> rows.numpy().tolist()
    [[2.0], [1.0], [3.0]]
    >>> scale = domains.gather(tf.constant([0.0, 10.0, 100.0]))
    >>> domains.unsort(rows * domains.broadcast(scale)[:, None]).numpy().tolist()
    [[100.0], [20.0], [300.0]]

    Args:
        domain: Domain ids, a scalar (the whole batch is of one domain) or [batch].
        num_domains: Number of domains, including 0 for unseen ones.

    Attributes:
        num_domains: Number of domains.
        single_domain: Whether `domain` is a scalar.
        domain: Domain ids in sorted order, int32 [batch]; [] if `single_domain`.
        present_domains: Domains that have rows, int32 [present]: ascending, or, if there may be
            more than `UNROLLED_GROUPS`, by number of rows, largest first.
        segments: Index of each sorted row's domain in `present_domains`, int32 [batch]; None
            if `single_domain`.

    Raises:
        ValueError: `domain` is neither a scalar nor a vector.
    """

    def __init__(self, domain: tf.Tensor, num_domains: int):
        domain = tf.cast(domain, tf.int32)
        domain = tf.where((domain >= 0) & (domain < num_domains), domain, 0)
        self.num_domains = num_domains
        self.single_domain = domain.shape.rank == 0
        if self.single_domain:
            self.domain, self.present_domains, self.segments = domain, domain[None], None
            return
        if domain.shape.rank != 1:
            raise ValueError(f'domain must be a scalar or [batch], not {domain.shape}')
        self._order = _sorted_order(domain, num_domains)
        self.domain = tf.gather(domain, self._order)
        present, self.segments, counts = tf.unique_with_counts(self.domain)
        # A batch without rows has one present domain nevertheless, to gather weights of.
        empty = [[0, tf.cast(tf.size(present) == 0, tf.int32)]]
        self.present_domains, self._counts = tf.pad(present, empty), tf.pad(counts, empty)
        self._indicator = DomainIndicator(self.segments, tf.size(self.present_domains))

    def sort(self, values: tf.Tensor) -> tf.Tensor:
        """Sorts rows [batch, ...] by domain."""
        return values if self.single_domain else tf.gather(values, self._order)

    def unsort(self, values: tf.Tensor) -> tf.Tensor:
        """Restores the batch's own order of sorted rows [batch, ...]."""
        if self.single_domain:
            return values
        return tf.gather(values, tf.math.invert_permutation(self._order))

    def gather(self, variable: tf.Variable) -> tf.Tensor:
        """Gathers the present domains' rows: [num_domains, ...] -> [present, ...].

        The gradient is an `IndexedSlices`, so no other domain's row is updated.
        """
        return tf.gather(variable, self.present_domains)

    def broadcast(self, values: tf.Tensor) -> tf.Tensor:
        """Gives each row its domain's value: [present, ...] -> [batch, ...].

        For a batch of one domain the result is [1, ...], which broadcasts.
        """
        return values if self.single_domain else self._indicator.broadcast(values)

    def counts(self, values: tf.Tensor) -> tf.Tensor:
        """Number of rows of each present domain, int32 [present], in `values` [batch, ...]."""
        return tf.shape(values)[:1] if self.single_domain else self._counts

    def sum(self, values: tf.Tensor) -> tf.Tensor:
        """Sums each present domain's sorted rows: [batch, units] -> [present, units]."""
        if self.single_domain:
            return column_sums(values)
        return self._indicator.sum(values)

    def dense(
        self,
        values: tf.Tensor,
        weights: tf.Tensor,
        bias: tf.Tensor | None = None,
        factor: tf.Tensor | None = None,
        *,
        training: bool = True,
    ) -> tf.Tensor:
        """Applies to each row the dense layer of its domain.

        Args:
            values: Sorted rows, [batch, inputs].
            weights: Kernels of the present domains, [present, inputs, units].
            bias: Biases of the present domains, [present, units]; none if absent.
            factor: Matrix by whose entries the kernels are multiplied, [inputs, units]; ones if
                absent.
            training: Whether gradients are computed.

        Returns:
            Outputs of the sorted rows, [batch, units].
        """
        fused = not self.single_domain and weights.shape[2] > 1
        if factor is not None and not fused:
            weights = weights * factor
        if self.single_domain:
            outputs = tf.matmul(values, weights[0])
            return outputs if bias is None else tf.nn.bias_add(outputs, bias[0])
        if not fused:  # a kernel is no larger than a row
            products = values * self.broadcast(weights[:, :, 0])
            outputs = tf.reduce_sum(products, axis=1, keepdims=True)
        else:
            outputs = self._products(values, weights, factor, training)
        return outputs if bias is None else outputs + self.broadcast(bias)

    def _products(
        self, values: tf.Tensor, weights: tf.Tensor, factor: tf.Tensor | None, training: bool
    ) -> tf.Tensor:
        """Products of the sorted rows with their domains' kernels."""
        return choose_dispatch(
            lambda: dispatch(
                values, weights if factor is None else weights * factor, self.segments
            ),
            lambda: grouped_matmul(values, weights, self._counts, self.num_domains, factor),
            tf.shape(values)[0],
            tf.size(self.present_domains),
            training,
        )


def _sorted_order(domain: tf.Tensor, num_domains: int) -> tf.Tensor:
    """Order that sorts rows by domain and, if there are many, domains by size.

    Then a chunk of a grouped product has domains of similar size, and little padding.
    """
    if num_domains <= UNROLLED_GROUPS:
        return tf.argsort(domain, stable=True)
    sizes = tf.gather(tf.math.bincount(domain, minlength=num_domains), domain)
    by_domain = tf.argsort(domain, stable=True)
    by_size = tf.argsort(-tf.gather(sizes, by_domain), stable=True)
    return tf.gather(by_domain, by_size)
