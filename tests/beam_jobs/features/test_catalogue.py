"""Draws from the catalogue: the right distribution, never a false negative or the future."""

import numpy as np
import pytest

from beam_jobs.features.catalogue import EXHAUSTED, Candidates, Catalogue, Interactions

ITEMS = 1000
EVER = 10_000  # a day, or a time, after everything


@pytest.fixture
def catalogue(tmp_path):
    """A function that makes a catalogue of (domain, item, day, rows)."""

    def make(entries: list[tuple[int, int, int, int]], popularity: float = 0.0) -> Catalogue:
        columns = np.array(entries, np.int64).reshape(-1, 4).T
        order = np.random.default_rng(0).permutation(columns.shape[1])
        domain, item, day, rows = columns[:, order]
        Catalogue.write(str(tmp_path / 'catalogue'), domain, item, day, rows, ITEMS, popularity)
        return Catalogue(str(tmp_path / 'catalogue'))

    return make


def candidates(count: int, domain=0, day=EVER, user=0, until=EVER) -> Candidates:
    domain, day, user = (
        np.broadcast_to(column, count).astype(np.int64) for column in (domain, day, user)
    )
    return Candidates(domain, day, user, np.broadcast_to(until, count).astype(float))


def known(of_user: list[dict[int, float]]) -> Interactions:
    """The interactions of users 0, 1, ...: time by item."""
    rows = sorted(
        (user, time, item) for user, items in enumerate(of_user) for item, time in items.items()
    )
    user, time, item = np.array(rows, float).reshape(-1, 3).T
    return Interactions.of_rows(user.astype(np.int64), item.astype(np.int64), time, ITEMS)


def keys(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**63, count).astype(np.uint64)


def chi_square(counts: np.ndarray, shares: np.ndarray) -> float:
    expected = shares * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


def test_items_are_drawn_uniformly_from_the_domain(catalogue):
    table = catalogue(
        [(0, n, n % 3, 1) for n in range(0, 40, 2)] + [(1, n, 0, 1) for n in (1, 3)]
    )
    drawn = table.sample(1, candidates(40_000), keys(40_000), known([]))
    assert set(drawn.tolist()) == set(range(0, 40, 2))
    # The 99.99 % point of chi-square with 19 degrees of freedom is 50.8.
    assert chi_square(np.bincount(drawn)[::2], np.full(20, 1 / 20)) < 50.8


@pytest.mark.parametrize(
    ('day', 'items'), [(4, []), (5, [7]), (6, [7]), (8, [7, 9]), (9, [2, 7, 9])]
)
def test_items_that_appear_later_are_not_drawn(catalogue, day, items):
    table = catalogue([(0, 1, 0, 1), (1, 7, 5, 1), (1, 9, 7, 1), (1, 2, 9, 1), (2, 3, 0, 1)])
    drawn = table.sample(1, candidates(1000, 1, day), keys(1000), known([]))
    assert sorted(set(drawn.tolist())) == (items or [EXHAUSTED])


def test_interactions_before_the_time_are_known(catalogue):
    table = catalogue([(0, n, 0, 1) for n in range(4)])
    interactions = known([{0: 1.0, 1: 2.0, 2: 3.0}])
    for until, items in ((1.0, {0, 1, 2, 3}), (1.5, {1, 2, 3}), (3.0, {2, 3}), (4.0, {3})):
        drawn = table.sample(1, candidates(2000, until=until), keys(2000), interactions)
        assert set(drawn.tolist()) == items


def test_the_first_of_several_interactions_counts():
    interactions = Interactions.of_rows(
        np.array([0, 0, 1]), np.array([5, 5, 5]), np.array([2.0, 3.0, 1.0]), ITEMS
    )
    assert interactions.keys.tolist() == [5, ITEMS + 5]
    assert interactions.since.tolist() == [2.0, 1.0]


