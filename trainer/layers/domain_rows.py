"""Which rows of a batch belong to which domain, sorted out once for all layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from trainer.keras import tf
from trainer.row_gradients import SomeRowsOf

_UNROLLED = 33


class DomainRows:
    """The rows of one batch, grouped by domain.

    A layer is written once for both kinds of batch, in three moves: `take` the present
    domains' rows of its variables, compute with one value a present domain, and `dense` or
    `spread` them over the batch's rows. No row is computed with another domain's weights.

    * One domain (`domain` is a scalar): a single present domain; `dense` is one plain matrix
      product and `spread` a broadcast.
    * Mixed (`domain` is a vector): the rows must first be put in order with `sort`; each
      domain's rows are then a slice, and `dense` does one matrix product a slice.

    Ids outside [0, num_domains) are the unseen domain, 0.

    Attributes:
        single: whether the whole batch is of one domain.
        domain: the rows' domain ids in sorted order, int32 [batch]; [] when `single`.
        present: the domains that have rows, ascending, int32 [present].
        segments: each sorted row's index into `present`, int32 [batch]; None when `single`.
    """

    def __init__(self, domain: tf.Tensor, num_domains: int):
        domain = tf.cast(domain, tf.int32)
        domain = tf.where((domain >= 0) & (domain < num_domains), domain, 0)
        self.num_domains = num_domains
        self.single = domain.shape.rank == 0
        if self.single:
            self.domain, self.present, self.segments = domain, domain[None], None
            return
        if domain.shape.rank != 1:
            raise ValueError(f'domain must be a scalar or [batch], not {domain.shape}')
        self._order = tf.argsort(domain, stable=True)
        self.domain = tf.gather(domain, self._order)
        present, self.segments, counts = tf.unique_with_counts(self.domain)
        # A batch of no rows has a present domain all the same, so that weights can be taken.
        empty = [[0, tf.cast(tf.size(present) == 0, tf.int32)]]
        self.present, self._counts = tf.pad(present, empty), tf.pad(counts, empty)
        self._ends = tf.cumsum(self._counts)
        self._starts = self._ends - self._counts

    def sort(self, rows: tf.Tensor) -> tf.Tensor:
        """Rows [batch, ...] of the batch's own order in the order of their domains."""
        return rows if self.single else tf.gather(rows, self._order)

    def unsort(self, rows: tf.Tensor) -> tf.Tensor:
        """What `sort` did, undone."""
        if self.single:
            return rows
        return tf.gather(rows, tf.math.invert_permutation(self._order))

    def take(self, variable: tf.Variable) -> tf.Tensor:
        """The present domains' rows of a variable: [num_domains, ...] -> [present, ...].

        The gradient is an `IndexedSlices`, so no other domain's row is ever touched.
        """
        return tf.gather(variable, self.present)

    def spread(self, values: tf.Tensor) -> tf.Tensor:
        """A value a present domain to every row: [present, ...] -> [batch, ...].

        For a batch of one domain it stays [1, ...], which broadcasts.
        """
        return values if self.single else tf.gather(values, self.segments)

    def counts(self, rows: tf.Tensor) -> tf.Tensor:
        """How many rows each present domain has, int32 [present]."""
        return tf.shape(rows)[:1] if self.single else self._counts

    def sum(self, rows: tf.Tensor) -> tf.Tensor:
        """Each present domain's sum: sorted rows [batch, units] -> [present, units]."""
        if self.single:
            return column_sums(rows)
        sums = tf.math.segment_sum(rows, self.segments)  # of no rows, without the domain there
        return tf.pad(sums, [[0, tf.size(self.present) - tf.shape(sums)[0]], [0, 0]])

    def dense(self, rows: tf.Tensor, weights: tf.Tensor, bias: tf.Tensor | None = None
              ) -> tf.Tensor:
        """Every row through its own domain's dense layer.

        Args:
            rows: sorted rows [batch, inputs].
            weights: of the present domains, [present, inputs, units].
            bias: [present, units].

        Returns:
            [batch, units].
        """
        if bias is None:
            bias = tf.zeros([tf.shape(weights)[0], weights.shape[2]], weights.dtype)
        if not self.single and weights.shape[2] == 1:
            # No larger than a row, and can be spread.
            products = rows * self.spread(weights[:, :, 0])
            return tf.reduce_sum(products, axis=1, keepdims=True) + self.spread(bias)
        if not self.single and self.num_domains <= _UNROLLED:
            return _dense_unrolled(rows, self, weights, bias, _of_present(self))
        if self.single:
            return _dense_of_one(rows, weights[0], bias)
        return _dense_by_slice(rows, weights, bias, self._starts, self._ends)

    def dense_of(self, rows: tf.Tensor, variable: tf.Variable, bias: tf.Tensor,
                 shared: tf.Tensor | None = None) -> tf.Tensor:
        """`dense` by the present domains' rows of a variable.

        Where most domains are present their weights are neither copied out of the variable nor
        the gradient into another one for the optimizer: going over the memory of all domains'
        weights costs as much as the products with them.

        Args:
            rows: sorted rows [batch, inputs].
            variable: weights [num_domains, inputs, units].
            bias: of the present domains, [present, units].
            shared: [inputs, units], by which every domain's weights are multiplied, entry by
                entry.
        """
        if (self.single or self.num_domains > _UNROLLED or variable.shape[2] == 1
                or not isinstance(variable, tf.Variable) or variable.dtype != rows.dtype):
            weights = tf.cast(self.take(variable), rows.dtype)
            return self.dense(rows, _times(weights, shared), bias)
        weights = _with_some_rows(variable.read_value(), self.present)
        return _dense_unrolled(rows, self, _times(weights, shared), bias, _of_all(self))


