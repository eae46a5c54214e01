"""What a user clicked before an impression: never at its own time, never later."""

import numpy as np


def recent_clicks(group: np.ndarray, timestamp: np.ndarray, clicked: np.ndarray,
                  length: int) -> tuple[np.ndarray, np.ndarray]:
    """For each row, the group's last clicked rows strictly before its timestamp.

    Args:
        group: int `[rows]`, the user, or the user in a domain; rows of a group are side by
            side, in the order of time.
        timestamp: float `[rows]`, ascending within a group. Rows at the same time do not see
            each other.
        clicked: bool `[rows]`, the rows that are remembered.
        length: the most rows that are remembered.

    Returns:
        offsets `int64[rows + 1]` and row numbers `int64[offsets[-1]]`: row i remembers
        `numbers[offsets[i]:offsets[i + 1]]`, most recent first.
    """
    rows = np.arange(len(group))
    new_group = np.ones(len(group), bool)
    new_group[1:] = group[1:] != group[:-1]
    new_time = new_group.copy()
    new_time[1:] |= timestamp[1:] != timestamp[:-1]
    group_start = np.maximum.accumulate(np.where(new_group, rows, 0))
    time_start = np.maximum.accumulate(np.where(new_time, rows, 0))

    clicks_before = np.concatenate([[0], np.cumsum(clicked)])
    end = clicks_before[time_start]
    counts = end - np.maximum(clicks_before[group_start], end - length)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    back = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    return offsets, np.flatnonzero(clicked)[np.repeat(end, counts) - 1 - back]


def recent_clicks_in_domain(user: np.ndarray, domain: np.ndarray, timestamp: np.ndarray,
                            clicked: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """As `recent_clicks`, of the clicks in the row's own domain.

    Rows come in the order of (user, timestamp), as there; `user` and `domain` are codes.
    """
    group = user.astype(np.int64) * (int(domain.max(initial=0)) + 1) + domain
    order = np.argsort(group, kind='stable')  # keeps the order of time within a group
    offsets, numbers = recent_clicks(group[order], timestamp[order], clicked[order], length)
    numbers = order[numbers]
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return take_ragged(offsets, numbers, place)


def take_ragged(offsets: np.ndarray, values: np.ndarray,
                rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lists of `rows`, in their order: offsets `[len(rows) + 1]` and values."""
    counts = (offsets[1:] - offsets[:-1])[rows]
    taken = np.concatenate([[0], np.cumsum(counts)])
    index = np.arange(taken[-1]) + np.repeat(offsets[:-1][rows] - taken[:-1], counts)
    return taken, values[index]
