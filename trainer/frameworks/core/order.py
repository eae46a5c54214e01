"""Orders in which frameworks visit domains and their batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from trainer.data.batching import Batch
from trainer.data.examples import Examples

# Keys of the random generators, different from those of the readers.
_DOMAINS, _HELPERS, _GROUPS, _STREAMS = range(100, 104)


def random_generator(seed: int, *key: int) -> np.random.Generator:
    """Returns a random generator that is independent of those of other keys.

    Args:
        seed: Random seed of the run.
        key: Integers that identify the generator.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *key])))


def domain_order(examples: Examples, seed: int, epoch: int, *key: int) -> list[int]:
    """Returns the domains that have training rows, in random order.

    Args:
        examples: Training split.
        seed: Random seed of the run.
        epoch: Number of the epoch.
        key: Integers that distinguish several orders of one epoch.
    """
    return random_generator(seed, _DOMAINS, epoch, *key).permutation(examples.domains).tolist()


def helper_domains(
    examples: Examples, target: int, count: int, seed: int, epoch: int
) -> list[int]:
    """Samples different helper domains of a target (MAMDR, algorithm 2, line 1).

    Args:
        examples: Training split.
        target: Id of the target domain, which is not sampled.
        count: Number of helper domains.
        seed: Random seed of the run.
        epoch: Number of the epoch.
    """
    others = [domain for domain in examples.domains if domain != target]
    return (
        random_generator(seed, _HELPERS, epoch, target)
        .choice(others, count, replace=False)
        .tolist()
    )


def num_domain_batches(examples: Examples, domain: int, size: int) -> int:
    """Returns the number of batches of a pass over a domain's rows.

    Args:
        examples: Training split.
        domain: Id of the domain.
        size: Maximum rows of a batch.
    """
    return -(-examples.count(domain) // size)


def domain_by_domain(
    examples: Examples, order: list[int], epoch: int, size: int, seed: int, start: int = 0
) -> Iterator[Batch]:
    """Yields the batches of a pass over each domain, one domain after another.

    Args:
        examples: Training split.
        order: Ids of the domains, in order.
        epoch: Number of the epoch.
        size: Maximum rows of a batch.
        seed: Random seed of the shuffling.
        start: Number of batches to skip.
    """
    for domain in order:
        count = num_domain_batches(examples, domain, size)
        if start < count:
            yield from examples.domain_epoch(domain, epoch, size, seed, start)
        start = max(0, start - count)


def domain_groups(
    examples: Examples, epoch: int, size: int, seed: int, width: int
) -> list[list[int]]:
    """Groups the batches of an epoch by steps, each with batches of different domains.

    Every batch is used once. A domain's batches are spread evenly over the epoch, so that the
    domains of a group are roughly in proportion to their sizes. A domain that is already in the
    current group starts the next one.

    Args:
        examples: Training split.
        epoch: Number of the epoch.
        size: Maximum rows of a batch.
        seed: Random seed of the grouping.
        width: Maximum number of domains in a group.

    Returns:
        The domain of each batch of each group.
    """
    generator = random_generator(seed, _GROUPS, epoch)
    times, domains = [], []
    for domain in examples.domains:
        count = num_domain_batches(examples, domain, size)
        times.append((np.arange(count) + generator.random(count)) / count)
        domains.append(np.full(count, domain))
    order = np.concatenate(domains)[np.argsort(np.concatenate(times), kind='stable')]
    groups: list[list[int]] = [[]]
    for domain in order.tolist():
        if len(groups[-1]) == width or domain in groups[-1]:
            groups.append([])
        groups[-1].append(domain)
    return groups


class DomainStreams:
    """Endless streams of shuffled batches, one stream per domain, for one epoch.

    The first pass over a domain is the epoch's own, as `Examples.domain_epoch` shuffles it;
    later passes are shuffled differently.

    Args:
        examples: Training split.
        epoch: Number of the epoch.
        size: Maximum rows of a batch.
        seed: Random seed of the shuffling.
    """

    def __init__(self, examples: Examples, epoch: int, size: int, seed: int):
        self._examples, self._epoch, self._size, self._seed = examples, epoch, size, seed
        self._taken: dict[int, int] = {}
        self._passes: dict[int, Iterator[Batch]] = {}

    def skip(self, domain: int, count: int = 1) -> None:
        """Skips batches of a domain, before any is taken.

        Args:
            domain: Id of the domain.
            count: Number of batches.
        """
        self._taken[domain] = self._taken.get(domain, 0) + count

    def take(self, domain: int) -> Batch:
        """Returns the next batch of a domain."""
        taken = self._taken.get(domain, 0)
        number, position = divmod(taken, num_domain_batches(self._examples, domain, self._size))
        if position == 0 or domain not in self._passes:
            self._passes[domain] = self._examples.domain_epoch(
                domain, self._epoch, self._size, pass_seed(self._seed, number), position
            )
        self._taken[domain] = taken + 1
        return next(self._passes[domain])


def pass_seed(seed: int, number: int) -> int:
    """Returns the random seed by which a stream shuffles a pass.

    Args:
        seed: Random seed of the run, which is that of the first pass.
        number: Number of the pass, from 0.
    """
    if number == 0:
        return seed
    return int(random_generator(seed, _STREAMS, number).integers(1 << 31))
