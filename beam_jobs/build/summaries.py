"""Summaries of the sorted buckets, merged over the whole log before examples are made."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.arrow_files import write_arrow
from beam_jobs.build.job import Job
from beam_jobs.build.staging import lookup_path, table_path
from beam_jobs.config import (
    CategoricalFeature,
    DatasetConfig,
    NumericFeature,
    SequenceFeature,
)
from beam_jobs.features.lookup import Lookup
from beam_jobs.features.quantile_buckets import quantile_boundaries
from beam_jobs.features.target_statistics import (
    DailyCounts,
    combination_name,
    daily_counts_path,
    statistic_in_training,
    statistics_of,
)
from beam_jobs.features.vocabulary import order_by_frequency, order_by_state, write_vocabulary
from beam_jobs.rows.mergeable import NumberCounts, TableCounts, ValueCounts
from mdctr.dataset import open_dataset
from mdctr.manifest import vocabulary_path

Counts = TypeVar('Counts', ValueCounts, NumberCounts, TableCounts)
SummaryType = TypeVar('SummaryType', bound='Summary[Any]')


@dataclass(frozen=True)
class Growth:
    """How a vocabulary grows.

    Attributes:
        before: Number of values that the extended dataset knows.
        added: Number of values that each training split adds; index 0 is unused.
    """

    before: int
    added: list[int]


@dataclass(frozen=True)
class PlanInputs:
    """What the plan needs to know of the merged summaries; their tables stay in files.

    Attributes:
        vocabulary_sizes: Number of values of each vocabulary, by name.
        growth: Growth of each vocabulary that grows, by name.
        boundaries: Bucket boundaries of each numeric feature and statistic, by name.
        duplicates: Number of repeated impressions that were dropped.
    """

    vocabulary_sizes: dict[str, int] = field(default_factory=dict)
    growth: dict[str, Growth] = field(default_factory=dict)
    boundaries: dict[str, list[float]] = field(default_factory=dict)
    duplicates: int = 0

    @staticmethod
    def merge(parts: Sequence['PlanInputs']) -> 'PlanInputs':
        """All parts together."""
        merged: dict[str, dict[str, Any]] = {}
        for one in fields(PlanInputs):
            if one.name != 'duplicates':
                merged[one.name] = {}
                for part in parts:
                    merged[one.name] |= getattr(part, one.name)
        return PlanInputs(**merged, duplicates=sum(part.duplicates for part in parts))


@dataclass(frozen=True)
class Summary(ABC, Generic[Counts]):
    """One kind of summary of rows. Summaries with the same key merge.

    Attributes:
        name: What is summarized: a feature, a vocabulary, a combination or a table.
        counts: The summary itself.
    """

    name: str
    counts: Counts

    @property
    def key(self) -> str:
        """Kind and name."""
        return f'{type(self).__name__}/{self.name}'

    def __len__(self) -> int:
        return len(self.counts)

    @classmethod
    def merge(cls: type[SummaryType], summaries: Sequence[SummaryType]) -> SummaryType:
        """The summary of all rows that `summaries` summarize."""
        counts = [summary.counts for summary in summaries]
        return cls(summaries[0].name, type(counts[0]).merge(counts))

    @abstractmethod
    def write(self, job: Job) -> PlanInputs:
        """Writes the merged summary, and returns what the plan needs to know of it."""


class VocabularyCounts(Summary[ValueCounts]):
    """Values of a vocabulary in training."""

    def write(self, job: Job) -> PlanInputs:
        """Writes the vocabulary and its lookup."""
        vocabulary = order_by_frequency(self.counts, _min_count(self.name, job.config))
        _write_vocabulary(job, self.name, vocabulary)
        return PlanInputs(vocabulary_sizes={self.name: len(vocabulary)})


class VocabularyGrowth(Summary[TableCounts]):
    """Values of a vocabulary that grows, by state (see `beam_jobs.features.vocabulary`)."""

    def write(self, job: Job) -> PlanInputs:
        """Writes the vocabulary and its lookup: the dataset's values, then the new ones."""
        base = job.extension.base if job.extension else None
        old = pa.array(open_dataset(base).vocabulary(self.name) if base else [], pa.string())
        new, state = order_by_state(self.counts, _min_count(self.name, job.config))
        added = pc.invert(pc.is_in(new, old)).to_numpy(zero_copy_only=False)
        _write_vocabulary(job, self.name, pa.concat_arrays([old, new.filter(pa.array(added))]))
        growth = Growth(len(old), np.bincount(state[added]).tolist())
        return PlanInputs(growth={self.name: growth})


class NumericValues(Summary[NumberCounts]):
    """Values of a numeric feature in training."""

    def write(self, job: Job) -> PlanInputs:
        """Writes nothing: boundaries are part of the plan."""
        feature = next(f for f in job.config.features if f.name == self.name)
        assert isinstance(feature, NumericFeature)
        boundaries = quantile_boundaries(self.counts, feature.buckets)
        return PlanInputs(boundaries={self.name: boundaries})


class StatisticCounts(Summary[TableCounts]):
    """Rows and clicks of a combination by value and day."""

    def write(self, job: Job) -> PlanInputs:
        """Writes the `DailyCounts` of the combination."""
        path = daily_counts_path(job.staging, self.name)
        DailyCounts.write(path, self.counts)
        return PlanInputs(
            boundaries={
                feature.name: quantile_boundaries(
                    statistic_in_training(path, self.counts, feature), feature.buckets
                )
                for feature in statistics_of(job.config)
                if combination_name(feature) == self.name
            }
        )


class PlanTable(Summary[TableCounts]):
    """A table that the plan is made from."""

    def write(self, job: Job) -> PlanInputs:
        """Writes the table."""
        write_arrow(table_path(job.staging, self.name), self.counts.table)
        return PlanInputs()


class DuplicateRows(Summary[TableCounts]):
    """Number of repeated impressions that were dropped."""

    @staticmethod
    def of(rows: int) -> 'DuplicateRows':
        """The summary of one bucket."""
        table = pa.table({'kind': ['duplicates'], 'rows': [rows]})
        return DuplicateRows('', TableCounts(table, 1))

    def write(self, job: Job) -> PlanInputs:
        """Writes nothing: the number is part of the plan."""
        return PlanInputs(duplicates=self.counts.table['rows'][0].as_py())


def _min_count(vocabulary: str, config: DatasetConfig) -> int:
    return next(
        (
            feature.min_count
            for feature in config.features
            if isinstance(feature, (CategoricalFeature, SequenceFeature))
            and feature.name == vocabulary
        ),
        1,
    )


def _write_vocabulary(job: Job, name: str, vocabulary: pa.Array) -> None:
    write_vocabulary(vocabulary_path(job.directory, name), vocabulary)
    Lookup.write(lookup_path(job.staging, name), vocabulary)
