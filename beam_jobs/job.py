"""What every worker of a build is told."""

import contextlib
import os
from dataclasses import dataclass
from typing import Any

from beam_jobs.config import DatasetConfig
from beam_jobs.dataset import Feature
from beam_jobs.runner import telling_errors


@dataclass(frozen=True)
class Extension:
    """What is added to a dataset that is there.

    Attributes:
        split, days: the name and the days of the split that is added.
        features: of the dataset, whose boundaries stay, and whose vocabularies do too unless
            it grows.
        log: (bucket, file) of its rows.
        base: its directory.
        trained: of a dataset that grows, the days of its training splits; None for others.
    """

    split: str
    days: tuple[str, str]
    features: list[Feature]
    log: list[tuple[int, str]]
    base: str
    trained: list[tuple[str, str]] | None = None


@dataclass(frozen=True)
class Job:
    """What to build, and where.

    Attributes:
        config: the `dataset` section.
        directory: of the dataset, while it is built.
        staging: of what is needed only until then; below `directory`.
        reader: where the rows come from.
        extension: what is added to a dataset, where it is not built anew.
    """

    config: DatasetConfig
    directory: str
    staging: str
    reader: Any
    extension: Extension | None = None

    def telling_errors(self) -> contextlib.AbstractContextManager:
        """In a worker: sentences of errors reach the caller."""
        return telling_errors(self.directory.removesuffix('.building'), self.staging)


def log_directory(directory: str) -> str:
    """Where an extendable dataset keeps its rows, a file a bucket."""
    return os.path.join(directory, 'log')
