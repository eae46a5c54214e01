"""TFRecord files of tf.Examples, in batches."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from beam_jobs.readers.base import Block, no_rejects, rejects
from beam_jobs.readers.raw_files import base_name
from beam_jobs.readers.utf8 import as_text
from mdctr.errors import UserError

ROWS = 1 << 15


def read_tfrecord(path: str) -> Iterator[Block]:
    """The examples of a file, plain or gzipped.

    A feature with at most one value in every row of a batch is a column of single values;
    otherwise it is a column of lists.

    Raises:
        UserError: The file does not exist, is not a TFRecord file, or is truncated.
    """
    import tensorflow as tf
    from tfx_bsl.coders import example_coder

    decoder = example_coder.ExamplesToRecordBatchDecoder()
    records = tf.data.TFRecordDataset(path, 'GZIP' if path.endswith('.gz') else '')
    first = 1
    try:
        for batch in records.batch(ROWS).as_numpy_iterator():
            lines = np.arange(first, first + len(batch))
            first += len(batch)
            yield from _decode(base_name(path), decoder, list(batch), lines)
    except tf.errors.OpError as error:
        raise UserError(
            f'{path} is truncated or not a TFRecord file '
            f'({error.message.partition(" [")[0]}): get it again.'
        ) from None


def _decode(
    source: str, decoder: Any, batch: Sequence[bytes], lines: np.ndarray
) -> Iterator[Block]:
    """Decodes records at once; if that fails, halves of them."""
    try:
        decoded = decoder.DecodeBatch(batch)
    except RuntimeError:
        if len(batch) == 1:
            rejected = rejects(source, lines, ['not a tf.Example'], [repr(batch[0])[2:-1]])
            yield Block({}, lines[:0], rejected)
            return
        middle = len(batch) // 2
        yield from _decode(source, decoder, batch[:middle], lines[:middle])
        yield from _decode(source, decoder, batch[middle:], lines[middle:])
        return
    columns = {
        name: _plain(column)
        for name, column in zip(decoded.schema.names, decoded.columns, strict=True)
        if not pa.types.is_null(column.type)
    }
    if columns:
        yield as_text(source, columns, lines)
    else:  # none of them has a feature
        yield Block(
            {},
            lines[:0],
            rejects(source, lines, ['no features'] * len(lines), [''] * len(lines))
            if len(lines)
            else no_rejects(),
        )


def _plain(column: pa.Array) -> pa.Array:
    """Large lists as lists, or as single values if no list has several."""
    lengths = np.diff(column.offsets.to_numpy())
    values = column.flatten()
    if pa.types.is_large_binary(values.type):
        values = values.cast(pa.binary())
    starts = np.concatenate([[0], np.cumsum(lengths)])
    if (lengths > 1).any():
        return pa.ListArray.from_arrays(pa.array(starts, pa.int32()), values)
    return values.take(pa.array(starts[:-1], mask=lengths == 0))
