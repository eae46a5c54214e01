"""A user's events before an impression: never at its own time, never later."""

import numpy as np

from mdctr.runs import starts_run


def recent_events(
    group: np.ndarray, timestamp: np.ndarray, is_event: np.ndarray, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """For each row, the last events of its group strictly before its timestamp.

    Args:
        group: The user, or the user in a domain, `int[rows]`; the rows of a group are
            adjacent and in the order of time.
        timestamp: Time of each row, ascending within a group, `float[rows]`. Rows of the same
            time do not see each other.
        is_event: Whether the row is an event that later rows remember, `bool[rows]`.
        length: Maximum number of events a row remembers.

    Returns:
        Offsets `int64[rows + 1]` and row numbers `int64[offsets[-1]]`: row i remembers the
        rows `numbers[offsets[i]:offsets[i + 1]]`, most recent first.
    """
    rows = np.arange(len(group))
    group_start = np.maximum.accumulate(np.where(starts_run(group), rows, 0))
    time_start = np.maximum.accumulate(np.where(starts_run(group, timestamp), rows, 0))

    events_before = np.concatenate([[0], np.cumsum(is_event)])
    end = events_before[time_start]
    counts = end - np.maximum(events_before[group_start], end - length)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    back = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    return offsets, np.flatnonzero(is_event)[np.repeat(end, counts) - 1 - back]


def recent_events_in_domain(
    user: np.ndarray,
    domain: np.ndarray,
    timestamp: np.ndarray,
    is_event: np.ndarray,
    length: int,
) -> tuple[np.ndarray, np.ndarray]:
    """As `recent_events`, of the user's events in the row's own domain.

    Args:
        user: Codes of the users, `int[rows]`; rows are in the order of (user, timestamp).
        domain: Codes of the domains, `int[rows]`.
        timestamp: See `recent_events`.
        is_event: See `recent_events`.
        length: See `recent_events`.
    """
    group = user.astype(np.int64) * (int(domain.max(initial=0)) + 1) + domain
    order = np.argsort(group, kind='stable')  # keeps the order of time within a group
    offsets, numbers = recent_events(group[order], timestamp[order], is_event[order], length)
    numbers = order[numbers]
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return take_ragged(offsets, numbers, place)


def take_ragged(
    offsets: np.ndarray, values: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The lists of `rows`, in their order: offsets `[len(rows) + 1]` and values."""
    counts = (offsets[1:] - offsets[:-1])[rows]
    taken = np.concatenate([[0], np.cumsum(counts)])
    index = np.arange(taken[-1]) + np.repeat(offsets[:-1][rows] - taken[:-1], counts)
    return taken, values[index]
