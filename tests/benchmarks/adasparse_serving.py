"""Measures at which sparsity and batch size AdaSparse serves faster by skipping pruned neurons.

    python -m tests.benchmarks.adasparse_serving [--rounds 30]

A network of 256 inputs and 256-128-64 units, of which a share of the neurons is pruned. First
with factors for each row (the pruner reads h), one layer: `tf.sparse` products of the
pruned rows against the dense product of rows with zeros. Then with factors for each domain
(`pruner_inputs: domain`), the whole network: dense products over the kept neurons
(`PackedNetwork`) against the masked dense network, for requests of one domain and of twenty.
The variants are timed in turn, and times are medians; above 1.00, skipping is faster.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import numpy as np

from trainer.keras import tf
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.pruning.packed_network import PackedNetwork

SIZES = (256, 256, 128, 64, 1)
SPARSITIES = (0.0, 0.2, 0.3, 0.5, 0.8, 0.95, 0.99)
BATCHES = (1, 32, 256, 2048)
DOMAINS = 20


def speedup(skipping: Callable, dense: Callable, inputs: tuple, rounds: int) -> float:
    """Ratio of the dense variant's median time to that of the variant that skips neurons."""
    times: dict[Callable, list[float]] = {skipping: [], dense: []}
    for one in times:
        np.testing.assert_allclose(one(*inputs), dense(*inputs), atol=1e-3)
    for _ in range(rounds):
        for one, taken in times.items():
            start = time.perf_counter()
            one(*inputs).numpy()
            taken.append(time.perf_counter() - start)
    return statistics.median(times[dense]) / statistics.median(times[skipping])


def by_row(sparsity: float, batch: int, rounds: int) -> float:
    """Measures one layer with pruned neurons that differ by row."""
    rng = np.random.default_rng(0)
    kernel = tf.constant(rng.normal(size=SIZES[:2]), tf.float32)
    factors = (rng.random((batch, SIZES[0])) >= sparsity) * rng.random((batch, SIZES[0]))
    hidden = tf.constant(rng.normal(size=(batch, SIZES[0])), tf.float32)
    spec = [tf.TensorSpec([None, SIZES[0]]), tf.TensorSpec([None, SIZES[0]])]

    @tf.function(input_signature=spec)
    def sparse(hidden, factors):
        return tf.sparse.sparse_dense_matmul(tf.sparse.from_dense(hidden * factors), kernel)

    @tf.function(input_signature=spec)
    def dense(hidden, factors):
        return tf.matmul(hidden * factors, kernel)

    return speedup(sparse, dense, (hidden, tf.constant(factors, tf.float32)), rounds)


def by_domain(sparsity: float, batch: int, mixed: bool, rounds: int) -> float:
    """Measures the whole network with pruned neurons that differ by domain."""
    rng = np.random.default_rng(0)
    kernels = [
        rng.normal(size=(1, *shape)) / np.sqrt(shape[0]) for shape in itertools.pairwise(SIZES)
    ]
    biases = [rng.normal(size=(1, size)) for size in SIZES[1:]]
    # Every domain prunes the same number of neurons, but not the same ones.
    factors = [
        np.stack([rng.permutation(size) >= round(sparsity * size) for _ in range(DOMAINS)])
        * rng.random((DOMAINS, size))
        for size in SIZES[:-1]
    ]
    packed = PackedNetwork(kernels, biases, factors, 'relu')
    tables = [tf.constant(each, tf.float32) for each in factors]
    shared = [
        (tf.constant(kernel[0], tf.float32), tf.constant(bias[0], tf.float32))
        for kernel, bias in zip(kernels, biases, strict=True)
    ]
    spec = [tf.TensorSpec([None, SIZES[0]]), tf.TensorSpec([None], tf.int32)]

    @tf.function(input_signature=spec, autograph=False)
    def skipping(values, domain):
        rows = DomainBatch(domain, DOMAINS)
        return rows.unsort(packed(rows.sort(values), rows))

    @tf.function(input_signature=spec, autograph=False)
    def dense(values, domain):
        rows = DomainBatch(domain, DOMAINS)
        values = rows.sort(values)
        for place, (table, (kernel, bias)) in enumerate(zip(tables, shared, strict=True)):
            values = tf.matmul(values * rows.broadcast(rows.gather(table)), kernel) + bias
            values = tf.nn.relu(values) if place + 1 < len(shared) else values
        return rows.unsort(values)

    domain = rng.integers(0, DOMAINS, batch) if mixed else np.full(batch, 3)
    values = tf.constant(rng.normal(size=(batch, SIZES[0])), tf.float32)
    return speedup(skipping, dense, (values, tf.constant(domain, tf.int32)), rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=30)
    rounds = parser.parse_args().rounds
    tables = (
        ("tf.sparse, a row's own factors", by_row),
        (
            'kept neurons, requests of one domain',
            lambda sparsity, batch, rounds: by_domain(sparsity, batch, False, rounds),
        ),
        (
            f'kept neurons, requests of {DOMAINS} domains',
            lambda sparsity, batch, rounds: by_domain(sparsity, batch, True, rounds),
        ),
    )
    for title, measure in tables:
        print(f'{title:42}' + ''.join(f'{f"batch {batch}":>12}' for batch in BATCHES))
        for sparsity in SPARSITIES:
            found = [measure(sparsity, batch, rounds) for batch in BATCHES]
            cells = ''.join(f'{each:12.2f}' for each in found)
            print(f'{f"  {sparsity:.0%} pruned":42}{cells}', flush=True)


if __name__ == '__main__':
    main()
