"""The rows that an inner loop reads, as tensors, and how a worker reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mdctr.manifest import Feature
from trainer.data.example_ranges import ExampleRange
from trainer.data.examples import Examples
from trainer.distributed.reading import read_columns
from trainer.keras import tf

CHUNK_ROWS = 1 << 18  # approximate number of rows that a worker decodes at once


class RowRange(NamedTuple):
    """Rows [first, last) of a domain, in the order of the files, split after split."""

    domain: int
    first: int
    last: int


@dataclass
class Chunk:
    """Rows that are decoded together, and the batches that they form.

    Attributes:
        row_ranges: The rows.
        batches: Positions of each batch's rows, counted through the ranges, int64.
        starts_loop: Whether an inner loop of domain regularization starts with this chunk.
        ends_loop: Whether an inner loop of domain regularization ends with it.
        starts_helper: Whether the batches of a helper domain start with it.
        ends_helper: Whether the batches of a helper domain end with it.
    """

    row_ranges: list[RowRange]
    batches: list[np.ndarray]
    starts_loop: bool = False
    ends_loop: bool = False
    starts_helper: bool = False
    ends_helper: bool = False


class PackedChunks(NamedTuple):
    """Chunks as tensors, an argument of the functions that workers run.

    A segment is a number of consecutive rows of one domain in one file.

    Attributes:
        paths: Path of each segment's file, string [segments].
        firsts: Number of each segment's first row in its file, int64 [segments].
        sizes: Number of rows in each segment, int64 [segments].
        domains: Domain of each segment, int32 [segments].
        segments: Bounds of each chunk's segments, int64 [chunks + 1].
        order: Positions of the rows of all batches, int64.
        batch_ends: Bounds of each batch in `order`, int64 [batches + 1].
        factors: Learning-rate factor of each batch, float32 [batches].
        batches: Bounds of each chunk's batches, int64 [chunks + 1].
        flags: `starts_loop`, `ends_loop`, `starts_helper` and `ends_helper` of each chunk,
            bool [chunks, 4].
    """

    paths: tf.Tensor
    firsts: tf.Tensor
    sizes: tf.Tensor
    domains: tf.Tensor
    segments: tf.Tensor
    order: tf.Tensor
    batch_ends: tf.Tensor
    factors: tf.Tensor
    batches: tf.Tensor
    flags: tf.Tensor


SIGNATURE = PackedChunks(
    paths=tf.TensorSpec([None], tf.string),
    firsts=tf.TensorSpec([None], tf.int64),
    sizes=tf.TensorSpec([None], tf.int64),
    domains=tf.TensorSpec([None], tf.int32),
    segments=tf.TensorSpec([None], tf.int64),
    order=tf.TensorSpec([None], tf.int64),
    batch_ends=tf.TensorSpec([None], tf.int64),
    factors=tf.TensorSpec([None], tf.float32),
    batches=tf.TensorSpec([None], tf.int64),
    flags=tf.TensorSpec([None, 4], tf.bool),
)


class _Segment(NamedTuple):
    """Consecutive rows of one domain in one file."""

    path: str
    first: int
    size: int
    domain: int


class ChunkPacker:
    """Packs chunks of a training split, whose rows it locates in the files.

    Args:
        examples: Training split.
    """

    def __init__(self, examples: Examples) -> None:
        self._ranges: dict[int, list[ExampleRange]] = {}
        for split in examples.splits:
            for domain, ranges in examples.ranges(split).items():
                self._ranges.setdefault(domain, []).extend(ranges)

    def pack(self, chunks: Sequence[Chunk], factors: tf.Tensor) -> PackedChunks:
        """Returns chunks as tensors.

        Args:
            chunks: Chunks, none of them without rows or without batches.
            factors: Learning-rate factors of all their batches, float32 [batches].
        """
        segments = [list(self._segments(chunk)) for chunk in chunks]
        flat = [segment for of_chunk in segments for segment in of_chunk]
        batches = [batch for chunk in chunks for batch in chunk.batches]
        flags = [
            (chunk.starts_loop, chunk.ends_loop, chunk.starts_helper, chunk.ends_helper)
            for chunk in chunks
        ]
        return PackedChunks(
            paths=tf.constant([segment.path for segment in flat], tf.string),
            firsts=tf.constant([segment.first for segment in flat], tf.int64),
            sizes=tf.constant([segment.size for segment in flat], tf.int64),
            domains=tf.constant([segment.domain for segment in flat], tf.int32),
            segments=_bounds([len(of_chunk) for of_chunk in segments]),
            order=tf.constant(np.concatenate([np.zeros(0, np.int64), *batches]), tf.int64),
            batch_ends=_bounds([len(batch) for batch in batches]),
            factors=factors,
            batches=_bounds([len(chunk.batches) for chunk in chunks]),
            flags=tf.constant(np.array(flags, bool).reshape(-1, 4)),
        )

    def _segments(self, chunk: Chunk) -> Iterator[_Segment]:
        for domain, first, last in chunk.row_ranges:
            before = 0
            for part in self._ranges[domain]:
                start, stop = max(first - before, 0), min(last - before, part.rows)
                if start < stop:
                    yield _Segment(part.file.path, part.first + start, stop - start, domain)
                before += part.rows


def _bounds(sizes: Sequence[int]) -> tf.Tensor:
    return tf.constant(np.concatenate([[0], np.cumsum(sizes)]), tf.int64)


BatchStep = Callable[[dict[str, tf.Tensor], tf.Tensor, tf.Tensor], tf.Tensor]
"""Function from a batch's features, clicks and learning-rate factor to its mean loss."""

