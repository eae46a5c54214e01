"""Examples of splits as batches of one domain or of all, shuffled by seed and epoch."""

from __future__ import annotations

import bisect
import itertools
import os
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np
import pyarrow.parquet

from beam_jobs.dataset import Feature, Manifest, read_manifest, split_directory
from beam_jobs.errors import UserError
from trainer.keras import tf
from trainer.tfrecords import (
    Columns,
    Records,
    bytes_per_row,
    decode,
    decode_parts,
    grouped,
    read_records,
)

# Rows decoded at once: enough for NumPy, few enough for the cache. Threads would take turns.
_PIECE = 4096
_SIDE_BY_SIDE = 4  # ranges that a streamed chunk mixes
_IN_TURN = 256  # rows of each of them
_SHUFFLE_ROWS, _SHUFFLE_BATCHES, _SHUFFLE_RANGES, _SHUFFLE_MIXED = range(4)

Batch = dict[str, Any]
_Block = TypeVar('_Block', Records, Columns)


class Range(NamedTuple):
    """Rows of one domain that stand side by side in a file."""

    path: str
    offset: int
    bytes: int
    examples: int


class Examples:
    """The examples of one split, or of several as if they were one.

    A batch is a dictionary of arrays: every feature's ids, int32 [batch] or [batch, length]
    padded with -1; `domain`, int32, a scalar for a batch of one domain and else [batch];
    `click`, float32 [batch]; `user_key`, int64 [batch].

    What fits `memory` bytes is decoded once and kept; of a greater split each domain streams
    through a bounded chunk that is shuffled as a whole. Either way a batch depends only on the
    arguments, so that `start` continues an epoch without repeating a row.

    Args:
        dataset: the dataset's directory.
        split: the split's name, or several names.
        exclude: features that are not wanted.
        domains: the names of the domains whose rows are wanted; absent, every row is.
        memory: bytes that decoded rows may take.

    Attributes:
        manifest: of the dataset.
        split: the name, or for several what to call them in a sentence.
        splits: the names.
        features: that batches hold.
        domains: the ids that have rows, ascending.

    Raises:
        UserError: no such dataset, split or domain, a split named twice, or a damaged file
            (when it is read).
    """

    def __init__(self, dataset: str, split: str | Sequence[str], exclude: Iterable[str] = (),
                 domains: Iterable[str] | None = None, memory: int = 2 << 30):
        self.manifest: Manifest = read_manifest(dataset)
        self.splits = _checked_splits(dataset, self.manifest, split)
        self.split = _called(self.splits)
        self._dataset = dataset
        self._wanted = None if domains is None else _domain_ids(dataset, self.manifest, domains)
        exclude = set(exclude)
        self.features: list[Feature] = [feature for feature in self.manifest.features
                                        if feature.name not in exclude]
        self._ranges: dict[int, list[Range]] = {}
        for name in self.splits:
            for domain, ranges in self.ranges(name).items():
                self._ranges.setdefault(domain, []).extend(ranges)
        self.domains = sorted(self._ranges)
        self._counts = {domain: sum(each.examples for each in ranges)
                        for domain, ranges in self._ranges.items()}
        self._row_bytes = bytes_per_row(self.features)
        self._budget = memory
        self.in_memory = len(self) * self._row_bytes <= memory
        self._columns: dict[int, Columns] = {}
        self._all: Columns | None = None
        self._singles = [feature.name for feature in self.features
                         if feature.kind != 'sequence']

    def __len__(self) -> int:
        return sum(self._counts.values())

    def count(self, domain: int) -> int:
        """Rows of a domain."""
        return self._counts.get(domain, 0)

    def ranges(self, split: str) -> dict[int, list[Range]]:
        """Where the rows of one of the splits are, by the id of their domain."""
        found = _read_index(split_directory(self._dataset, split))
        return {domain: ranges for domain, ranges in found.items()
                if self._wanted is None or domain in self._wanted}

    def num_batches(self, size: int, kind: Literal['domain', 'mixed'] = 'domain') -> int:
        """Batches an epoch."""
        if kind == 'mixed':
            return -(-len(self) // size)
        return sum(-(-count // size) for count in self._counts.values())

    def epoch(self, number: int, size: int, kind: Literal['domain', 'mixed'] = 'domain',
              seed: int = 0, start: int = 0) -> Iterator[Batch]:
        """One pass over every row.

        Args:
            number: the epoch's, which with `seed` keys the shuffling.
            size: rows a batch at most; the batches of a domain (or of the split) have alike
                many rows, since a last one of a few would move the model as far as a whole one.
            kind: `domain` for batches of one domain each, in an order in which domains come
                in proportion to their rows (STAR 3.2), or `mixed`.
            seed: of the shuffling.
            start: the first batches to leave out.
        """
        if kind == 'mixed':
            return self._mixed(number, size, seed, start)
        return self._by_domain(number, size, seed, start)

    def domain_epoch(self, domain: int, number: int, size: int, seed: int = 0,
                     start: int = 0) -> Iterator[Batch]:
        """One pass over the rows of one domain, shuffled; arguments as of `epoch`."""
        for rows in self._shuffled(domain, number, size, seed, start):
            yield self.batch(rows, np.int32(domain))

    def in_order(self, size: int) -> Iterator[Batch]:
        """Every row once, domain after domain, as they are in the files, for scoring."""
        for domain in self.domains:
            if self.in_memory:
                pieces = [self._domain(domain)]
            else:
                pieces = self._chunks(self._ranges[domain],
                                      itertools.repeat(max(size, _PIECE)))
            for piece in pieces:
                for first in range(0, len(piece), size):
                    yield self.batch(piece.take(slice(first, first + size)),
                                      np.int32(domain))

    def _by_domain(self, number, size, seed, start):
        order = np.repeat(np.array(self.domains, np.int64),
                          [-(-self._counts[domain] // size) for domain in self.domains])
        _generator(seed, number, _SHUFFLE_BATCHES).shuffle(order)
        done = dict(zip(*np.unique(order[:start], return_counts=True), strict=True))
        passes: dict[int, Iterator[Batch]] = {}
        for domain in order[start:].tolist():
            if domain not in passes:
                passes[domain] = self.domain_epoch(domain, number, size, seed,
                                                   int(done.get(domain, 0)))
            yield next(passes[domain])

    def _mixed(self, number, size, seed, start):
        total = len(self)
        if self.in_memory:
            rows, domains = self._everything()
            order = _generator(seed, number, _SHUFFLE_MIXED).permutation(total)
            for first, end in itertools.pairwise(batch_cuts(total, size)[start:]):
                chosen = order[first:end]
                yield self.batch(rows.take(chosen), domains[chosen])
            return
        batches = -(-total // size)
        # Streamed: every batch holds the domains in proportion, to a row, of all the rows.
        counts = np.array([self._counts[domain] for domain in self.domains])

        def upto(batch):
            return counts * min(batch, batches) // batches
        sources = []
        for domain, done in zip(self.domains, upto(start).tolist(), strict=True):
            cuts = batch_cuts(self._counts[domain], size)
            place = bisect.bisect_right(cuts, done) - 1
            sources.append(_Queue(self._shuffled(domain, number, size, seed, place)))
            sources[-1].skip(done - cuts[place])
        for batch in range(start, batches):
            wanted = upto(batch + 1) - upto(batch)
            parts = [(Columns.concatenate(source.next(int(n))), domain) for source, n, domain
                     in zip(sources, wanted, self.domains, strict=True) if n]
            if parts:
                yield self.batch(
                    Columns.concatenate([rows for rows, _ in parts]),
                    np.concatenate([np.full(len(rows), domain, np.int32)
                                    for rows, domain in parts]))

    def _shuffled(self, domain, number, size, seed, start) -> Iterator[Columns]:
        """Batches of a domain's rows, from batch `start` on."""
        if self.in_memory:
            rows = self._domain(domain)
            order = row_order(len(rows), seed, number, domain)
            for first, end in itertools.pairwise(batch_cuts(len(rows), size)[start:]):
                yield rows.take(order[first:end])
            return
        share = self._budget / 2 / self._row_bytes / len(self.domains)
        in_chunk = max(1, int(share // size))
        ranges = list(self._ranges[domain])
        _generator(seed, number, _SHUFFLE_RANGES, domain).shuffle(ranges)
        cuts, skipped = batch_cuts(self._counts[domain], size), start // in_chunk
        chunks = [cuts[first:first + in_chunk + 1]
                  for first in range(skipped * in_chunk, len(cuts) - 1, in_chunk)]
        decoded = self._chunks(ranges, [chunk[-1] - chunk[0] for chunk in chunks],
                               chunks[0][0] if chunks else 0)
        for place, (chunk, rows) in enumerate(zip(chunks, decoded, strict=False), skipped):
            order = row_order(len(rows), seed, number, domain, place)
            for first, end in itertools.pairwise(chunk[max(0, start - place * in_chunk):]):
                yield rows.take(order[first - chunk[0]:end - chunk[0]])

    def _chunks(self, ranges: list[Range], sizes: Iterable[int],
                skip: int = 0) -> Iterator[Columns]:
        """Decodes ranges, several side by side, after `skip` rows, in chunks of so many."""
        records = _Queue(_interleaved([_records_of(each) for each in ranges]))
        records.skip(skip)
        for rows in sizes:
            pieces = []
            while rows and (piece := records.next(min(rows, _PIECE))):
                pieces.append(self._decode(piece))
                rows -= len(pieces[-1])
            if not pieces:
                return
            yield Columns.concatenate(pieces)

    def _decode(self, parts: list[Records]) -> Columns:
        return decode_parts(parts, lambda records: decode(records, self.features))

    def _domain(self, domain: int) -> Columns:
        if domain not in self._columns:
            self._load()
        return self._columns[domain]

    def _load(self) -> None:
        """Decodes the whole split, into one block of columns of which domains are slices."""
        ranges = [each for domain in self.domains for each in self._ranges[domain]]
        self._all = Columns.concatenate([self._decode(blocks) for blocks in grouped(
            itertools.chain.from_iterable(map(_records_of, ranges)), _PIECE // 2)])
        first = 0
        for domain in self.domains:
            self._columns[domain] = self._all.take(slice(first, first + self.count(domain)))
            first += self.count(domain)

    def _everything(self) -> tuple[Columns, np.ndarray]:
        if self._all is None:
            self._load()
        return self._all, np.repeat(np.array(self.domains, np.int32),
                                    [self.count(domain) for domain in self.domains])

    def batch(self, rows: Columns, domain: np.ndarray) -> Batch:
        """The batch of decoded rows, `domain` being a scalar or [rows]."""
        singles = np.ascontiguousarray(rows.singles.T)
        return {**dict(zip(self._singles, singles, strict=True)), **rows.sequences,
                'domain': domain, 'click': rows.click.astype(np.float32),
                'user_key': rows.user_key}


def row_order(rows: int, seed: int, epoch: int, domain: int, *key: int) -> np.ndarray:
    """The order in which an epoch goes through so many rows of a domain; a key tells parts of
    a domain apart that are shuffled by themselves."""
    return _generator(seed, epoch, _SHUFFLE_ROWS, domain, *key).permutation(rows)


def batch_cuts(rows: int, size: int) -> list[int]:
    """Where batches of at most `size` rows, and of alike many, begin, and the end of the last.
    """
    return even_cuts(rows, -(-rows // size))


def even_cuts(rows: int, batches: int) -> list[int]:
    """As `batch_cuts`, of so many batches."""
    return [rows * batch // max(batches, 1) for batch in range(batches + 1)]


def prefetch(batches: Iterable[Batch], depth: int = 4) -> Iterator[dict[str, tf.Tensor]]:
    """Makes batches, as tensors, in a thread that runs `depth` of them ahead.

    An error of the thread is raised here; a consumer that stops early ends the thread.
    """
    ready: queue.Queue = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: Any) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for batch in batches:
                if not put({name: tf.convert_to_tensor(value)
                            for name, value in batch.items()}):
                    return
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, name='prefetch', daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()


class _Queue(Generic[_Block]):
    """Any number of rows at a time from an iterator of blocks."""

    def __init__(self, blocks: Iterator[_Block]):
        self._blocks, self._block = blocks, None

    def next(self, rows: int) -> list[_Block]:
        """So many rows, in as many blocks as they were; fewer at the end."""
        parts = []
        while rows:
            if not self._block and (block := next(self._blocks, None)) is None:
                break
            self._block = self._block or block
            parts.append(self._block.take(slice(0, rows)))
            self._block = self._block.take(slice(rows, None))
            rows -= len(parts[-1])
        return parts

    def skip(self, rows: int) -> None:
        """Leaves so many rows out."""
        while rows and (parts := self.next(min(rows, _PIECE))):
            rows -= sum(map(len, parts))


def _records_of(each: Range) -> Iterator[Records]:
    return (records for _, records in read_records(each.path, each.offset, each.bytes))


def _interleaved(sources: list[Iterator[Records]]) -> Iterator[Records]:
    """Records of several sources side by side, some hundred of each in turn."""
    waiting, active = map(_Queue, sources), []
    while True:
        active += itertools.islice(waiting, _SIDE_BY_SIDE - len(active))
        if not active:
            return
        for source in list(active):
            if not (parts := source.next(_IN_TURN)):
                active.remove(source)
            yield from parts


def _checked_splits(dataset: str, manifest: Manifest,
                    split: str | Sequence[str]) -> tuple[str, ...]:
    splits = (split,) if isinstance(split, str) else tuple(split)
    if not splits:
        raise UserError(f'No split of {dataset} is named: name one of '
                        f'{", ".join(manifest.splits)}.')
    for number, name in enumerate(splits):
        if name not in manifest.splits:
            raise UserError(f'The dataset {dataset} has no split {name}; it has '
                            f'{", ".join(manifest.splits)}.')
        if name in splits[:number]:
            raise UserError(f'The split {name} is named twice: each row is read once.')
    return splits


def _called(splits: tuple[str, ...]) -> str:
    if len(splits) <= 3:
        return ', '.join(splits)
    return f'{splits[0]} to {splits[-1]} ({len(splits)} splits)'


def _domain_ids(dataset: str, manifest: Manifest, names: Iterable[str]) -> set[int]:
    ids = {domain.name: domain.id for domain in manifest.domains}
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in ids:
            raise UserError(f'The dataset {dataset} has no domain {name}; it has '
                            f'{", ".join(ids)}.')
    if not names:
        raise UserError(f'No domain of {dataset} is named: name one of {", ".join(ids)}.')
    return {ids[name] for name in names}


def _read_index(directory: str) -> dict[int, list[Range]]:
    path = os.path.join(directory, 'index.parquet')
    try:
        table = pyarrow.parquet.read_table(path).to_pydict()
    except (OSError, pyarrow.ArrowInvalid):
        raise UserError(f'{path} cannot be read: build the dataset again.') from None
    ranges: dict[int, list[Range]] = {}
    for domain, file, offset, size, examples in zip(
            table['domain'], table['file'], table['offset'], table['bytes'],
            table['examples'], strict=True):
        if examples:
            ranges.setdefault(int(domain), []).append(
                Range(os.path.join(directory, file), offset, size, examples))
    return ranges


def _generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))
