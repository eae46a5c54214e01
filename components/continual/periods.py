"""Which period comes next, told from the dataset and the pushed models alone."""

from collections.abc import Iterator
from dataclasses import dataclass

from beam_jobs.dataset import Manifest, read_manifest
from beam_jobs.errors import UserError
from components.continual.config import ContinualConfig


@dataclass(frozen=True)
class Day:
    """A day of the dataset and the split that holds it."""

    day: str
    split: str


@dataclass(frozen=True)
class Period:
    """A period of the calendar of a dataset.

    Attributes:
        number: from 1.
        days: that it ends: its own.
        before: the days of the dataset before it, in order.
        evaluated_on: the day after its last.
    """

    number: int
    days: tuple[Day, ...]
    before: tuple[Day, ...]
    evaluated_on: Day

    @property
    def last_day(self) -> str:
        """The last day that its models are trained on."""
        return self.days[-1].day

    def since(self, day: str | None) -> list[Day]:
        """The days to the period's end after `day`; all where it is None.

        After a refused model these are more than the period's own: those of the periods since
        the newest blessed one are trained on again, so that no day is lost.
        """
        return [one for one in (*self.before, *self.days) if day is None or one.day > day]


def days_of(manifest: Manifest) -> list[Day]:
    """The days of a dataset in order.

    Raises:
        UserError: a split of more than a day.
    """
    for name, split in manifest.splits.items():
        if split.days[0] != split.days[1]:
            raise UserError(f'The split {name} of the dataset {manifest.name} is '
                            f'{split.days[0]} to {split.days[1]}, and a continual pipeline '
                            'needs a split for each day: build it with period_days: 1.')
    return sorted((Day(split.days[0], name) for name, split in manifest.splits.items()),
                  key=lambda day: day.day)


def periods(days: list[Day], continual: ContinualConfig) -> Iterator[Period]:
    """The periods that are complete: with the day after, which they are evaluated on."""
    size = continual.days_per_period
    for number in range(1, (len(days) - 1) // size + 1):
        end = number * size
        yield Period(number, tuple(days[end - size:end]), tuple(days[:end - size]), days[end])


def find_period(dataset: str, continual: ContinualConfig, number: int) -> Period:
    """The period of this number.

    Raises:
        UserError: the dataset does not go so far.
    """
    for period in periods(days_of(read_manifest(dataset)), continual):
        if period.number == number:
            return period
    raise UserError(f'The dataset {dataset} has no complete period {number}: it was built anew '
                    'meanwhile; run the pipeline again.')


def rows_of(manifest: Manifest, days: list[Day], domains: list[str]) -> int:
    """Examples of some domains on some days."""
    return sum(manifest.splits[day.split].examples.get(domain, 0)
               for day in days for domain in domains)
