"""In which order the frameworks go through domains and batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from trainer.examples import Batch, Examples

_DOMAINS, _HELPERS, _GROUPS, _STREAMS = range(100, 104)  # apart from the reader's own draws


def generator(seed: int, *key: int) -> np.random.Generator:
    """A stream of random numbers of its own for each key."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *key])))


def domain_order(examples: Examples, seed: int, epoch: int, *key: int) -> list[int]:
    """The domains that have training rows, in this epoch's order; another one for each key."""
    return generator(seed, _DOMAINS, epoch, *key).permutation(examples.domains).tolist()


def helper_domains(examples: Examples, target: int, count: int, seed: int,
                   epoch: int) -> list[int]:
    """`count` different domains, none of them the target (MAMDR, algorithm 2, line 1)."""
    others = [domain for domain in examples.domains if domain != target]
    return generator(seed, _HELPERS, epoch, target).choice(
        others, count, replace=False).tolist()


def batches_of(examples: Examples, domain: int, size: int) -> int:
    """Batches in a pass over a domain's rows."""
    return -(-examples.count(domain) // size)


def one_after_another(examples: Examples, order: list[int], epoch: int, size: int, seed: int,
                      start: int = 0) -> Iterator[Batch]:
    """A pass over each domain in this order, less the first `start` batches."""
    for domain in order:
        count = batches_of(examples, domain, size)
        if start < count:
            yield from examples.domain_epoch(domain, epoch, size, seed, start)
        start = max(0, start - count)


def groups(examples: Examples, epoch: int, size: int, seed: int,
           width: int) -> list[list[int]]:
    """The domains of an epoch's batches, in groups of up to `width` different ones.

    Every batch comes once. A domain's batches are spread evenly over the epoch, so that a
    group holds the domains about in proportion; a domain that comes again starts the next
    group.
    """
    draws = generator(seed, _GROUPS, epoch)
    times, domains = [], []
    for domain in examples.domains:
        count = batches_of(examples, domain, size)
        times.append((np.arange(count) + draws.random(count)) / count)
        domains.append(np.full(count, domain))
    order = np.concatenate(domains)[np.argsort(np.concatenate(times), kind='stable')]
    made: list[list[int]] = [[]]
    for domain in order.tolist():
        if len(made[-1]) == width or domain in made[-1]:
            made.append([])
        made[-1].append(domain)
    return made


class Streams:
    """An endless shuffled stream of batches of each domain, for one epoch.

    The first pass over a domain is the epoch's own, as `Examples.domain_epoch` shuffles it;
    later passes are shuffled anew.

    Args:
        examples: the training split.
        epoch: the epoch's number.
        size: rows a batch.
        seed: of the shuffling.
    """

    def __init__(self, examples: Examples, epoch: int, size: int, seed: int):
        self._examples, self._epoch, self._size, self._seed = examples, epoch, size, seed
        self._taken: dict[int, int] = {}
        self._open: dict[int, Iterator[Batch]] = {}

    def skip(self, domain: int, count: int = 1) -> None:
        """Leaves out a domain's next batches; before any is taken."""
        self._taken[domain] = self._taken.get(domain, 0) + count

    def take(self, domain: int) -> Batch:
        """The domain's next batch."""
        taken = self._taken.get(domain, 0)
        passes, place = divmod(taken, batches_of(self._examples, domain, self._size))
        if place == 0 or domain not in self._open:
            self._open[domain] = self._examples.domain_epoch(
                domain, self._epoch, self._size, seed_of_pass(self._seed, passes), place)
        self._taken[domain] = taken + 1
        return next(self._open[domain])


def seed_of_pass(seed: int, number: int) -> int:
    """By which the rows of a stream's pass are shuffled; of pass 0, the epoch's own."""
    return seed if number == 0 else int(generator(seed, _STREAMS, number).integers(1 << 31))
