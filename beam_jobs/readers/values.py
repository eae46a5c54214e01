"""Small conversions of columns that readers share."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.rows.cells import mask_of, plain

_WHOLE = r'^[0-9]{1,18}$'


def whole_numbers(texts: pa.Array) -> pa.Array:
    """Texts as `int64`, null where a text is not a whole number of at most 18 digits."""
    readable = pc.match_substring_regex(texts, _WHOLE)
    return pc.if_else(readable, texts, pa.scalar(None, pa.string())).cast(pa.int64())


def first_of(lists: pa.Array) -> pa.Array:
    """The first value of each list; null where there is none."""
    offsets = lists.offsets.to_numpy()
    empty = offsets[1:] == offsets[:-1]
    # The offsets of a slice count from the whole's values, which `lists.values` are.
    return lists.values.take(pa.array(offsets[:-1].astype(np.int64), mask=empty))


def split_lists(texts: pa.Array, separator: str) -> pa.Array:
    """Texts as lists, without empty values; a missing or empty text as an empty one."""
    lists = pc.split_pattern(pc.fill_null(texts, ''), separator)
    parents = pc.list_parent_indices(lists)
    values = pc.list_flatten(lists)
    there = pc.not_equal(values, '')
    counts = np.bincount(parents.filter(there).to_numpy(), minlength=len(texts))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values.filter(there))


def split_single_values(column: pa.Array, separator: str) -> pa.Array:
    """Texts, or lists of texts, as lists: a cell with a single text is split.

    So a cell that several formats may write as a text or as a list of one text means the same
    in all of them, whatever the other cells of its column are.
    """
    column = plain(column)
    if pa.types.is_string(column.type):
        return split_lists(column, separator)
    if not (pa.types.is_list(column.type) and pa.types.is_string(column.type.value_type)):
        return column
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    single = lengths == 1
    texts = column.flatten().filter(pa.array(np.repeat(single, lengths)))
    if not mask_of(pc.match_substring(texts, separator)).any():
        return column
    parts = [split_lists(texts, separator), column.filter(pa.array(~single))]
    place = np.empty(len(column), np.int64)
    place[np.concatenate([np.flatnonzero(single), np.flatnonzero(~single)])] = np.arange(
        len(column)
    )
    return pa.concat_arrays(parts).take(pa.array(place))


def prefixed(prefix: str, texts: pa.Array) -> pa.Array:
    """Texts as `prefix/text`, so that ids of several files differ; an empty text stays so."""
    joined = pc.binary_join_element_wise(prefix, texts, '/')
    return pc.if_else(pc.equal(texts, ''), texts, joined)


def constant(value: str | int, rows: int) -> pa.Array:
    """The same value in every row."""
    return pa.array([value]).take(pa.array(np.zeros(rows, np.int64)))


def days(texts: pa.Array) -> pa.Array:
    """Days written YYYY-MM-DD as `float64` days since 1970, null where a text is not a day."""
    readable = pc.match_substring_regex(texts, r'^[0-9]{4}-[0-9]{2}-[0-9]{2}$')
    kept = pc.if_else(readable, texts, pa.scalar(None, pa.string()))
    times = pc.strptime(kept, format='%Y-%m-%d', unit='s', error_is_null=True)
    return pc.divide(times.cast(pa.int64()).cast(pa.float64()), 86400.0)
