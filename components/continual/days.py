"""The days of a raw log that has their dates in the names of its files."""

import re
from collections.abc import Collection
from dataclasses import dataclass

from beam_jobs.config import DatasetConfig
from beam_jobs.readers.raw_files import base_name, checksum, matches
from components.continual.config import DAY, ContinualConfig
from mdctr import storage
from mdctr.dataset import Dataset
from mdctr.days import day_name, day_number
from mdctr.errors import UserError
from mdctr.manifest import split_directory
from mdctr.storage import FileInfo

_DATE = re.compile(r'(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)')


@dataclass(frozen=True)
class RawLog:
    """A raw log with `{day}` in its inputs.

    Attributes:
        config: The `dataset` section.
        continual: The `continual` section.
    """

    config: DatasetConfig
    continual: ContinualConfig

    @property
    def patterns(self) -> list[str]:
        """The inputs, each with `{day}` in it."""
        return self.config.input_patterns

    @property
    def first_day(self) -> str:
        """First day of the dataset."""
        first = self.config.split.first_day
        assert first is not None  # see `check_dataset`
        return first

    def inputs(self, *days: str) -> list[str]:
        """The inputs of some days."""
        return [path.replace(DAY, day) for day in days for path in self.patterns]

    def has(self, day: str) -> bool:
        """Whether every input of a day has a file that is not empty, and its marker exists."""
        marker = self.continual.success_marker
        if marker is not None and not matches(marker.replace(DAY, day)):
            return False
        found = [matches(path) for path in self.inputs(day)]
        return all(any(file.size for file in files.values()) for files in found)

    def days(self, after: str = '') -> list[str]:
        """The days that are complete, from the dataset's first on or after a day, in order.

        Dismissed days are left out.
        """
        found = set()
        for path in self.patterns:
            anything = path.replace(DAY, '????-??-??').rstrip('/')
            for pattern in (anything, anything + '/*'):  # of files, or of their folders
                for name in matches(pattern):
                    found.update(_DATE.findall(name))
        return [
            day
            for day in sorted(found)
            if _is_day(day)
            and day not in self.continual.dismissed_days
            and self.first_day <= day > after
            and self.has(day)
        ]

    def first_days(self) -> list[str]:
        """The days that the dataset is first built from: its periods and the day after them."""
        first = day_number(self.first_day)
        return [day_name(first + n) for n in range(self.config.split.periods + 1)]

    def next(self, last: str, empty: Collection[str] = ()) -> str | None:
        """The next day to add, or None.

        Days come in order: one that is missing or empty is waited for until `wait_days` later
        ones are there, and is then passed over. A dismissed day is passed over at once.

        Args:
            last: The day after which it comes.
            empty: Days that are there but have no rows.
        """
        later = [day for day in self.days(after=last) if day not in empty]
        if not later:
            return None
        due = day_number(last) + 1
        while day_name(due) in self.continual.dismissed_days:
            due += 1
        in_turn = day_number(later[0]) == due
        return later[0] if in_turn or len(later) >= self.continual.wait_days else None

    def columns(self, day: str, cache: str) -> list[str]:
        """The columns of a day's log; none if its files are gone or the reader cannot tell."""
        from beam_jobs.readers import make_reader

        if not self.has(day):
            return []
        config = self.config.replace(inputs=self.inputs(day))
        return make_reader(config, cache).log_columns()

    def notes(self, dataset: Dataset) -> list[str]:
        """A sentence for each day that is not in the dataset, or was changed since.

        The dataset keeps what it has: its examples are what the models were trained on. So a
        day that came after its successor, or was empty when it came, stays out of it.

        Args:
            dataset: The dataset.
        """
        manifest = dataset.manifest
        have = {split.days[0]: name for name, split in manifest.splits.items()}
        last = max(have)
        taken: dict[tuple[str, int], set[str]] = {}
        for file in manifest.source.get('inputs', []):
            taken.setdefault((file['name'], file['size']), set()).add(file['sha256'])
        found = []
        for day in self.days():
            if day < last and day not in have:
                found.append(
                    f'The log of {day} is not in the dataset, which has later days (up to '
                    f'{last}): it came late or was empty. Include it (docs/continual.md says '
                    'how), or add it to continual.dismissed_days.'
                )
            elif day in have:
                added = _added(dataset, have[day])
                files = [item for path in self.inputs(day) for item in matches(path).items()]
                changed = [
                    path for path, file in files if _has_changed(path, file, taken, added)
                ]
                if changed:
                    found.append(
                        f'The log of {day} is in the dataset already, and {changed[0]} is new '
                        'or has changed since: the dataset keeps the day as it was. Include '
                        'the change (docs/continual.md says how), or add the day to '
                        'continual.dismissed_days.'
                    )
        return found


def first_days_of(raw: RawLog) -> list[str] | None:
    """The days to build the dataset from; None until all of them are complete.

    Raises:
        UserError: A day is missing although `wait_days` later ones are there.
    """
    wanted, there = raw.first_days(), raw.days()
    missing = [day for day in wanted if day not in there]
    for day in missing:
        if sum(later > day for later in there) >= raw.continual.wait_days:
            raise UserError(
                f'The log of {day} is missing, and later days are there: add its files, '
                'or choose a later dataset.split.first_day.'
            )
    return None if missing else wanted


def _has_changed(
    path: str, file: FileInfo, taken: dict[tuple[str, int], set[str]], added: float | None
) -> bool:
    """Whether a raw file differs from those that the dataset was built from.

    A file whose size is the same is read only if it was modified after its day was added.

    Args:
        path: Path of the file.
        file: Its size and modification time.
        taken: SHA-256 of the raw files of the dataset, by base name and size.
        added: Time at which the day was added; None if unknown.
    """
    known = taken.get((base_name(path), file.size))
    if known is None:
        return True
    # Object stores give whole seconds: within the same one, only the contents can tell.
    if added is None or file.modified is None or file.modified < int(added):
        return False
    return checksum(path)[1] not in known


def _added(dataset: Dataset, split: str) -> float | None:
    """The time at which a split was added; None if it cannot be told."""
    prefix = split_directory('', split) + '/'
    written = [name for name in dataset.manifest.files if name.startswith(prefix)]
    if not written or not storage.is_file(dataset.path(written[0])):
        return None
    return storage.info(dataset.path(written[0])).modified


def _is_day(text: str) -> bool:
    try:
        return day_name(day_number(text)) == text
    except ValueError:
        return False
