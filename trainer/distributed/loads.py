"""Which rows an inner loop reads, told by the chief, and how a worker reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from beam_jobs.dataset import Feature
from trainer.examples import Examples, Range
from trainer.keras import tf

ROWS = 1 << 18  # that a worker decodes at once, about


class Slice(NamedTuple):
    """Rows [first, last) of a domain, as they are in the files, split after split."""

    domain: int
    first: int
    last: int


@dataclass
class Load:
    """Rows that are decoded together, and the batches that are made of them.

    Attributes:
        slices: which rows.
        batches: of each batch the numbers of its rows, counted through the slices, int64.
        begins: whether an inner loop of domain regularization begins with it.
        ends: whether one ends with it.
        helps: whether a helper's batches begin with it.
        helped: whether a helper's batches end with it.
    """

    slices: list[Slice]
    batches: list[np.ndarray]
    begins: bool = False
    ends: bool = False
    helps: bool = False
    helped: bool = False


class Packed(NamedTuple):
    """Loads as tensors: what a function that a worker runs is told.

    Attributes:
        paths, offsets, skips, counts, domains: of each stretch of rows in a file: the file,
            the byte where it begins, records to skip, records to take, their domain.
        stretches: where each load's stretches begin and end, int64 [loads + 1].
        order: the row numbers of all batches.
        ends: where each batch begins and ends in `order`, int64 [batches + 1].
        factors: of each batch: what its step's learning rate is multiplied by, float32.
        batches: where each load's batches begin and end, int64 [loads + 1].
        flags: `begins`, `ends`, `helps` and `helped` of each load, bool [loads, 4].
    """

    paths: tf.Tensor
    offsets: tf.Tensor
    skips: tf.Tensor
    counts: tf.Tensor
    domains: tf.Tensor
    stretches: tf.Tensor
    order: tf.Tensor
    ends: tf.Tensor
    factors: tf.Tensor
    batches: tf.Tensor
    flags: tf.Tensor


SIGNATURE = Packed(
    tf.TensorSpec([None], tf.string), *(tf.TensorSpec([None], tf.int64) for _ in range(3)),
    tf.TensorSpec([None], tf.int32), *(tf.TensorSpec([None], tf.int64) for _ in range(3)),
    tf.TensorSpec([None], tf.float32), tf.TensorSpec([None], tf.int64),
    tf.TensorSpec([None, 4], tf.bool))


@dataclass
class Files:
    """Where a training split's rows are.

    Args:
        examples: the split.
    """

    examples: Examples
    _ranges: dict[int, list[Range]] = field(default_factory=dict)

    def __post_init__(self):
        for split in self.examples.splits:
            for domain, ranges in self.examples.ranges(split).items():
                self._ranges.setdefault(domain, []).extend(ranges)

    def pack(self, loads: Sequence[Load], factors: tf.Tensor) -> Packed:
        """Loads as tensors; none of them without rows or batches.

        Args:
            loads: to be packed.
            factors: of all their batches, as `Packed` has them.
        """
        stretches = [list(self._stretches(load)) for load in loads]
        flat = [each for of_load in stretches for each in of_load]
        columns = list(zip(*flat, strict=True)) if flat else [()] * 5
        batches = [batch for load in loads for batch in load.batches]
        numbers = [np.array(column, np.int64) for column in columns[1:4]]
        return Packed(
            tf.constant(columns[0], tf.string), *map(tf.constant, numbers),
            tf.constant(columns[4], tf.int32), _splits([len(each) for each in stretches]),
            tf.constant(np.concatenate([np.zeros(0, np.int64), *batches]), tf.int64),
            _splits([len(batch) for batch in batches]), factors,
            _splits([len(load.batches) for load in loads]),
            tf.constant(np.array([(load.begins, load.ends, load.helps, load.helped)
                                  for load in loads], bool).reshape(-1, 4)))

    def _stretches(self, load: Load) -> Iterator[tuple[str, int, int, int, int]]:
        for domain, first, last in load.slices:
            before = 0
            for each in self._ranges[domain]:
                start, stop = max(first - before, 0), min(last - before, each.examples)
                if start < stop:
                    yield each.path, each.offset, start, stop - start, domain
                before += each.examples


def _splits(sizes: Sequence[int]) -> tf.Tensor:
    return tf.constant(np.concatenate([[0], np.cumsum(sizes)]), tf.int64)


Step = Callable[[dict[str, tf.Tensor], tf.Tensor, tf.Tensor], tf.Tensor]


class Reader:
    """Reads loads in the graph of a function, with TensorFlow's own operations.

    Args:
        features: that the model reads.
        mixed: whether batches are of several domains.
    """

    def __init__(self, features: Sequence[Feature], mixed: bool = False):
        self._features, self._mixed = list(features), mixed

    def each_batch(self, packed: Packed, load: tf.Tensor, step: Step
                   ) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs a step on every batch of a load; the sum of the rows' losses, and the rows.

        Args:
            packed: the loads.
            load: which of them.
            step: gives the mean loss of a batch: of its features, its clicks and the factor
                of its learning rate.
        """
        columns = self._columns(packed, load)

        def body(batch, loss, rows):
            order = packed.order[packed.ends[batch]:packed.ends[batch + 1]]
            features = {name: tf.gather(values, order) for name, values in columns.items()}
            click = tf.cast(features.pop('click'), tf.float32)
            if not self._mixed:
                features['domain'] = features['domain'][0]
            count = tf.size(order, tf.int64)
            loss += step(features, click, packed.factors[batch]) * tf.cast(count, tf.float32)
            return batch + 1, loss, rows + count
        stop = packed.batches[load + 1]
        _, loss, rows = tf.while_loop(
            lambda batch, *_: batch < stop, body,
            [packed.batches[load], tf.constant(0.0), tf.constant(0, tf.int64)],
            parallel_iterations=1)
        return loss, rows

    def _columns(self, packed: Packed, load: tf.Tensor) -> dict[str, tf.Tensor]:
        """The rows of a load: ids by feature, `click` and `domain`."""
        mine = slice(packed.stretches[load], packed.stretches[load + 1])
        counts = packed.counts[mine]
        records = tf.data.Dataset.from_tensor_slices(
            (packed.paths[mine], packed.offsets[mine], packed.skips[mine], counts)
        ).flat_map(_records).batch(tf.reduce_sum(counts)).get_single_element()
        single = tf.io.FixedLenFeature([], tf.int64)
        # As `trainer.tfrecords.decode` does.
        ids = tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True, default_value=-1)
        parsed = tf.io.parse_example(records, {'click': single, **{
            feature.name: ids if feature.kind == 'sequence'
            else tf.io.FixedLenFeature([], tf.int64, default_value=0)
            for feature in self._features}})
        columns = {name: tf.cast(values, tf.int32) for name, values in parsed.items()}
        for feature in self._features:
            if feature.kind == 'sequence':
                columns[feature.name] = _fitted(columns[feature.name], feature.length)
        return {**columns, 'domain': tf.repeat(packed.domains[mine], counts)}


