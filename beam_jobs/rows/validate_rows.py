"""Validates raw rows against the canonical schema; rejected rows keep their reason.

A record batch is validated column by column; what a cell means is in `beam_jobs.rows.cells`.
A row is rejected for the first of these reasons that applies: a user, item or domain that is
missing, not a single value, longer than 1024 bytes, or contains a line break (vocabulary files
hold one value a line); a timestamp that is missing, not a time, negative or after the year
2099; a click that is missing or not 0 or 1; a numeric feature that is not a finite number; a
categorical feature that is not a single value. Other features may be missing.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.config import (
    CategoricalFeature,
    DatasetConfig,
    FeatureBase,
    HistoryFeature,
    NumericFeature,
    RowFeature,
    SequenceFeature,
)
from beam_jobs.readers.base import REJECTED, no_rejects, rows_as_json
from beam_jobs.rows.cells import is_missing, join_columns, lists, mask_of, numbers, texts
from beam_jobs.rows.timestamps import any_seconds, temporal_seconds
from mdctr.days import SECONDS_PER_DAY
from mdctr.errors import UserError

MAX_ID_BYTES = 1024
MAX_TIMESTAMP = 4102444800.0  # 2100-01-01: a fixed bound, so that a build can be repeated
_ROW = [
    ('source', pa.string()),
    ('line', pa.int64()),
    ('user', pa.string()),
    ('item', pa.string()),
    ('domain', pa.string()),
    ('timestamp', pa.float64()),
    ('click', pa.int8()),
]
_KINDS = {
    'categorical': pa.string(),
    'sequence': pa.list_(pa.string()),
    'numeric': pa.float64(),
}


def column_of(feature: FeatureBase, config: DatasetConfig) -> str:
    """The column of a validated row that a feature is made from.

    Of a history, it is the column of the feature whose values it contains.
    """
    if isinstance(feature, HistoryFeature):
        if feature.feature == 'domain':
            return 'domain'
        return column_of(
            next(other for other in config.features if other.name == feature.feature), config
        )
    if isinstance(feature, CategoricalFeature):
        raw = feature.source_column
        shared = {'user_id': 'user', 'item_id': 'item'}
        if len(config.domain_columns) == 1:
            shared[config.domain_columns[0]] = 'domain'
        if raw in shared:
            return shared[raw]
    return f'feature.{feature.name}'


def row_schema(config: DatasetConfig) -> pa.Schema:
    """The schema of validated rows: place, user, item, domain, time, click, features."""
    fields = dict(_ROW)
    for feature in config.features:
        if isinstance(feature, RowFeature):
            fields.setdefault(column_of(feature, config), _KINDS[feature.kind])
    if config.split.by == 'inputs':
        fields['input_split'] = pa.string()
    return pa.schema(list(fields.items()))


def validate_rows(
    batch: pa.RecordBatch, config: DatasetConfig
) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Separates valid rows from rejected ones.

    Args:
        batch: Raw rows, as a reader yields them.
        config: The `dataset` section, which names the columns that are used.

    Returns:
        The valid rows in `row_schema(config)`, and the others in `REJECTED`.

    Raises:
        UserError: A column that the configuration names is missing, or has a type that the
            feature's kind cannot be made from.
    """
    raw = {name: batch.column(i) for i, name in enumerate(batch.schema.names)}
    rejections = _Rejections(batch.num_rows)
    rows = {
        'source': texts(_column(raw, 'source', 'the reader'))[0],
        'line': _column(raw, 'line', 'the reader').cast(pa.int64()),
    }
    rows['user'] = _identity(raw, 'user_id', rejections)
    rows['item'] = _identity(raw, 'item_id', rejections)
    parts = [_identity(raw, name, rejections, 'domain') for name in config.domain_columns]
    rows['domain'] = join_columns(parts)
    seconds = _timestamps(_column(raw, 'timestamp', 'every reader'), rejections)
    rows['timestamp'] = pa.array(seconds)
    rows['click'] = _clicks(_column(raw, 'click', 'every reader'), rejections)
    raw |= _calendar(seconds + 3600 * config.utc_offset)
    for feature in config.features:
        if isinstance(feature, RowFeature):
            name = column_of(feature, config)
            if name not in rows:
                rows[name] = _feature(raw, feature, rejections)
    if config.split.by == 'inputs':
        rows['input_split'] = _column(raw, 'input_split', '`split.by: inputs`')
    schema = row_schema(config)
    validated = pa.RecordBatch.from_arrays([rows[name] for name in schema.names], schema=schema)
    return rejections.split(validated, batch)


