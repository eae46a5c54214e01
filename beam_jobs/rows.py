"""Raw rows in, rows of one known schema out; what cannot be used leaves with its reason.

A whole record batch is checked at once. A row is rejected for the first of these that holds:
a missing or over-long (more than 1024 bytes) user, item or domain, or one with a line break
in it (vocabulary files hold one value a line); a timestamp that is missing, no time, negative
or after the year 2099; a click that is missing or not 0 or 1; a numeric feature that is no
finite number. Other features may be missing.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.config import DatasetConfig, FeatureConfig
from beam_jobs.errors import UserError
from beam_jobs.readers.base import REJECTED, no_rejects

MAX_ID_BYTES = 1024
MAX_TIMESTAMP = 4102444800.0  # 2100-01-01: a fixed bound, so that a build can be repeated
DAY = 86400
_ROW = [('source', pa.string()), ('line', pa.int64()), ('user', pa.string()),
        ('item', pa.string()), ('domain', pa.string()), ('timestamp', pa.float64()),
        ('click', pa.int8())]
_KINDS = {'categorical': pa.string(), 'sequence': pa.list_(pa.string()),
          'numeric': pa.float64()}
_NUMBER = r'^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$'


def column_of(feature: FeatureConfig, config: DatasetConfig) -> str:
    """The column of a checked row that holds `feature` (a history: what it remembers)."""
    if feature.kind == 'history':
        if feature.of == 'domain':
            return 'domain'
        return column_of(next(other for other in config.features
                              if other.name == feature.of), config)
    if feature.kind == 'categorical':
        raw = feature.column or feature.name
        shared = {'user_id': 'user', 'item_id': 'item'}
        if len(config.domain) == 1:
            shared[config.domain[0]] = 'domain'
        if raw in shared:
            return shared[raw]
    return f'feature.{feature.name}'


def days_of(timestamp: np.ndarray, utc_offset: float) -> np.ndarray:
    """The day since 1970 of each timestamp, `int64`, days beginning `utc_offset` hours early.
    """
    return ((timestamp + 3600 * utc_offset) // DAY).astype(np.int64)


def row_schema(config: DatasetConfig) -> pa.Schema:
    """The schema of checked rows: who, what, where, when, click, then the features."""
    fields = dict(_ROW)
    for feature in config.features:
        if feature.from_row:
            fields.setdefault(column_of(feature, config), _KINDS[feature.kind])
    return pa.schema(list(fields.items()))


def check(batch: pa.RecordBatch,
          config: DatasetConfig) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Splits a raw batch into good rows and rejected ones.

    Args:
        batch: rows as a reader gives them.
        config: names the columns that are wanted.

    Returns:
        The good rows in `row_schema(config)`, and the others in `REJECTED`.

    Raises:
        UserError: a column that the configuration names is not there, or has a type that
            the feature's kind cannot be read from.
    """
    raw = {name: batch.column(i) for i, name in enumerate(batch.schema.names)}
    verdicts = _Verdicts(batch.num_rows)
    rows = {'source': _text(_column(raw, 'source', 'the reader'), 'source'),
            'line': _column(raw, 'line', 'the reader').cast(pa.int64())}
    rows['user'] = _identity(raw, 'user_id', verdicts)
    rows['item'] = _identity(raw, 'item_id', verdicts)
    parts = [_identity(raw, name, verdicts, 'domain') for name in config.domain]
    rows['domain'] = parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, '|')
    seconds = _timestamps(_column(raw, 'timestamp', 'every reader'), verdicts)
    rows['timestamp'] = pa.array(seconds)
    rows['click'] = _clicks(_column(raw, 'click', 'every reader'), verdicts)
    raw |= _calendar(seconds + 3600 * config.utc_offset)
    for feature in config.features:
        name = feature.from_row and column_of(feature, config)
        if name and name not in rows:
            rows[name] = _feature(raw, feature, verdicts)
    schema = row_schema(config)
    checked = pa.RecordBatch.from_arrays([rows[name] for name in schema.names], schema=schema)
    return verdicts.split(checked, batch)


