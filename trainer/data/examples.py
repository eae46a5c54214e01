"""The examples of splits as shuffled batches of one domain or of all domains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from mdctr.dataset import Dataset
from mdctr.errors import UserError
from mdctr.manifest import Feature, Manifest
from trainer.data.batching import (
    BATCHES,
    Batch,
    BatchKind,
    MatrixBatch,
    num_batches,
    shuffle_generator,
)
from trainer.data.columns import Columns, bytes_per_row
from trainer.data.example_ranges import DomainRanges, ExampleRange, split_ranges
from trainer.data.in_memory_rows import InMemoryRows
from trainer.data.row_source import RowSource
from trainer.data.streamed_rows import RowQueue, StreamedRows


class Examples:
    """The examples of one split, or of several splits as one.

    A batch is a dictionary of arrays: the ids of each feature, int32 [batch] or, padded with
    -1, [batch, length]; `domain`, int32, a scalar in a batch of one domain, otherwise [batch];
    `click`, float32 [batch]; `user_key`, int64 [batch].

    Splits that fit into `memory` bytes are decoded once and kept (`InMemoryRows`); others are
    read again in every epoch (`StreamedRows`). In both cases a batch depends on the arguments
    only, so that `start` continues an epoch without repeating a row.

    Args:
        dataset: Dataset to read.
        split: Name of the split, or several names.
        exclude: Names of features to leave out.
        domains: Names of the domains to read; all domains if None.
        memory: Maximum size of the decoded rows in memory, in bytes.

    Attributes:
        dataset: Dataset that is read.
        manifest: Its manifest.
        split: Name of the split; for several splits, a phrase for them in messages.
        splits: Names of the splits.
        features: Features that batches have.
        domains: Ids of the domains that have rows, ascending.
        memory: Maximum size of the decoded rows in memory, in bytes.
        in_memory: Whether decoded rows are kept in memory.

    Raises:
        UserError: The dataset has no such split or domain, a split is given twice, or a file is
            damaged (raised when it is read).
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str | Sequence[str],
        exclude: Iterable[str] = (),
        domains: Iterable[str] | None = None,
        memory: int = 2 << 30,
    ):
        self.dataset = dataset
        self.manifest: Manifest = dataset.manifest
        self.splits = _check_splits(dataset, split)
        self.split = _joint_name(self.splits)
        self.memory = memory
        wanted = None if domains is None else _domain_ids(dataset, domains)
        exclude = set(exclude)
        self.features: list[Feature] = [
            feature for feature in self.manifest.features if feature.name not in exclude
        ]
        self._ranges: dict[str, dict[int, list[ExampleRange]]] = {}
        ranges: dict[int, list[ExampleRange]] = {}
        for name in self.splits:
            found = split_ranges(dataset.example_files(name))
            self._ranges[name] = {
                domain: of_domain
                for domain, of_domain in found.items()
                if wanted is None or domain in wanted
            }
            for domain, of_domain in self._ranges[name].items():
                ranges.setdefault(domain, []).extend(of_domain)
        source = DomainRanges(ranges, self.features)
        self.domains = source.domains
        self._counts = {domain: source.count(domain) for domain in self.domains}
        self.in_memory = len(self) * bytes_per_row(self.features) <= memory
        self._rows: RowSource = (
            InMemoryRows.of(source) if self.in_memory else StreamedRows(source, memory)
        )
        self._single_names = [
            feature.name for feature in self.features if feature.kind != 'sequence'
        ]

    def __len__(self) -> int:
        return sum(self._counts.values())

    def count(self, domain: int) -> int:
        """Returns the number of rows of a domain."""
        return self._counts.get(domain, 0)

    def ranges(self, split: str) -> dict[int, list[ExampleRange]]:
        """Returns the file ranges with the rows of one of the splits, by domain id."""
        return self._ranges[split]

    def num_batches(self, size: int, kind: BatchKind = 'domain') -> int:
        """Returns the number of batches of an epoch; arguments as for `epoch`."""
        if kind == 'mixed':
            return num_batches(len(self), size)
        return sum(num_batches(count, size) for count in self._counts.values())

    def epoch(
        self,
        number: int,
        size: int,
        kind: BatchKind = 'domain',
        seed: int = 0,
        start: int = 0,
    ) -> Iterator[Batch]:
        """Yields the batches of one pass over all rows.

        Args:
            number: Number of the epoch, which determines the order together with `seed`.
            size: Maximum rows of a batch. The batches of a domain, or mixed ones, are of nearly
                equal size.
            kind: `domain` for batches of one domain each, in an order in which domains come in
                proportion to their rows (STAR 3.2), or `mixed`.
            seed: Random seed of the order.
            start: Number of batches to skip.
        """
        if kind == 'mixed':
            for rows, domain in self._rows.mixed_batches(number, size, seed, start):
                yield self.batch(rows, domain)
            return
        order = np.repeat(
            np.array(self.domains, np.int64),
            [num_batches(self._counts[domain], size) for domain in self.domains],
        )
        shuffle_generator(seed, number, BATCHES).shuffle(order)
        skipped = dict(zip(*np.unique(order[:start], return_counts=True), strict=True))
        passes: dict[int, Iterator[Batch]] = {}
        for domain in order[start:].tolist():
            if domain not in passes:
                passes[domain] = self.domain_epoch(
                    domain, number, size, seed, int(skipped.get(domain, 0))
                )
            yield next(passes[domain])

    def domain_epoch(
        self, domain: int, number: int, size: int, seed: int = 0, start: int = 0
    ) -> Iterator[Batch]:
        """Yields the batches of a shuffled pass over one domain; arguments as for `epoch`."""
        for rows in self._rows.domain_batches(domain, number, size, seed, start):
            yield self.batch(rows, np.int32(domain))

    def in_order(self, size: int) -> Iterator[Batch]:
        """Yields all rows for scoring, domain by domain, in file order.

        Args:
            size: Maximum rows of a batch.
        """
        for domain in self.domains:
            queue = RowQueue(self._rows.in_order(domain))
            for first in range(0, self._counts[domain], size):
                rows = queue.next(min(size, self._counts[domain] - first))
                yield self.batch(rows, np.int32(domain))

    def batch(self, rows: Columns, domain: np.ndarray | np.integer) -> Batch:
        """Returns decoded rows as a batch.

        Args:
            rows: Decoded rows.
            domain: Domain of the rows, int32, a scalar or [rows].
        """
        others = {
            **rows.sequences,
            'domain': domain,
            'click': rows.click.astype(np.float32),
            'user_key': rows.user_key,
        }
        return MatrixBatch(self._single_names, np.ascontiguousarray(rows.singles.T), others)


def _check_splits(dataset: Dataset, split: str | Sequence[str]) -> tuple[str, ...]:
    known = dataset.manifest.splits
    splits = (split,) if isinstance(split, str) else tuple(split)
    if not splits:
        raise UserError(f'No split of {dataset} is given: give one of {", ".join(known)}.')
    for number, name in enumerate(splits):
        if name not in known:
            raise UserError(
                f'The dataset {dataset} has no split {name}; it has {", ".join(known)}.'
            )
        if name in splits[:number]:
            raise UserError(f'The split {name} is given twice: give each split once.')
    return splits


def _joint_name(splits: tuple[str, ...]) -> str:
    if len(splits) <= 3:
        return ', '.join(splits)
    return f'{splits[0]} to {splits[-1]} ({len(splits)} splits)'


def _domain_ids(dataset: Dataset, names: Iterable[str]) -> set[int]:
    ids = {domain.name: domain.id for domain in dataset.manifest.domains}
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in ids:
            raise UserError(
                f'The dataset {dataset} has no domain {name}; it has {", ".join(ids)}.'
            )
    if not names:
        raise UserError(f'No domain of {dataset} is given: give one of {", ".join(ids)}.')
    return {ids[name] for name in names}