def each_load(packed: Packed, visit: Callable[[tf.Tensor], Any]) -> tuple[tf.Tensor, tf.Tensor]:
    """Visits loads one after another; the sums of what the visits give: loss and rows."""
    def body(load, loss, rows):
        more_loss, more_rows = visit(load)
        return load + 1, loss + more_loss, rows + more_rows
    _, loss, rows = tf.while_loop(
        lambda load, *_: load < tf.shape(packed.batches)[0] - 1, body,
        [tf.constant(0), tf.constant(0.0), tf.constant(0, tf.int64)], parallel_iterations=1)
    return loss, rows


def _records(path: tf.Tensor, offset: tf.Tensor, skip: tf.Tensor, count: tf.Tensor
             ) -> tf.data.Dataset:
    records = tf.raw_ops.TFRecordDatasetV2(
        filenames=path[None], compression_type='', buffer_size=1 << 20,
        byte_offsets=offset[None])
    return tf.data.experimental.from_variant(
        records, tf.TensorSpec([], tf.string)).skip(skip).take(count)


def _fitted(ids: tf.Tensor, length: int) -> tf.Tensor:
    """A sequence padded with -1, or cut, to its length."""
    ids = ids[:, :length]
    ids = tf.pad(ids, [[0, 0], [0, length - tf.shape(ids)[1]]], constant_values=-1)
    return tf.ensure_shape(ids, [None, length])
