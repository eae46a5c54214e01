"""Small conversions of columns that readers share. What cannot be read stays as it stands."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_WHOLE = r'^[0-9]{1,18}$'


def seconds(times: pa.Array, per_second: int) -> pa.Array:
    """Times counted in parts of a second as seconds.

    Args:
        times: texts of whole numbers.
        per_second: how many of the unit make a second; 1000 for milliseconds.

    Returns:
        `float64`; or texts, where some are no numbers: those are left as they are.
    """
    try:
        return pc.divide(times.cast(pa.float64()), pa.scalar(float(per_second)))
    except pa.ArrowInvalid:
        readable = pc.match_substring_regex(times, r'^[-+]?[0-9]+(\.[0-9]*)?$')
        numbers = pc.if_else(readable, times, pa.scalar(None, pa.string())).cast(pa.float64())
        scaled = pc.divide(numbers, pa.scalar(float(per_second))).cast(pa.string())
        return pc.if_else(readable, scaled, times)


def whole_numbers(texts: pa.Array) -> pa.Array:
    """Texts as `int64`, null where a text is no whole number of at most 18 digits."""
    readable = pc.match_substring_regex(texts, _WHOLE)
    return pc.if_else(readable, texts, pa.scalar(None, pa.string())).cast(pa.int64())


def first_of(lists: pa.Array) -> pa.Array:
    """The first value of each list; null where there is none."""
    offsets = lists.offsets.to_numpy()
    empty = offsets[1:] == offsets[:-1]
    # The offsets of a slice count from the whole's values, which `lists.values` are.
    return lists.values.take(pa.array(offsets[:-1].astype(np.int64), mask=empty))


def split_lists(texts: pa.Array, separator: str) -> pa.Array:
    """Texts as lists, a missing or empty text as an empty one."""
    lists = pc.split_pattern(pc.fill_null(texts, ''), separator)
    parents = pc.list_parent_indices(lists)
    values = pc.list_flatten(lists)
    there = pc.not_equal(values, '')
    counts = np.bincount(parents.filter(there).to_numpy(), minlength=len(texts))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values.filter(there))


def constant(value, rows: int) -> pa.Array:
    """The same value in every row."""
    return pa.array([value]).take(pa.array(np.zeros(rows, np.int64)))


def days(texts: pa.Array) -> pa.Array:
    """Days written YYYY-MM-DD as `float64` days since 1970, null where they are none."""
    readable = pc.match_substring_regex(texts, r'^[0-9]{4}-[0-9]{2}-[0-9]{2}$')
    kept = pc.if_else(readable, texts, pa.scalar(None, pa.string()))
    times = pc.strptime(kept, format='%Y-%m-%d', unit='s', error_is_null=True)
    return pc.divide(times.cast(pa.int64()).cast(pa.float64()), 86400.0)
