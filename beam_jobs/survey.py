"""What reading the log showed: how much there is, of which days, and what was rejected."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from beam_jobs.config import DatasetConfig
from beam_jobs.errors import UserError
from beam_jobs.rows import days_of
from beam_jobs.splits import day_name
from beam_jobs.summaries import NumberCounts


@dataclass(frozen=True)
class Survey:
    """A summary of read rows, which merges.

    Attributes:
        good: rows that can be used.
        reasons: rejected rows by reason.
        examples: by reason, the first (source, line).
        days: good rows by day since 1970.
        timestamps: of the good rows, where a split by time needs them.
    """

    good: int = 0
    reasons: Counter = field(default_factory=Counter)
    examples: dict[str, tuple[str, int]] = field(default_factory=dict)
    days: Counter = field(default_factory=Counter)
    timestamps: NumberCounts | None = None

    @staticmethod
    def of(good: pa.RecordBatch, rejected: Sequence[pa.RecordBatch],
           config: DatasetConfig) -> 'Survey':
        """Surveys one batch."""
        seconds = good.column(good.schema.get_field_index('timestamp')).to_numpy()
        days, counts = np.unique(days_of(seconds, config.utc_offset), return_counts=True)
        reasons, examples = Counter(), {}
        for batch in rejected:
            table = pa.Table.from_batches([batch])
            counted = table.group_by('reason').aggregate([('line', 'count')])
            reasons.update(dict(zip(counted['reason'].to_pylist(),
                                    counted['line_count'].to_pylist(), strict=True)))
            for reason in counted['reason'].to_pylist():
                row = table.filter(pa.compute.equal(table['reason'], reason)).slice(0, 1)
                place = (row['source'][0].as_py(), row['line'][0].as_py())
                examples[reason] = min(place, examples.get(reason, place))
        return Survey(
            good.num_rows, reasons, examples,
            Counter(dict(zip(days.astype(int).tolist(), counts.tolist(), strict=True))),
            NumberCounts.of(seconds) if config.split.by == 'time' else None)

    def __len__(self) -> int:
        return 1 if self.timestamps is None else len(self.timestamps)

    @staticmethod
    def merge(surveys: Sequence['Survey']) -> 'Survey':
        examples: dict[str, tuple[str, int]] = {}
        for survey in surveys:
            for reason, place in survey.examples.items():
                examples[reason] = min(place, examples.get(reason, place))
        timestamps = [s.timestamps for s in surveys if s.timestamps is not None]
        return Survey(sum(survey.good for survey in surveys),
                      sum((survey.reasons for survey in surveys), Counter()), examples,
                      sum((survey.days for survey in surveys), Counter()),
                      NumberCounts.merge(timestamps) if timestamps else None)

    @property
    def rejected(self) -> int:
        return sum(self.reasons.values())

    @property
    def read(self) -> int:
        return self.good + self.rejected

    def days_covered(self) -> str:
        """The first and last day, for people."""
        first, last = day_name(min(self.days)), day_name(max(self.days))
        return first if first == last else f'{first} to {last}'

    def check(self, config: DatasetConfig) -> None:
        """Refuses a log that is empty, or of which too much was rejected.

        Raises:
            UserError: with the commonest reason and where it first occurs.
        """
        if not self.read:
            raise UserError('The log has no rows: check `inputs` of the dataset section.')
        share = self.rejected / self.read
        if share <= config.max_rejected_share and self.good:
            return
        reason, count = min(self.reasons.items(), key=lambda item: (-item[1], item[0]))
        source, line = self.examples[reason]
        what = (f'{self.rejected:,} of {self.read:,} rows of the log cannot be used, more than '
                f'max_rejected_share allows ({config.max_rejected_share:.2%})' if self.good
                else f'None of the {self.read:,} rows of the log can be used')
        raise UserError(f'{what}: the commonest reason is "{reason}" ({count:,} rows, the '
                        f'first at {source}:{line}).')
