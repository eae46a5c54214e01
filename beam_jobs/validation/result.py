"""What a validation finds."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Change:
    """A comparison of a split with the training split.

    Attributes:
        split: Name of the split.
        check: What was compared: the name of a feature, `domain`, `click`, `user` or `day`.
        domain: Name of the domain, None for all rows.
        quantity: What was measured, for example `share of i7`.
        before: Its value in the training split.
        after: Its value in the split.
        allowed: How far the two may be apart, None where the check is not judged.
        failed: Whether they are significantly farther apart.
        sentence: The anomaly, where the check failed.
    """

    split: str
    check: str
    domain: str | None
    quantity: str
    before: float
    after: float
    allowed: float | None
    failed: bool = False
    sentence: str = ''


def part_of(split: str, domain: str | None) -> str:
    """Names the rows of a split, or of a domain of it, at the beginning of a sentence."""
    return split if domain is None else f'{split}, domain {domain}'


@dataclass(frozen=True)
class Validation:
    """What was found.

    Attributes:
        anomalies: Sentences; a dataset without any is sound.
        message: The outcome in one sentence.
        warnings: What a person should know, but what fails nothing.
        changes: The largest change of each feature, and everything that failed.
        comparisons: Number of comparisons, of which `false_alarm_rate` is the probability that
            any of them fails by chance.
    """

    anomalies: list[str]
    message: str
    warnings: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    comparisons: int = 0
