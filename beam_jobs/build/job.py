"""What every worker of a build needs to know."""

import contextlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from beam_jobs.config import RANDOM, DatasetConfig
from beam_jobs.rows.splits import TRAIN
from beam_jobs.runner import report_user_errors
from mdctr import storage
from mdctr.dataset import open_dataset
from mdctr.file_records import FileRecord
from mdctr.manifest import Feature, read_vocabulary


class EarlierRows(NamedTuple):
    """Rows of a bucket that the dataset that is extended keeps.

    Attributes:
        bucket: Number of the bucket.
        path: File of the rows, sorted.
        record: Its size and SHA-256.
        end: Timestamp from which on its rows do not count. They were in no split, and came
            again with the days of a split that was added later.
    """

    bucket: int
    path: str
    record: FileRecord
    end: float


@dataclass(frozen=True)
class Extension:
    """The split that is added to an existing dataset.

    Attributes:
        split: Name of the split.
        days: Its first and last day.
        features: Features of the dataset. Their boundaries stay as they are, and so do their
            vocabularies unless the dataset grows.
        log: The dataset's rows.
        base: Directory of the version that is extended.
        trained: Days of the training splits of a dataset that grows; None if it does not.
    """

    split: str
    days: tuple[str, str]
    features: list[Feature]
    log: list[EarlierRows]
    base: str
    trained: list[tuple[str, str]] | None = None


@dataclass(frozen=True)
class Job:
    """What to build, and where.

    Attributes:
        config: The `dataset` section.
        directory: Directory of the version.
        staging: Directory of files that only the build needs, below `directory`.
        reader: Reader of the raw log.
        extension: The split that is added; None if the dataset is built from scratch.
    """

    config: DatasetConfig
    directory: str
    staging: str
    reader: Any
    extension: Extension | None = None

    @property
    def split_by(self) -> str:
        """How the new rows are split: by the `split` section, or else by days."""
        return 'days' if self.extension else self.config.split.by

    @property
    def keep_duplicates(self) -> bool:
        """Whether rows that are equal in user, item, domain and timestamp are all kept."""
        return self.config.duplicates == 'keep' or not getattr(
            self.reader, 'has_timestamps', True
        )

    def visible(self, split: np.ndarray) -> np.ndarray:
        """The rows that histories and statistics of examples may be computed from.

        These are all rows, since they are earlier than the example, unless the split is random:
        then held-out rows are hidden.

        Args:
            split: Number of each row's split, `int8[rows]`.

        Returns:
            `bool[rows]`.
        """
        return split == TRAIN if self.split_by in RANDOM else np.ones(len(split), bool)

    def vocabulary(self, name: str) -> list[str]:
        """The values of a vocabulary of the version, which the build has written.

        An extension of a dataset that does not grow has the vocabularies of that dataset.
        """
        if self.extension is not None and self.extension.trained is None:
            return open_dataset(self.extension.base).vocabulary(name)
        return read_vocabulary(self.directory, name)

    def log_path(self, bucket: int) -> str:
        """Where an extendable dataset keeps the new rows of a bucket."""
        return storage.join(self._own_directory('log'), f'{bucket:06d}.arrow')

    def rejected_path(self, bucket: int) -> str:
        """The file of a bucket's rejected rows."""
        name = f'part-{bucket:05d}-of-{self.config.user_buckets:05d}.jsonl'
        return storage.join(self._own_directory('rejected'), name)

    def _own_directory(self, kind: str) -> str:
        """A directory of files that are numbered by bucket: each extension has its own."""
        added = [self.extension.split] if self.extension else []
        return storage.join(self.directory, kind, *added)

    def reporting_errors(self) -> contextlib.AbstractContextManager[None]:
        """In a worker: passes errors that the user can fix on to the process of the build."""
        directory = self.directory
        return report_user_errors(
            self.staging, lambda error: storage.describe_error(directory, error)
        )
