"""Times of a raw log, in seconds since 1970-01-01 UTC.

A column has one format: a number of seconds (or milliseconds, ...), ISO 8601, or a format in
strptime's notation. A time without an offset is a time in UTC. Names of time zones are not
read, since `CST` is three of them.
"""

import datetime
import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.rows.cells import is_missing, is_valid, mask_of, numbers, plain, texts

_ISO = re.compile(
    r'(\d{4}-\d{2}-\d{2}|\d{8})'
    r'([T ]([01]\d|2[0-3])(:?[0-5]\d(:?[0-5]\d([.,]\d{1,9})?)?)?)?'
    r' ?(Z|[+-]\d{2}(:?\d{2})?)?'
)
_EXAMPLE = datetime.datetime(2021, 11, 22, 10, 33, 44, 123456, datetime.UTC)


def temporal_seconds(column: pa.Array) -> tuple[np.ndarray, np.ndarray] | None:
    """Seconds of a column of Arrow's types of time; None if it is of another type.

    Returns:
        The seconds, `float64[rows]`, NaN where missing; and which cells are not times, since
        they have no date, `bool[rows]`.
    """
    if not pa.types.is_temporal(column.type):
        return None
    if not (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)):
        return np.full(len(column), np.nan), is_valid(column)
    micros = column.cast(pa.timestamp('us'), safe=False).cast(pa.int64())
    seconds = micros.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False) / 1e6
    return seconds, np.zeros(len(column), bool)


def numeric_seconds(column: pa.Array, per_second: int) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of times that are counted in parts of a second.

    Args:
        column: Numbers, or texts of numbers.
        per_second: Number of the parts in a second; 1000 for milliseconds.

    Returns:
        As `temporal_seconds`.
    """
    column = plain(column)
    if pa.types.is_boolean(column.type):
        return np.full(len(column), np.nan), is_valid(column)
    values, invalid = numbers(column, truth_values=False)
    return values / per_second, invalid


def iso_seconds(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of dates and times that are written as ISO 8601; else as `temporal_seconds`.

    The extended and the basic form are read, `2026-10-01 12:30` and `20261001T1230`; digits
    after microseconds are dropped.
    """
    return _each_distinct(column, _parse_iso)


def formatted_seconds(column: pa.Array, time_format: str) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of times in a format of `datetime.strptime`; else as `temporal_seconds`."""
    return _each_distinct(column, lambda text: datetime.datetime.strptime(text, time_format))


def any_seconds(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of cells that are numbers of seconds, or else written as ISO 8601."""
    column = plain(column)
    seconds, invalid = numeric_seconds(column, 1)
    if invalid.any():
        part = column.filter(pa.array(invalid))
        seconds, invalid = seconds.copy(), invalid.copy()
        places = np.flatnonzero(invalid)
        seconds[places], invalid[places] = iso_seconds(part)
    return seconds, invalid


def check_format(time_format: str) -> str:
    """Returns a format of times that can be read.

    Raises:
        ValueError: It is not a format of strptime, or does not determine the day.
    """
    if '%Z' in time_format:
        raise ValueError(f'{time_format!r}: names of time zones cannot be read; %z can.')
    try:
        text = _EXAMPLE.strftime(time_format)
        parsed = datetime.datetime.strptime(text, time_format)
    except ValueError as error:
        raise ValueError(f'{time_format!r} is not a strptime format ({error}).') from None
    if parsed.date() != _EXAMPLE.date():
        raise ValueError(f'{time_format!r} lacks the year, the month or the day.')
    return time_format


def _each_distinct(
    column: pa.Array, parse: Callable[[str], datetime.datetime]
) -> tuple[np.ndarray, np.ndarray]:
    text, invalid = texts(column)
    encoded = pc.utf8_trim_whitespace(text).dictionary_encode()
    distinct = encoded.dictionary.to_pylist()
    parsed = np.array([_seconds(value, parse) for value in distinct] or [np.nan])
    codes = pc.fill_null(encoded.indices, 0).to_numpy(zero_copy_only=False)
    missing = is_missing(text) | mask_of(pc.equal(pc.utf8_trim_whitespace(text), ''))
    seconds = np.where(missing, np.nan, parsed[codes])
    return seconds, invalid | (~missing & np.isnan(seconds))


def _seconds(text: str, parse: Callable[[str], datetime.datetime]) -> float:
    try:
        time = parse(text)
    except (ValueError, OverflowError):
        return np.nan
    if time.tzinfo is None:
        time = time.replace(tzinfo=datetime.UTC)
    return time.timestamp()


def _parse_iso(text: str) -> datetime.datetime:
    if not _ISO.fullmatch(text):
        raise ValueError
    date, space, offset = text.rpartition(' ')
    # `fromisoformat` does not read a space before the offset.
    return datetime.datetime.fromisoformat(
        date + offset if space and offset[0] in 'Z+-' else text
    )
