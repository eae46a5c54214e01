"""The periods of a dataset: groups of consecutive days."""

from collections.abc import Iterator
from dataclasses import dataclass

from components.continual.config import ContinualConfig
from mdctr.dataset import Dataset, open_dataset
from mdctr.errors import UserError
from mdctr.manifest import Manifest


@dataclass(frozen=True)
class Day:
    """A day of the dataset, and the name of its split."""

    day: str
    split: str


@dataclass(frozen=True)
class Period:
    """Consecutive days of a dataset.

    Attributes:
        number: Number of the period, from 1.
        days: Its days, in order.
        before: The days of the dataset before it, in order.
        evaluated_on: The day after its last.
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
        """The days after `day` up to the end of the period; all of them if `day` is None.

        After a refused model these are more than the period's own days: those of the refused
        periods are trained on again, so that no day is lost.
        """
        return [one for one in (*self.before, *self.days) if day is None or one.day > day]


def days_of(manifest: Manifest) -> list[Day]:
    """The days of a dataset, in order.

    Raises:
        UserError: A split has more than one day.
    """
    for name, split in manifest.splits.items():
        if split.days[0] != split.days[1]:
            raise UserError(
                f'The split {name} of the dataset {manifest.name} is '
                f'{split.days[0]} to {split.days[1]}, and a continual pipeline '
                'needs a split for each day: build it with period_days: 1.'
            )
    return sorted(
        (Day(split.days[0], name) for name, split in manifest.splits.items()),
        key=lambda day: day.day,
    )


def periods(days: list[Day], continual: ContinualConfig) -> Iterator[Period]:
    """The complete periods: those that have a following day to be evaluated on."""
    size = continual.days_per_period
    for number in range(1, (len(days) - 1) // size + 1):
        end = number * size
        yield Period(
            number, tuple(days[end - size : end]), tuple(days[: end - size]), days[end]
        )


def find_period(dataset: str | Dataset, continual: ContinualConfig, number: int) -> Period:
    """The period with a number.

    Raises:
        UserError: The dataset ends before it.
    """
    for period in periods(days_of(open_dataset(dataset).manifest), continual):
        if period.number == number:
            return period
    raise UserError(
        f'The dataset {dataset} has no complete period {number}: it was rebuilt in the '
        'meantime; run the pipeline again.'
    )


def rows_of(manifest: Manifest, days: list[Day], domains: list[str]) -> int:
    """The number of examples of some domains on some days."""
    return sum(
        manifest.splits[day.split].examples.get(domain, 0) for day in days for domain in domains
    )