LossAndRows = tuple[tf.Tensor, tf.Tensor]
"""The sum of the rows' losses, a float32 scalar, and the number of rows, an int64 scalar."""


class ChunkReader:
    """Reads chunks in the graph of a function.

    Args:
        features: Features that the model reads.
        mixed: Whether batches hold rows of several domains.
    """

    def __init__(self, features: Sequence[Feature], mixed: bool = False) -> None:
        self._features, self._mixed = list(features), mixed

    def for_each_batch(
        self, packed: PackedChunks, chunk: tf.Tensor, step: BatchStep
    ) -> LossAndRows:
        """Runs a step on every batch of a chunk.

        Args:
            packed: Packed chunks.
            chunk: Number of the chunk, a scalar.
            step: Step to run.
        """
        columns = self._columns(packed, chunk)

        def body(
            batch: tf.Tensor, loss: tf.Tensor, rows: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            order = packed.order[packed.batch_ends[batch] : packed.batch_ends[batch + 1]]
            features = {name: tf.gather(values, order) for name, values in columns.items()}
            click = tf.cast(features.pop('click'), tf.float32)
            if not self._mixed:
                features['domain'] = features['domain'][0]
            count = tf.size(order, tf.int64)
            loss += step(features, click, packed.factors[batch]) * tf.cast(count, tf.float32)
            return batch + 1, loss, rows + count

        stop = packed.batches[chunk + 1]
        _, loss, rows = tf.while_loop(
            lambda batch, *_: batch < stop,
            body,
            [packed.batches[chunk], tf.constant(0.0), tf.constant(0, tf.int64)],
            parallel_iterations=1,
        )
        return loss, rows

    def _columns(self, packed: PackedChunks, chunk: tf.Tensor) -> dict[str, tf.Tensor]:
        """Decodes the rows of a chunk: ids by feature name, `click` and `domain`."""
        segments = slice(packed.segments[chunk], packed.segments[chunk + 1])
        sizes = packed.sizes[segments]
        columns = read_columns(
            packed.paths[segments], packed.firsts[segments], sizes, self._features
        )
        return {**columns, 'domain': tf.repeat(packed.domains[segments], sizes)}


def for_each_chunk(
    packed: PackedChunks, visit: Callable[[tf.Tensor], LossAndRows]
) -> LossAndRows:
    """Visits chunks one after another; returns the sums of what the visits return.

    Args:
        packed: Packed chunks.
        visit: Function of a chunk's number, a scalar.
    """

    def body(
        chunk: tf.Tensor, loss: tf.Tensor, rows: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        chunk_loss, chunk_rows = visit(chunk)
        return chunk + 1, loss + chunk_loss, rows + chunk_rows

    _, loss, rows = tf.while_loop(
        lambda chunk, *_: chunk < tf.shape(packed.batches)[0] - 1,
        body,
        [tf.constant(0), tf.constant(0.0), tf.constant(0, tf.int64)],
        parallel_iterations=1,
    )
    return loss, rows
