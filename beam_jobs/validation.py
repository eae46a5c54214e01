"""What a validation finds."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Drift:
    """How far a feature of two splits is apart.

    Attributes:
        feature: its name, or `domain`.
        domain: the slice's name, None for all rows.
        distance: the greatest difference of a value's shares (L-infinity).
        threshold: above which it is an anomaly, None where it is not judged.
        value: whose shares differ most, where the threshold is passed.
    """

    feature: str
    domain: str | None
    distance: float
    threshold: float | None
    value: str | None = None


@dataclass(frozen=True)
class Validation:
    """What was found.

    Attributes:
        anomalies: each a sentence; a dataset without any is sound.
        message: the outcome in one sentence.
        warnings: what a person should know, and nothing fails for.
        drift: every distance that was measured.
    """

    anomalies: list[str]
    message: str
    warnings: list[str] = field(default_factory=list)
    drift: list[Drift] = field(default_factory=list)