@pytest.mark.parametrize(
    ('day', 'counts'),
    [(1, [64, 0, 0]), (2, [64, 36, 1]), (3, [64, 100, 1]), (9, [64, 100, 25])],
)
def test_items_are_drawn_by_their_popularity_so_far(catalogue, day, counts):
    table = catalogue(
        [
            (0, 5, 1, 64),
            (0, 6, 2, 36),
            (0, 7, 2, 1),
            (0, 6, 3, 64),
            (0, 7, 4, 24),
            (1, 8, 0, 9),
        ],
        popularity=0.5,
    )
    drawn = table.sample(1, candidates(20_000, 0, day), keys(20_000), known([]))
    shares = np.sqrt(counts) / np.sqrt(counts).sum()
    found = np.bincount(drawn, minlength=8)[5:8]
    assert found[shares == 0].sum() == 0
    # The 99.99 % point of chi-square with 2 degrees of freedom is 18.4.
    assert chi_square(found[shares > 0], shares[shares > 0]) < 18.4


@pytest.mark.parametrize('popularity', [0.0, 1.0])
def test_users_who_know_nearly_everything_get_the_rest_in_proportion(catalogue, popularity):
    rows = {item: (item % 5 + 1) * 10 for item in range(10, 60)}
    entries = [(0, n, 0, 1) for n in range(10)] + [(2, n, 0, 1) for n in range(5)]
    if popularity:  # shown on two days
        entries += [(1, n, n % 3, count - 7) for n, count in rows.items()]
        entries += [(1, n, 3, 7) for n in rows]
    else:
        entries += [(1, n, n % 3, count) for n, count in rows.items()]
    table = catalogue([*entries, (1, 60, 4, 1000)], popularity)
    # User 0 knows all but four of domain 1, and many items of other domains.
    rest = [10, 23, 41, 59]
    knows = dict.fromkeys([*range(10), *(set(rows) - set(rest)), 700, 999], 1.0)
    interactions = known([knows | {10: 99.0}, {10: 1.0, 59: 1.0}])
    drawn = table.sample(3, candidates(40_000, 1, 3, 0, 50.0), keys(40_000), interactions)
    assert set(drawn.tolist()) == set(rest)
    shares = np.array([rows[item] if popularity else 1 for item in rest], float)
    # The 99.99 % point of chi-square with 3 degrees of freedom is 21.1.
    assert chi_square(np.bincount(drawn)[rest], shares / shares.sum()) < 21.1


@pytest.mark.parametrize('popularity', [0.0, 0.7])
def test_random_logs_never_give_a_false_negative(catalogue, popularity):
    rng = np.random.default_rng(4)
    of_domain = [
        {int(item): int(rng.integers(0, 9)) for item in rng.choice(ITEMS, size, replace=False)}
        for size in (1, 2, 5, 30, 300)
    ]
    of_user = [
        {
            int(item): float(rng.integers(0, 4))
            for item in rng.choice(ITEMS, size, replace=False)
        }
        for size in rng.integers(1, 999, 40)
    ] + [dict.fromkeys(range(ITEMS), 0.0), dict.fromkeys(of_domain[2], 1.0)]
    entries = [
        (d, item, day, 3) for d, items in enumerate(of_domain) for item, day in items.items()
    ]
    if popularity:
        entries += [(d, item, day + 2, 5) for d, item, day, _ in entries]
    domain, user = rng.integers(0, 5, 30_000), rng.integers(0, 42, 30_000)
    day, until = rng.integers(-1, 10, 30_000), rng.integers(0, 5, 30_000)
    drawn = catalogue(entries, popularity).sample(
        9, candidates(30_000, domain, day, user, until), keys(30_000), known(of_user)
    )
    for d, u, today, end, item in zip(domain, user, day, until, drawn, strict=True):
        possible = {
            candidate
            for candidate, since in of_domain[d].items()
            if since <= today and not of_user[u].get(candidate, EVER) < end
        }
        assert item in possible if possible else item == EXHAUSTED
    assert (drawn == EXHAUSTED).sum() > 1000  # users 40 and 41, first days, small domains


def test_draws_depend_on_their_keys_alone(catalogue):
    table, draws = catalogue([(0, n, 0, 1) for n in range(100)]), keys(1000)
    interactions = known([{3: 0.0}])
    whole = table.sample(1, candidates(1000), draws, interactions)
    part = table.sample(1, candidates(10), draws[500:510], interactions)
    assert part.tolist() == whole[500:510].tolist()
    other = table.sample(2, candidates(1000), draws, interactions)
    assert (other != whole).mean() > 0.9


def test_a_catalogue_without_items(catalogue):
    drawn = catalogue([]).sample(1, candidates(3), keys(3), known([]))
    assert drawn.tolist() == [EXHAUSTED] * 3
