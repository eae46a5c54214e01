"""Measures the sparse and the dense path of every operation that has both.

    python -m tests.benchmarks.sparse [--rounds 20] [--operation dispatch]

`trainer.layers.sparse.paths` chooses between the paths by these figures. First operations that
depend on the share of zeros: the mean embedding of a sequence of which a share is padding, and
the product of rows of which a share of the entries is pruned (256 to 256 units). Then those
that depend on the number of domains: sums by domain, values of each row's domain, and the
dispatch of rows to their domains' kernels, with sorting where a path needs it. The two paths
are timed in turn. A figure is the dense path's shortest time divided by the sparse
path's: above 1.00, the sparse one is faster. The shortest time is the one that other work on
the machine affects least.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable

import numpy as np

from trainer.keras import tf
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.sparse.domain_indicator import DomainIndicator
from trainer.layers.sparse.paths import forced_path
from trainer.layers.sparse.pooling import mean_embedding
from trainer.layers.sparse.pruned_product import pruned_product

SPARSITIES = (0.0, 0.2, 0.5, 0.8, 0.95)
BATCHES = (1, 32, 256, 1024, 4096)
DOMAINS = (1, 20, 250, 1000)
VOCABULARY, LENGTH, DIM, UNITS = 10_000, 20, 16, 256
KERNELS = ((256, 256), (256, 128), (128, 64))
TABLE = tf.Variable(tf.random.stateless_normal([VOCABULARY + 1, DIM], [0, 0]))


def traced(compute: Callable, sparse: bool, training: bool) -> Callable:
    """The graph of one path: of the outputs, or in training also of the gradients of the first
    argument, a tensor, a variable or a tuple of them."""

    @tf.function(autograph=False, reduce_retracing=True)
    def run(values, *others):
        with forced_path(sparse), tf.GradientTape() as tape:
            tape.watch(values)
            outputs = compute(values, *others)
            loss = tf.reduce_sum(tf.square(outputs))
        if not training:
            return outputs
        return tape.gradient(loss, values)

    return run


def wait_for(outputs) -> None:
    """Waits for a computation by its first output."""
    tf.nest.flatten(outputs, expand_composites=True)[0].numpy()


def ratios(compute: Callable, cells: list[tuple], training: bool, rounds: int) -> list[float]:
    """The dense path's time divided by the sparse path's, for each cell of arguments."""
    paths = {sparse: traced(compute, sparse, training) for sparse in (True, False)}
    found = []
    for arguments in cells:
        times: dict[bool, list[float]] = {True: [], False: []}
        for turn in range(rounds + 2):
            for sparse, path in paths.items():
                start = time.perf_counter()
                wait_for(path(*arguments))
                if turn > 1:
                    times[sparse].append(time.perf_counter() - start)
        found.append(min(times[False]) / min(times[True]))
    return found


def pooling(sparsity: float, batch: int) -> tuple:
    rng = np.random.default_rng(0)
    ids = np.minimum(rng.zipf(1.2, (batch, LENGTH)), VOCABULARY - 1)
    there = np.arange(LENGTH) < rng.binomial(LENGTH, 1 - sparsity, (batch, 1))
    return TABLE, tf.constant(np.where(there, ids, VOCABULARY), tf.int32)


def mean(table: tf.Variable, rows: tf.Tensor) -> tf.Tensor:
    return mean_embedding(
        table, rows, rows < VOCABULARY, VOCABULARY, tf.gather(table, rows), training=True
    )


def pruned(sparsity: float, batch: int) -> tuple:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(batch, UNITS)) * (rng.random((batch, UNITS)) >= sparsity)
    return tf.constant(rows, tf.float32), tf.constant(rng.normal(size=[UNITS] * 2), tf.float32)


def segments_of(domains: int, batch: int) -> np.ndarray:
    domain = np.random.default_rng(0).integers(0, domains, batch)
    return np.sort(np.unique(domain, return_inverse=True)[1])


def rows_of_domains(domains: int, batch: int) -> tuple:
    segments = segments_of(domains, batch)
    rows = np.random.default_rng(1).normal(size=(batch, UNITS))
    return tf.constant(rows, tf.float32), tf.constant(segments, tf.int32)


def values_of_domains(domains: int, batch: int) -> tuple:
    segments = segments_of(domains, batch)
    values = np.random.default_rng(1).normal(size=(segments.max() + 1, UNITS))
    return tf.constant(values, tf.float32), tf.constant(segments, tf.int32)


def sums(rows: tf.Tensor, segments: tf.Tensor) -> tf.Tensor:
    return DomainIndicator(segments, tf.reduce_max(segments) + 1).sum(rows)


def broadcast(values: tf.Tensor, segments: tf.Tensor) -> tf.Tensor:
    return DomainIndicator(segments, tf.shape(values)[0]).broadcast(values)


def rows_and_kernels(inputs: int, units: int) -> Callable[..., tuple]:
    """Makes cells of rows, the kernels of all domains, and domain ids."""

    @functools.cache
    def kernels(domains: int) -> tf.Tensor:
        return tf.random.stateless_normal([domains, inputs, units], [0, 0])

    def make(domains: int, batch: int) -> tuple:
        rows = tf.random.stateless_normal([batch, inputs], [0, 1])
        domain = np.random.default_rng(0).integers(0, domains, batch)
        return (rows, kernels(domains)), tf.constant(domain, tf.int32)

    return make


def dispatched(rows_and_kernels: tuple[tf.Tensor, tf.Tensor], domain: tf.Tensor) -> tf.Tensor:
    rows, kernels = rows_and_kernels
    domains = DomainBatch(domain, kernels.shape[0])
    return domains.unsort(domains.dense(domains.sort(rows), domains.gather(kernels)))


def print_table(
    title: str,
    compute: Callable,
    make: Callable[..., tuple],
    labels: dict[str, float],
    training: bool,
    rounds: int,
) -> None:
    print(f'{title:44}' + ''.join(f'{f"batch {batch:,}":>13}' for batch in BATCHES))
    for label, parameter in labels.items():
        cells = [make(parameter, batch) for batch in BATCHES]
        found = ratios(compute, cells, training, rounds)
        print(f'{label:44}' + ''.join(f'{each:13.2f}' for each in found), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=20)
    parser.add_argument('--operation', default='', help='start of the titles to be measured')
    arguments = parser.parse_args()
    shares = {f'  {sparsity:.0%} zeros': sparsity for sparsity in SPARSITIES}
    counts = {f'  {domains:,} domains': domains for domains in DOMAINS}
    for title, compute, make, labels in (
        ('mean embedding', mean, pooling, shares),
        ('product of pruned rows', pruned_product, pruned, shares),
        ('sums by domain', sums, rows_of_domains, counts),
        ("values of each row's domain", broadcast, values_of_domains, counts),
        *(
            (
                f'dispatch, {inputs} to {units}',
                dispatched,
                rows_and_kernels(inputs, units),
                counts,
            )
            for inputs, units in KERNELS
        ),
    ):
        if not title.startswith(arguments.operation):
            continue
        for training in (False, True):
            kind = 'with gradients' if training else 'outputs alone'
            print_table(f'{title}, {kind}', compute, make, labels, training, arguments.rounds)


if __name__ == '__main__':
    main()