def column_sums(rows: tf.Tensor) -> tf.Tensor:
    """[batch, units] -> [1, units], as a matrix product: several times `reduce_sum`'s speed."""
    return tf.matmul(tf.ones([1, tf.shape(rows)[0]], rows.dtype), rows)


@tf.custom_gradient
def _dense_of_one(rows, weights, bias):
    def gradient(upstream):
        upstream = tf.convert_to_tensor(upstream)
        return (tf.matmul(upstream, weights, transpose_b=True),
                tf.matmul(rows, upstream, transpose_a=True), column_sums(upstream))
    return tf.nn.bias_add(tf.matmul(rows, weights), bias[0]), gradient


def _times(weights: tf.Tensor, shared: tf.Tensor | None) -> tf.Tensor:
    @tf.custom_gradient
    def product(weights, shared):
        def gradient(upstream):
            by_shared = tf.reshape(upstream * weights, [-1, shared.shape.num_elements()])
            return upstream * shared, tf.reshape(column_sums(by_shared), shared.shape)
        return weights * shared, gradient
    # A variable is converted first: mixed precision casts what is read of it.
    return weights if shared is None else product(weights, tf.convert_to_tensor(shared))


@tf.custom_gradient
def _with_some_rows(values, present):
    """The values of a variable, whose gradient is one of the present domains' rows."""
    return tf.identity(values), lambda upstream: (SomeRowsOf(upstream, present), None)


class _Slots(NamedTuple):
    """The pieces of sorted rows that an unrolled product is made of.

    Attributes:
        counts: rows of each piece, int32 [slots]; some are of none.
        weights: each piece's place among the weights.
        bias: each piece's place among the present domains, int32 [slots].
        gradient: of the weights, of the pieces' gradients [slots, inputs, units].
    """

    counts: tf.Tensor
    weights: Sequence[tf.Tensor | int]
    bias: tf.Tensor
    gradient: Callable[[tf.Tensor], tf.Tensor]


def _of_present(rows: DomainRows) -> _Slots:
    """A piece for each present domain; the pieces after theirs are of no rows."""
    present, slots = tf.size(rows.present), rows.num_domains
    counts = tf.pad(rows.counts(rows.present), [[0, slots - present]])
    places = tf.minimum(tf.range(slots), present - 1)
    return _Slots(counts, tf.unstack(places, slots), places, lambda made: made[:present])


def _of_all(rows: DomainRows) -> _Slots:
    """A piece for each domain; those of domains that are not present are of no rows."""
    present, slots = rows.present, rows.num_domains
    counts = tf.scatter_nd(present[:, None], rows.counts(present), [slots])
    places = tf.scatter_nd(present[:, None], tf.range(tf.size(present)), [slots])
    return _Slots(counts, range(slots), places, lambda made: made)


def _dense_unrolled(rows, domains, weights, bias, slots):
    """One product a slot."""
    count = len(slots.weights)

    def pieces_of(rows):
        return tf.split(rows, slots.counts, num=count)

    @tf.custom_gradient
    def product(rows, weights, bias):
        kernels = [weights[place] for place in slots.weights]
        biases = tf.unstack(tf.gather(bias, slots.bias), count)

        def gradient(upstream):
            upstream = tf.convert_to_tensor(upstream)
            back = pieces_of(upstream)
            by_row = tf.concat([tf.matmul(piece, kernel, transpose_b=True) for piece, kernel
                                in zip(back, kernels, strict=True)], axis=0)
            by_weight = tf.stack([tf.matmul(piece, of_piece, transpose_a=True)
                                  for piece, of_piece in zip(pieces_of(rows), back,
                                                             strict=True)])
            return by_row, slots.gradient(by_weight), domains.sum(upstream)
        return tf.concat([tf.nn.bias_add(tf.matmul(piece, kernel), of_piece)
                          for piece, kernel, of_piece in zip(
                              pieces_of(rows), kernels, biases, strict=True)],
                         axis=0), gradient
    return product(rows, weights, bias)


def _dense_by_slice(rows, weights, bias, starts, ends):
    """A loop over the slices, forward and backward.

    Measured against blocks of equal size through one batched product (2048 rows, 20 domains,
    256 x 256): the loop takes 0.7 of the time, since it neither pads nor copies weights.
    """
    size = tf.shape(starts)[0]
    inputs, units = weights.shape[1:]

    def loop(step, shapes):
        arrays = [tf.TensorArray(rows.dtype, size=size, infer_shape=False, element_shape=shape)
                  for shape in shapes]

        def body(i, *arrays):
            values = step(i, starts[i], ends[i])
            return (i + 1, *(array.write(i, value)
                             for array, value in zip(arrays, values, strict=True)))
        return tf.while_loop(lambda i, *_: i < size, body, (0, *arrays),
                             parallel_iterations=4)[1:]

    @tf.custom_gradient
    def product(rows, weights, bias):
        outputs, = loop(
            lambda i, start, end: [tf.matmul(rows[start:end], weights[i]) + bias[i]],
            [[None, units]])

        def gradient(upstream):
            upstream = tf.convert_to_tensor(upstream)  # that of a gather is sparse
            by_row, by_weight, by_bias = loop(
                lambda i, start, end: [
                    tf.matmul(upstream[start:end], weights[i], transpose_b=True),
                    tf.matmul(rows[start:end], upstream[start:end], transpose_a=True),
                    tf.reduce_sum(upstream[start:end], axis=0)],
                [[None, inputs], [inputs, units], [units]])
            return by_row.concat(), by_weight.stack(), by_bias.stack()
        return tf.ensure_shape(outputs.concat(), [None, units]), gradient
    return product(rows, weights, bias)
