"""Calendar days, numbered from 1970-01-01.

A log's days begin at midnight UTC, or `utc_offset` hours before it (8 for China).
"""

import datetime

import numpy as np
from numpy.typing import NDArray

SECONDS_PER_DAY = 86400
_EPOCH = datetime.date(1970, 1, 1)


def day_number(day: str) -> int:
    """The number of an ISO date.

    Raises:
        ValueError: `day` is not written YYYY-MM-DD.
    """
    return (parse_day(day) - _EPOCH).days


def day_name(number: int) -> str:
    """The ISO date of a day number."""
    return (_EPOCH + datetime.timedelta(days=int(number))).isoformat()


def parse_day(day: str) -> datetime.date:
    """Parses an ISO date.

    Raises:
        ValueError: `day` is not written YYYY-MM-DD.
    """
    try:
        return datetime.date.fromisoformat(day)
    except (TypeError, ValueError):
        raise ValueError(f'{day!r} is not a day, which is written YYYY-MM-DD.') from None


def days_of(timestamp: NDArray[np.float64], utc_offset: float) -> NDArray[np.int64]:
    """The day number of each timestamp.

    Args:
        timestamp: Seconds since 1970-01-01 UTC, `[rows]`.
        utc_offset: Hours by which the log's days begin before UTC's.

    Returns:
        `int64[rows]`.
    """
    return ((timestamp + 3600 * utc_offset) // SECONDS_PER_DAY).astype(np.int64)


def day_start(number: int, utc_offset: float) -> float:
    """The first second of a day, in seconds since 1970-01-01 UTC."""
    return number * SECONDS_PER_DAY - 3600 * utc_offset
