"""Summary of a log: how many rows it has, of which days, and how many were rejected."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.config import DatasetConfig, SequenceFeature
from beam_jobs.readers.base import JoinCount
from beam_jobs.rows.columns import single_chunk
from beam_jobs.rows.mergeable import NumberCounts
from beam_jobs.rows.validate_rows import column_of
from mdctr.days import day_name, days_of
from mdctr.errors import NoRowsError, UserError

_UNMATCHED_FRACTION = 0.9  # of rows above which a join is suspicious
_SEPARATORS = '[|;,]'  # of texts that may be lists


@dataclass(frozen=True)
class LogSummary:
    """A summary of rows that were read; summaries of parts of a log merge.

    Attributes:
        valid: Number of valid rows.
        reasons: Number of rejected rows by reason.
        examples: The first (source, line) with each reason.
        days: Number of valid rows by day number.
        timestamps: Counts of the valid rows' timestamps, if the split is by time.
        joins: Of each joined table how many rows found theirs.
        lists: Number of valid rows with a value of a sequence feature, by its name.
        unsplit: Number of those in which it is a single text with a separator.
    """

    valid: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, tuple[str, int]] = field(default_factory=dict)
    days: Counter[int] = field(default_factory=Counter)
    timestamps: NumberCounts | None = None
    joins: tuple[JoinCount, ...] = ()
    lists: Counter[str] = field(default_factory=Counter)
    unsplit: Counter[str] = field(default_factory=Counter)

    @staticmethod
    def of_batch(
        valid: pa.RecordBatch,
        rejected: Sequence[pa.RecordBatch],
        config: DatasetConfig,
        joins: tuple[JoinCount, ...] = (),
    ) -> 'LogSummary':
        """Summarizes one batch.

        Args:
            valid: Validated rows.
            rejected: Rejected rows, in `REJECTED`.
            config: The `dataset` section.
            joins: Of each joined table how many rows found theirs.
        """
        seconds = valid.column(valid.schema.get_field_index('timestamp')).to_numpy()
        days, counts = np.unique(days_of(seconds, config.utc_offset), return_counts=True)
        reasons: Counter[str] = Counter()
        examples: dict[str, tuple[str, int]] = {}
        for batch in rejected:
            table = pa.Table.from_batches([batch])
            reasons.update(table['reason'].to_pylist())
            for reason in single_chunk(table['reason']).unique().to_pylist():
                row = table.filter(pa.compute.equal(table['reason'], reason)).slice(0, 1)
                place = (row['source'][0].as_py(), row['line'][0].as_py())
                examples[reason] = min(place, examples.get(reason, place))
        return LogSummary(
            valid.num_rows,
            reasons,
            examples,
            Counter(dict(zip(days.tolist(), counts.tolist(), strict=True))),
            NumberCounts.of(seconds) if config.split.by == 'time' else None,
            joins,
            *_count_lists(valid, config),
        )

    def __len__(self) -> int:
        return 1 if self.timestamps is None else len(self.timestamps)

    @staticmethod
    def merge(summaries: Sequence['LogSummary']) -> 'LogSummary':
        """Adds up the summaries."""
        examples: dict[str, tuple[str, int]] = {}
        for summary in summaries:
            for reason, place in summary.examples.items():
                examples[reason] = min(place, examples.get(reason, place))
        timestamps = [s.timestamps for s in summaries if s.timestamps is not None]
        return LogSummary(
            sum(summary.valid for summary in summaries),
            sum((summary.reasons for summary in summaries), Counter()),
            examples,
            sum((summary.days for summary in summaries), Counter()),
            NumberCounts.merge(timestamps) if timestamps else None,
            _merge_joins([join for summary in summaries for join in summary.joins]),
            sum((summary.lists for summary in summaries), Counter()),
            sum((summary.unsplit for summary in summaries), Counter()),
        )

    @property
    def rejected(self) -> int:
        """Number of rejected rows."""
        return sum(self.reasons.values())

    @property
    def read(self) -> int:
        """Number of rows."""
        return self.valid + self.rejected

    def days_covered(self) -> str:
        """The first and last day, for people."""
        first, last = day_name(min(self.days)), day_name(max(self.days))
        return first if first == last else f'{first} to {last}'

    def warnings(self) -> list[str]:
        """What is probably not meant, a sentence each."""
        joins = [
            f'{_unmatched(join)}: check that both write the key in the same way'
            for join in self.joins
            if join.unmatched > _UNMATCHED_FRACTION * join.rows
        ]
        return joins + [
            f'The sequence {name} is a single text with a separator (such as | ; ,) in '
            f'{self.unsplit[name]:,} of {count:,} rows: name its column in `list_columns`'
            for name, count in sorted(self.lists.items())
            if self.unsplit[name] > 0.5 * count
        ]

    def require_usable(self, config: DatasetConfig) -> None:
        """Refuses a log that is empty, or of which too many rows were rejected.

        Raises:
            UserError: With the most frequent reason and where it first occurs.
        """
        if not self.read:
            raise NoRowsError('The log has no rows: check `inputs` of the dataset section.')
        for join in self.joins:
            if join.unmatched > join.max_unmatched_fraction * join.rows:
                raise UserError(
                    f'{_unmatched(join)}, more than max_unmatched_fraction allows '
                    f'({join.max_unmatched_fraction:.2%}): check that both write the key in '
                    'the same way.'
                )
        share = self.rejected / self.read
        if share <= config.max_rejected_fraction and self.valid:
            return
        reason, count = min(self.reasons.items(), key=lambda item: (-item[1], item[0]))
        source, line = self.examples[reason]
        problem = (
            f'{self.rejected:,} of {self.read:,} rows of the log were rejected, more than '
            f'max_rejected_fraction allows ({config.max_rejected_fraction:.2%})'
            if self.valid
            else f'None of the {self.read:,} rows of the log are valid'
        )
        raise UserError(
            f'{problem}: the most frequent reason is "{reason}" ({count:,} rows, the first at '
            f'{source}:{line}).'
        )


def _unmatched(join: JoinCount) -> str:
    return (
        f'{join.unmatched:,} of {join.rows:,} rows of the log have no row in the table '
        f'{join.table}'
    )


def _merge_joins(joins: Sequence[JoinCount]) -> tuple[JoinCount, ...]:
    merged: dict[str, JoinCount] = {}
    for join in joins:
        other = merged.get(join.table)
        merged[join.table] = (
            join
            if other is None
            else join._replace(
                rows=join.rows + other.rows, unmatched=join.unmatched + other.unmatched
            )
        )
    return tuple(merged[table] for table in sorted(merged))


def _count_lists(
    valid: pa.RecordBatch, config: DatasetConfig
) -> tuple[Counter[str], Counter[str]]:
    """Rows with a value of each sequence feature, and those with a single unsplit text."""
    lists: Counter[str] = Counter()
    unsplit: Counter[str] = Counter()
    for feature in config.features:
        if isinstance(feature, SequenceFeature):
            column = valid.column(valid.schema.get_field_index(column_of(feature, config)))
            lengths = pc.list_value_length(column)
            single = pc.list_flatten(column.filter(pc.equal(lengths, 1)))
            lists[feature.name] = pc.sum(pc.greater(lengths, 0)).as_py() or 0
            found = pc.sum(pc.match_substring_regex(single, _SEPARATORS)).as_py()
            unsplit[feature.name] = found or 0
    return lists, unsplit
