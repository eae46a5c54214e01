"""Choice between `tf.sparse` operations and dense ones: the only place where it is made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

Operation = Literal['pooling', 'sum', 'broadcast', 'pruned_product']

_forced: ContextVar[bool | None] = ContextVar('forced path', default=None)


# Share of pruned neurons from which a sparse product is faster than a product with zeros.
SPARSE_FROM = 0.95


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
