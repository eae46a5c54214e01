"""Histories against a plain search, on random logs with many ties."""

import itertools

import numpy as np
import pytest

from beam_jobs.features.history import recent_events, recent_events_in_domain, take_ragged


def random_rows(seed: int, rows: int = 400):
    rng = np.random.default_rng(seed)
    user, domain = rng.integers(0, 9, rows), rng.integers(0, 3, rows)
    timestamp = rng.integers(0, 30, rows) * 0.5
    order = np.lexsort((domain, timestamp, user))
    return user[order], domain[order], timestamp[order], rng.random(rows) < 0.5


def search(row, user, domain, timestamp, clicked, length, in_domain) -> list[int]:
    before = [
        other
        for other in range(len(user))
        if user[other] == user[row]
        and clicked[other]
        and timestamp[other] < timestamp[row]
        and (not in_domain or domain[other] == domain[row])
    ]
    return before[::-1][:length]


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('length', [1, 4, 1000])
def test_every_history_is_what_a_search_finds(seed, length):
    user, domain, timestamp, clicked = random_rows(seed)
    for in_domain in (False, True):
        if in_domain:
            offsets, rows = recent_events_in_domain(user, domain, timestamp, clicked, length)
        else:
            offsets, rows = recent_events(user, timestamp, clicked, length)
        for row in range(len(user)):
            assert rows[offsets[row] : offsets[row + 1]].tolist() == search(
                row, user, domain, timestamp, clicked, length, in_domain
            )


@pytest.mark.parametrize('seed', range(5))
def test_nothing_comes_from_the_impressions_time_or_later(seed):
    user, domain, timestamp, clicked = random_rows(seed, 3000)
    for offsets, rows in (
        recent_events(user, timestamp, clicked, 10),
        recent_events_in_domain(user, domain, timestamp, clicked, 10),
    ):
        owner = np.repeat(np.arange(len(user)), np.diff(offsets))
        assert len(rows) > 1000
        assert (timestamp[rows] < timestamp[owner]).all()
        assert (user[rows] == user[owner]).all() and clicked[rows].all()


def test_a_click_just_before_midnight_is_seen_just_after():
    midnight = 86400.0 * 19000
    offsets, rows = recent_events(
        np.zeros(3, int), midnight + np.array([-0.001, 0, 0]), np.ones(3, bool), 5
    )
    assert [rows[a:b].tolist() for a, b in itertools.pairwise(offsets)] == [[], [0], [0]]


def test_no_rows_and_no_clicks():
    nothing = np.zeros(0, int)
    offsets, rows = recent_events(nothing, nothing, nothing.astype(bool), 3)
    assert (offsets.tolist(), len(rows)) == ([0], 0)
    offsets, rows = recent_events_in_domain(nothing, nothing, nothing, nothing.astype(bool), 3)
    assert (offsets.tolist(), len(rows)) == ([0], 0)
    offsets, rows = recent_events(np.zeros(4, int), np.arange(4), np.zeros(4, bool), 3)
    assert (offsets.tolist(), len(rows)) == ([0] * 5, 0)


def test_take_ragged_with_repeats():
    offsets, values = np.array([0, 2, 2, 5]), np.array([1, 2, 3, 4, 5])
    taken, found = take_ragged(offsets, values, np.array([2, 0, 1, 2]))
    assert taken.tolist() == [0, 3, 5, 5, 8]
    assert found.tolist() == [3, 4, 5, 1, 2, 3, 4, 5]
