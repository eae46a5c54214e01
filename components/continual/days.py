"""Which days of a raw log are there, by the names of its files."""

import re
from dataclasses import dataclass

from beam_jobs.config import DatasetConfig
from beam_jobs.dataset import Manifest
from beam_jobs.errors import UserError
from beam_jobs.files import matches
from beam_jobs.splits import day_name, day_number
from components.continual.config import DAY, ContinualConfig

_DATE = re.compile(r'(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)')


@dataclass(frozen=True)
class RawLog:
    """A log whose files have their day in their names (`{day}` in `dataset.inputs`).

    Args:
        config: the `dataset` section.
        continual: the `continual` section.
    """

    config: DatasetConfig
    continual: ContinualConfig

    def inputs(self, *days: str) -> list[str]:
        """The inputs of some days."""
        return [path.replace(DAY, day) for day in days for path in self.config.inputs]

    def has(self, day: str) -> bool:
        """Whether every input of the day has files, none empty, and its marker is there."""
        marker = self.continual.success_marker
        if marker is not None and not matches(marker.replace(DAY, day)):
            return False
        found = [matches(path) for path in self.inputs(day)]
        return all(files and all(files.values()) for files in found)

    def days(self, after: str = '') -> list[str]:
        """The days that are there, from the first on, or only those after a day."""
        found = set()
        for path in self.config.inputs:
            anything = path.replace(DAY, '????-??-??').rstrip('/')
            for pattern in (anything, anything + '/*'):  # of files, or of their folders
                for name in matches(pattern):
                    found.update(_DATE.findall(name))
        first = self.config.split.start
        return [day for day in sorted(found) if _is_day(day) and first <= day > after
                and self.has(day)]

    def first_days(self) -> list[str]:
        """The days of the dataset as it is first built: its periods and the day after."""
        first = day_number(self.config.split.start)
        return [day_name(first + n) for n in range(self.config.split.periods + 1)]

    def next(self, last: str) -> str | None:
        """The next day after `last` that is there, or None.

        Days come in order: one that is missing is waited for until `wait_days` later ones
        are there, and is then passed over.
        """
        later = self.days(after=last)
        if not later:
            return None
        in_turn = day_number(later[0]) == day_number(last) + 1
        return later[0] if in_turn or len(later) >= self.continual.wait_days else None

    def notes(self, manifest: Manifest) -> list[str]:
        """A sentence for each day that came late, or once more with other files.

        The dataset keeps what it has: its examples are what the models were trained on.
        """
        have = {split.days[0] for split in manifest.splits.values()}
        last = max(have)
        taken = {(file['name'], file['size']) for file in manifest.source.get('inputs', [])}
        found = []
        for day in self.days():
            if day < last and day not in have:
                found.append(f'The log of {day} came after that of {last} was added to the '
                             'dataset: it is left out.')
            elif day in have:
                files = [file for path in self.inputs(day)
                         for file in matches(path).items()]
                changed = [name for name, size in files
                           if (name.rsplit('/', 1)[-1], size) not in taken]
                if changed:
                    found.append(f'The log of {day} is in the dataset already, and '
                                 f'{changed[0]} is new or has changed since: it is left out.')
        return found


def first_days_of(raw: RawLog) -> list[str] | None:
    """The days to build the dataset from; None while they are not all there.

    Raises:
        UserError: one is missing, and a later one is there, so that it is not to be expected.
    """
    wanted, there = raw.first_days(), raw.days()
    missing = [day for day in wanted if day not in there]
    for day in missing:
        if sum(later > day for later in there) >= raw.continual.wait_days:
            raise UserError(f'The log of {day} is missing, and later days are there: bring it, '
                            'or choose a later dataset.split.start.')
    return None if missing else wanted


def _is_day(text: str) -> bool:
    try:
        return day_name(day_number(text)) == text
    except ValueError:
        return False