class _Verdicts:
    """The first reason against each row; 0 stands for none."""

    def __init__(self, rows: int):
        self._codes = np.zeros(rows, np.int16)
        self._reasons = ['']

    def reject(self, bad: np.ndarray, reason: str) -> None:
        bad = bad & (self._codes == 0)
        if bad.any():
            self._codes[bad] = len(self._reasons)
            self._reasons.append(reason)

    def split(self, checked: pa.RecordBatch,
              raw: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        if len(self._reasons) == 1:
            return checked, no_rejects()
        bad = self._codes > 0
        good = checked.filter(pa.array(~bad))
        rejected = raw.filter(pa.array(bad))
        reasons = pa.array(self._reasons).take(pa.array(self._codes[bad]))
        return good, pa.RecordBatch.from_arrays(
            [rejected.column(rejected.schema.get_field_index('source')).cast(pa.string()),
             rejected.column(rejected.schema.get_field_index('line')).cast(pa.int64()),
             reasons, _as_json(rejected)], schema=REJECTED)


def _as_json(rows: pa.RecordBatch) -> pa.Array:
    """Each row as a JSON object, without its place; for people to read."""
    names = [name for name in rows.schema.names if name not in ('source', 'line')]
    frame = pa.Table.from_batches([rows]).select(names).to_pandas()
    lines = frame.to_json(orient='records', lines=True, force_ascii=False, date_format='iso')
    return pa.array(lines.split('\n')[:rows.num_rows], pa.string())


def _column(raw: dict[str, pa.Array], name: str, wanted_by: str) -> pa.Array:
    if name not in raw:
        there = ', '.join(column for column in raw if column not in ('source', 'line'))
        raise UserError(f'The log has no column {name}, which {wanted_by} needs; its columns '
                        f'are {there}.')
    return raw[name]


def _text(column: pa.Array, name: str) -> pa.Array:
    """Any column of single values as strings; whole floats without their `.0`."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _text(column.dictionary_decode(), name)
    if pa.types.is_string(kind):
        return column
    if pa.types.is_floating(kind):
        values = column.to_numpy(zero_copy_only=False)
        finite = np.isfinite(values)
        if (np.abs(values[finite]) < 2**53).all() and (values[finite] % 1 == 0).all():
            whole = np.where(finite, values, 0).astype(np.int64)
            return pa.array(whole, mask=~finite).cast(pa.string())
        return pa.array(values, mask=np.isnan(values)).cast(pa.string())
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise UserError(f'The log\'s column {name} holds {kind} values, of which no single '
                        'text can be made: a list is for a feature of kind sequence.') from None


def _missing(text: pa.Array) -> np.ndarray:
    return _mask(pc.or_kleene(pc.is_null(text), pc.equal(text, '')))


def _mask(values: pa.Array) -> np.ndarray:
    return pc.fill_null(values, False).to_numpy(zero_copy_only=False)


def _identity(raw: dict[str, pa.Array], name: str, verdicts: _Verdicts,
              wanted_by: str = 'every reader') -> pa.Array:
    text = _text(_column(raw, name, wanted_by), name)
    verdicts.reject(_missing(text), f'{name} missing')
    verdicts.reject(_mask(pc.greater(pc.binary_length(text), MAX_ID_BYTES)),
                    f'{name} longer than {MAX_ID_BYTES} bytes')
    broken = pc.or_(pc.match_substring(text, '\n'), pc.match_substring(text, '\r'))
    verdicts.reject(_mask(broken), f'{name} with a line break')
    return text


def _numbers(column: pa.Array, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A column as float64, NaN where missing; and which values are no number."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_list(column.type):
        raise UserError(f'The log\'s column {name} holds lists, and a numeric feature needs '
                        'one number a row.')
    bad = np.zeros(len(column), bool)
    try:
        numbers = column.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        text = _text(column, name)
        readable = pc.match_substring_regex(text, _NUMBER)
        bad = ~_missing(text) & ~_mask(readable)
        numbers = pc.utf8_trim_whitespace(
            pc.if_else(readable, text, pa.scalar(None, pa.string()))).cast(pa.float64())
    return numbers.to_numpy(zero_copy_only=False), bad


def _timestamps(column: pa.Array, verdicts: _Verdicts) -> np.ndarray:
    """Seconds UTC; rejected rows hold 0."""
    if pa.types.is_temporal(column.type):
        micros = column.cast(pa.timestamp('us')).cast(pa.int64())
        seconds = micros.cast(pa.float64()).to_numpy(zero_copy_only=False) / 1e6
        bad = np.zeros(len(column), bool)
    else:
        seconds, bad = _numbers(column, 'timestamp')
        if bad.any():
            seconds, bad = _parse_times(column, seconds, bad)
    verdicts.reject(bad, 'timestamp not a time')
    verdicts.reject(np.isnan(seconds), 'timestamp missing')
    verdicts.reject(seconds < 0, 'timestamp negative')
    verdicts.reject(seconds >= MAX_TIMESTAMP, 'timestamp after 2099')
    return np.where((seconds >= 0) & (seconds < MAX_TIMESTAMP), seconds, 0.0)


def _parse_times(column: pa.Array, seconds: np.ndarray,
                 bad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reads the values that are no numbers as written dates and times."""
    import pandas as pd

    codes = _text(column, 'timestamp').filter(pa.array(bad)).dictionary_encode()
    times = pd.to_datetime(codes.dictionary.to_pandas(), errors='coerce', utc=True)
    parsed = (times.astype('int64') / 1e9).where(times.notna(), np.nan).to_numpy()
    parsed = parsed[codes.indices.to_numpy()]
    seconds, still_bad = seconds.copy(), bad.copy()
    seconds[bad] = parsed
    still_bad[bad] = np.isnan(parsed)
    return seconds, still_bad


def _clicks(column: pa.Array, verdicts: _Verdicts) -> pa.Array:
    text = _text(column, 'click')
    verdicts.reject(_missing(text), 'click missing')
    ones = _mask(pc.is_in(text, pa.array(['1', '1.0', 'true', 'True'])))
    zeros = _mask(pc.is_in(text, pa.array(['0', '0.0', 'false', 'False'])))
    verdicts.reject(~(ones | zeros), 'click not 0 or 1')
    return pa.array(ones.astype(np.int8))


def _calendar(seconds: np.ndarray) -> dict[str, pa.Array]:
    """The derived columns: hour `0` to `23` and weekday `0` (Monday) to `6`."""
    hours = (seconds // 3600 % 24).astype(np.int8)
    weekdays = ((seconds // DAY + 3) % 7).astype(np.int8)  # 1970-01-01 was a Thursday
    names = pa.array([str(n) for n in range(24)])
    return {'hour': names.take(pa.array(hours)), 'weekday': names.take(pa.array(weekdays))}


def _feature(raw: dict[str, pa.Array], feature: FeatureConfig, verdicts: _Verdicts) -> pa.Array:
    name = feature.column or feature.name
    column = _column(raw, name, f'the feature {feature.name}')
    if feature.kind == 'numeric':
        numbers, bad = _numbers(column, name)
        verdicts.reject(bad | np.isinf(numbers), f'{name} not a number')
        return pa.array(numbers, mask=np.isnan(numbers))
    if feature.kind == 'sequence':
        return _sequence(column, name, feature.length)
    text = _text(column, name)
    return pc.if_else(pa.array(_missing(text)), pa.scalar(None, pa.string()), text)


def _sequence(column: pa.Array, name: str, length: int) -> pa.Array:
    """Lists without missing values, cut to `length`; single values are lists of one."""
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        flat, parents = _text(column, name), np.arange(len(column))
    else:
        flat = _text(pc.list_flatten(column), name)
        parents = pc.list_parent_indices(column).to_numpy()
    there = ~_missing(flat)
    parents = parents[there]
    first = np.searchsorted(parents, parents)
    keep = np.arange(len(parents)) - first < length
    flat = flat.filter(pa.array(there)).filter(pa.array(keep))
    counts = np.bincount(parents[keep], minlength=len(column))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), flat)