class _Rejections:
    """The first reason against each row, as a code; 0 means valid."""

    def __init__(self, rows: int):
        self._codes = np.zeros(rows, np.int16)
        self._reasons = ['']

    def reject(self, rejected: np.ndarray, reason: str) -> None:
        """Rejects the rows marked in `rejected`, `bool[rows]`, unless already rejected."""
        rejected = rejected & (self._codes == 0)
        if rejected.any():
            self._codes[rejected] = len(self._reasons)
            self._reasons.append(reason)

    def split(
        self, validated: pa.RecordBatch, raw: pa.RecordBatch
    ) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """The valid rows, and the others with their places, reasons and raw values."""
        if len(self._reasons) == 1:
            return validated, no_rejects()
        is_rejected = self._codes > 0
        good = validated.filter(pa.array(~is_rejected))
        rejected = raw.filter(pa.array(is_rejected))
        reasons = pa.array(self._reasons).take(pa.array(self._codes[is_rejected]))
        return good, pa.RecordBatch.from_arrays(
            [
                rejected.column(rejected.schema.get_field_index('source')).cast(pa.string()),
                rejected.column(rejected.schema.get_field_index('line')).cast(pa.int64()),
                reasons,
                rows_as_json(rejected),
            ],
            schema=REJECTED,
        )


def _column(raw: dict[str, pa.Array], name: str, wanted_by: str) -> pa.Array:
    if name not in raw:
        columns = ', '.join(column for column in raw if column not in ('source', 'line'))
        raise UserError(
            f'The log has no column {name}, which {wanted_by} needs; its columns are {columns}.'
        )
    return raw[name]


def _identity(
    raw: dict[str, pa.Array],
    name: str,
    rejections: _Rejections,
    wanted_by: str = 'every reader',
) -> pa.Array:
    text = _single_texts(_column(raw, name, wanted_by), name, rejections)
    rejections.reject(is_missing(text), f'{name} missing')
    rejections.reject(
        mask_of(pc.greater(pc.binary_length(text), MAX_ID_BYTES)),
        f'{name} longer than {MAX_ID_BYTES} bytes',
    )
    broken = pc.or_(pc.match_substring(text, '\n'), pc.match_substring(text, '\r'))
    rejections.reject(mask_of(broken), f'{name} with a line break')
    return text


def _single_texts(
    column: pa.Array, name: str, rejections: _Rejections, hint: str = ''
) -> pa.Array:
    text, invalid = texts(column)
    rejections.reject(invalid, f'{name} not a single value{hint}')
    return text


def _timestamps(column: pa.Array, rejections: _Rejections) -> np.ndarray:
    """Seconds since 1970-01-01 UTC, `float64[rows]`; 0 in rejected rows."""
    seconds, invalid = temporal_seconds(column) or any_seconds(column)
    rejections.reject(invalid, 'timestamp not a time')
    rejections.reject(np.isnan(seconds), 'timestamp missing')
    rejections.reject(seconds < 0, 'timestamp negative')
    rejections.reject(seconds >= MAX_TIMESTAMP, 'timestamp after 2099')
    return np.where((seconds >= 0) & (seconds < MAX_TIMESTAMP), seconds, 0.0)


def _clicks(column: pa.Array, rejections: _Rejections) -> pa.Array:
    values, invalid = numbers(column)
    rejections.reject(np.isnan(values) & ~invalid, 'click missing')
    rejections.reject((values != 0) & (values != 1), 'click not 0 or 1')
    return pa.array((values == 1).astype(np.int8))


def _calendar(seconds: np.ndarray) -> dict[str, pa.Array]:
    """The derived columns: hour `0` to `23` and weekday `0` (Monday) to `6`."""
    hours = (seconds // 3600 % 24).astype(np.int8)
    # 1970-01-01 was a Thursday.
    weekdays = ((seconds // SECONDS_PER_DAY + 3) % 7).astype(np.int8)
    names = pa.array([str(n) for n in range(24)])
    return {'hour': names.take(pa.array(hours)), 'weekday': names.take(pa.array(weekdays))}


def _feature(
    raw: dict[str, pa.Array], feature: RowFeature, rejections: _Rejections
) -> pa.Array:
    name = feature.source_column
    column = _column(raw, name, f'the feature {feature.name}')
    if isinstance(feature, NumericFeature):
        values, invalid = numbers(column)
        rejections.reject(invalid | np.isinf(values), f'{name} not a number')
        return pa.array(values, mask=np.isnan(values))
    if isinstance(feature, SequenceFeature):
        return _sequence(column, name, feature.max_length, rejections)
    text = _single_texts(column, name, rejections, ' (lists need kind: sequence)')
    return pc.if_else(pa.array(is_missing(text)), pa.scalar(None, pa.string()), text)


def _sequence(column: pa.Array, name: str, length: int, rejections: _Rejections) -> pa.Array:
    """Lists without missing values, cut to `length`; a single value is a list of one."""
    flat, parents, invalid = lists(column)
    rejections.reject(invalid, f'{name} not a list of single values')
    present = ~is_missing(flat)
    parents = parents[present]
    first = np.searchsorted(parents, parents)
    keep = np.arange(len(parents)) - first < length
    flat = flat.filter(pa.array(present)).filter(pa.array(keep))
    counts = np.bincount(parents[keep], minlength=len(column))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), flat)
