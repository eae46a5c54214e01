"""Report on the rows and examples of a bucket; the manifest adds up all reports."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field

from beam_jobs.build.staging import report_path
from mdctr import storage


@dataclass
class SplitCounts:
    """The examples of a split.

    Attributes:
        examples: Number of examples, by domain name.
        clicks: Number of clicks, by domain name.
        files: SHA-256 of each file of examples, by file name.
    """

    examples: dict[str, int] = field(default_factory=dict)
    clicks: dict[str, int] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def add(self, other: 'SplitCounts') -> None:
        """Adds the counts of another bucket."""
        for total, counts in ((self.examples, other.examples), (self.clicks, other.clicks)):
            for domain, count in counts.items():
                total[domain] = total.get(domain, 0) + count
        self.files |= other.files


@dataclass
class BucketReport:
    """What became of the rows of a bucket.

    Attributes:
        kept: Rows that became examples.
        down_sampled: Rows inside the splits that did not.
        sampled_negatives: Negatives that were drawn.
        shortfall: Negatives that could not be drawn.
        splits: Counts of each split, by name.
    """

    kept: int = 0
    down_sampled: int = 0
    sampled_negatives: int = 0
    shortfall: int = 0
    splits: dict[str, SplitCounts] = field(default_factory=dict)

    def add(self, other: 'BucketReport') -> None:
        """Adds the counts of another bucket."""
        self.kept += other.kept
        self.down_sampled += other.down_sampled
        self.sampled_negatives += other.sampled_negatives
        self.shortfall += other.shortfall
        for name, counts in other.splits.items():
            self.splits.setdefault(name, SplitCounts()).add(counts)

    def write(self, staging: str, bucket: int) -> None:
        """Writes the report."""
        storage.write_json(report_path(staging, bucket), asdict(self))


def total_report(staging: str, buckets: int, splits: Iterable[str] = ()) -> BucketReport:
    """The sum of the reports of all buckets, with `splits` even if they have no examples."""
    total = BucketReport(splits={split: SplitCounts() for split in splits})
    for report in read_reports(staging, buckets):
        total.add(report)
    return total


def read_reports(staging: str, buckets: int) -> Iterator[BucketReport]:
    """The reports of all buckets that have rows."""
    written = set(storage.list_directory(storage.parent(report_path(staging, 0))))
    for bucket in range(buckets):
        path = report_path(staging, bucket)
        if storage.name(path) in written:
            values = storage.read_json(path)
            splits = {
                name: SplitCounts(**counts) for name, counts in values.pop('splits').items()
            }
            yield BucketReport(**values, splits=splits)
