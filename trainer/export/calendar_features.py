"""Features that are the hour or the weekday of an impression, computed from a timestamp."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mdctr.days import SECONDS_PER_DAY
from mdctr.manifest import Feature, Manifest
from trainer.keras import tf

TIMESTAMP = 'timestamp'
_COLUMNS = ('hour', 'weekday')


@dataclass(frozen=True)
class CalendarFeatures:
    """The calendar features of a model, and the time zone that they are in.

    Attributes:
        columns: `hour` or `weekday`, by the name of the feature.
        utc_offset: Hours by which local time is ahead of UTC.
    """

    columns: dict[str, str]
    utc_offset: float

    def __call__(self, timestamp: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the features as text [batch]: hour `0` to `23` and weekday `0` (Monday) to
        `6`.

        Args:
            timestamp: Seconds since 1970-01-01 UTC, float64 [batch]; NaN if missing, which
                gives ''.
        """
        local = timestamp + 3600 * self.utc_offset
        numbers = {
            'hour': tf.math.floormod(local, SECONDS_PER_DAY) // 3600,
            'weekday': tf.math.floormod(local // SECONDS_PER_DAY + 3, 7),
        }
        is_missing = tf.math.is_nan(timestamp)
        return {
            name: tf.where(
                is_missing, '', tf.strings.as_string(tf.cast(numbers[column], 'int32'))
            )
            for name, column in self.columns.items()
        }


def calendar_features(manifest: Manifest, features: Sequence[Feature]) -> CalendarFeatures:
    """Returns the calendar features among a model's features.

    Args:
        manifest: Manifest of the dataset, whose configuration names the features' columns.
        features: Features of the model.
    """
    columns = {
        settings['name']: settings.get('column') or settings['name']
        for settings in manifest.config.get('features', [])
        if 'name' in settings
    }
    return CalendarFeatures(
        {
            feature.name: columns[feature.name]
            for feature in features
            if columns.get(feature.name) in _COLUMNS and feature.kind == 'categorical'
        },
        utc_offset_of(manifest),
    )


def utc_offset_of(manifest: Manifest) -> float:
    """Hours by which the log's days begin before UTC's."""
    return float(manifest.config.get('utc_offset') or 0.0)
