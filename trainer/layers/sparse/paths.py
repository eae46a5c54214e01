"""Choice between `tf.sparse` operations and dense ones: the only place where it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from trainer.keras import tf

Operation = Literal['pooling', 'sum', 'broadcast', 'pruned_product']

_forced: ContextVar[bool | None] = ContextVar('forced path', default=None)


# Share of pruned neurons from which a sparse product is faster than a product with zeros.
SPARSE_FROM = 0.95

# Rows per present domain up to which the sparse dispatch by domain is faster in inference.
DISPATCH_ROWS = 2


def uses_sparse(operation: Operation, *, training: bool = False, sparsity: float = 0.0) -> bool:
    """Whether an operation takes its `tf.sparse` path.

    The choice is that of `python -m tests.benchmarks.sparse` (docs/results/performance.md has
    its figures). Times are of the dense path relative to the sparse one, on two cores:

    * `pooling`, `tf.nn.safe_embedding_lookup_sparse` or a mean over gathered vectors: sparse in
      training, where the dense path also computes gradients of the padding: 0.8 to 0.9 if
      nothing is padding, 0.9 to 2.2 at half, 1.0 to 3.0 at 95 %. Dense in inference, where it
      is faster unless more than half is padding, and a request is padded only to its longest
      row.
    * `sum`, a product with the transposed rows-by-domain matrix, or `tf.math.segment_sum`:
      sparse. Both read each row once: 0.9 to 1.6 at any number of domains.
    * `broadcast`, a product with the rows-by-domain matrix, or `tf.gather`: sparse. 0.9 to 1.1,
      and 0.9 to 1.4 with gradients: that of the sparse product is a sum by domain, that of
      `tf.gather` has a row for every row of the batch.
    * `pruned_product`, `tf.sparse.sparse_dense_matmul` of rows without their pruned entries, or
      a product of rows with zeros: sparse from 95 % of pruned neurons, where it is 0.9 to 2.3;
      at 80 % it is 0.4 to 1.0, because dense products use vector instructions. Layers are
      pruned in this way only in inference; gradients take 2 to 50 times as long.

    Args:
        operation: The operation.
        training: Whether gradients are computed.
        sparsity: Share of zeros, where it is known when the graph is built.
    """
    forced = _forced.get()
    if forced is not None:
        return forced
    return {
        'pooling': training,
        'sum': True,
        'broadcast': True,
        'pruned_product': sparsity >= SPARSE_FROM,
    }[operation]


def choose_dispatch(
    sparse: Callable[[], tf.Tensor],
    dense: Callable[[], tf.Tensor],
    rows: tf.Tensor,
    domains: tf.Tensor,
    training: bool,
) -> tf.Tensor:
    """Products of each row with its domain's matrix, by the faster path for the batch.

    The sparse path, `trainer.layers.sparse.dispatch`, reads a domain's matrix once for each row
    and needs neither sorted rows nor a loop over domains; the dense one, `grouped_matmul`,
    reads it once for each domain, by products of slices or padded groups. In inference with at
    most two rows per present domain, the dense path takes 0.8 to 1.2 times as long as the
    sparse one at 20 domains and 1.0 to 2.3 times at 250 and 1,000; with more rows, 0.1 to 1.2
    times. In training batches have more rows, and a choice at run time would put the gradients
    of both paths into the graph: dense.

    Args:
        sparse: Computes the products by the sparse path.
        dense: Computes the products by the dense path.
        rows: Number of rows, a scalar.
        domains: Number of present domains, a scalar.
        training: Whether gradients are computed.
    """
    forced = _forced.get()
    if forced is not None:
        return sparse() if forced else dense()
    if training:
        return dense()
    return tf.cond(rows <= DISPATCH_ROWS * domains, sparse, dense)


@contextmanager
def forced_path(sparse: bool) -> Iterator[None]:
    """Makes every operation take one path: for tests and benchmarks, and where sparse
    operations are missing: for gradients of gradients, and in XLA.

    Functions that were traced before keep their path.

    Args:
        sparse: Whether the path is the sparse one.
    """
    token = _forced.set(sparse)
    try:
        yield
    finally:
        _forced.reset(token)
