"""Negative sampling: exact counts, the right distribution, never a false negative."""

import numpy as np
import pytest

from beam_jobs.config import SamplingConfig
from beam_jobs.sampling import (
    NONE,
    Catalogue,
    draw_keys,
    kept,
    negatives_of,
    quota,
    ratio_of,
    weights,
)

ITEMS = 1000


def catalogue(of_domain: list[list[int]], weight: list[list[int]] | None = None) -> Catalogue:
    keys = [domain * ITEMS + item for domain, items in enumerate(of_domain)
            for item in sorted(items)]
    flat = [1] * len(keys) if weight is None else [w for some in weight for w in some]
    start = np.cumsum([0] + [len(items) for items in of_domain])
    return Catalogue(ITEMS, np.array(keys), np.cumsum(flat), start)


def known(of_user: list[list[int]]) -> np.ndarray:
    return np.unique([user * ITEMS + item for user, items in enumerate(of_user)
                      for item in items]).astype(np.int64)


def keys(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**63, count).astype(np.uint64)


def chi_square(counts: np.ndarray, shares: np.ndarray) -> float:
    expected = shares * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize(('positives', 'ratio', 'negatives'), [
    (10, 0.25, 40), (10, 0.3, 33), (3, 2.0, 2), (1, 3.0, 0), (5, 2.0, 3), (0, 0.5, 0)])
def test_negatives_are_positives_by_ratio_half_up(positives, ratio, negatives):
    assert negatives_of(positives, ratio) == negatives


@pytest.mark.parametrize(('positives', 'negatives'), [(7, 20), (7, 3), (1, 5), (100, 100),
                                                      (3_000_000_000, 2_999_999_999)])
def test_quotas_add_up_and_differ_by_one_at_most(positives, negatives):
    numbers = np.arange(min(positives, 1000))
    counts = quota(numbers, np.full(len(numbers), positives), np.full(len(numbers), negatives))
    assert set(counts.tolist()) <= {negatives // positives, negatives // positives + 1}
    if positives <= 1000:
        assert counts.sum() == negatives


def test_items_are_drawn_uniformly_from_the_domain():
    table = catalogue([list(range(0, 40, 2)), [1, 3]])
    nobody = np.zeros(40_000, int)
    drawn = table.sample(1, nobody, nobody, keys(40_000), known([]))
    assert set(drawn.tolist()) == set(range(0, 40, 2))
    # The 99.99 % point of chi-square with 19 degrees of freedom is 50.8.
    assert chi_square(np.bincount(drawn)[::2], np.full(20, 1 / 20)) < 50.8


def test_items_are_drawn_by_popularity():
    counts = np.array([100, 25, 1, 64, 9])
    weight = weights(counts, np.array([0, 3]), np.array([3, 2]), 0.5)
    assert np.allclose(weight / 2**24, [1, 0.5, 0.1, 1, 3 / 8], rtol=1e-5)
    table = catalogue([[5, 6, 7], [8, 9]], [weight[:3].tolist(), weight[3:].tolist()])
    nobody = np.zeros(20_000, int)
    drawn = table.sample(1, nobody, nobody, keys(20_000), known([]))
    # The 99.99 % point of chi-square with 2 degrees of freedom is 18.4.
    assert chi_square(np.bincount(drawn, minlength=8)[5:8],
                      np.array([1, 0.5, 0.1]) / 1.6) < 18.4


@pytest.mark.parametrize('weighted', [False, True])
def test_users_who_know_nearly_everything_get_the_rest_in_proportion(weighted):
    items = list(range(10, 60))
    weight = [[(n % 5 + 1) * 1000 for n in range(50)]] if weighted else None
    table = catalogue([list(range(10)), items, list(range(5))],
                      weight and [[1] * 10, weight[0], [1] * 5])
    # User 0 knows all but four of domain 1, and many items of other domains beside.
    rest = [10, 23, 41, 59]
    knows = [[*range(10), *(set(items) - set(rest)), 700, 999], [10, 59]]
    drawn = table.sample(3, np.ones(40_000, int), np.zeros(40_000, int), keys(40_000),
                         known(knows))
    assert set(drawn.tolist()) == set(rest)
    shares = np.array([weight[0][item - 10] if weighted else 1 for item in rest], float)
    # The 99.99 % point of chi-square with 3 degrees of freedom is 21.1.
    assert chi_square(np.bincount(drawn)[rest], shares / shares.sum()) < 21.1


def test_random_logs_never_give_a_false_negative():
    rng = np.random.default_rng(4)
    of_domain = [sorted(rng.choice(ITEMS, size, replace=False).tolist())
                 for size in (1, 2, 5, 30, 300)]
    of_user = [rng.choice(ITEMS, size, replace=False).tolist() for size in rng.integers(
        1, 999, 40)] + [list(range(ITEMS)), of_domain[2]]
    domain, user = rng.integers(0, 5, 30_000), rng.integers(0, 42, 30_000)
    table, interactions = catalogue(of_domain), known(of_user)
    drawn = table.sample(9, domain, user, keys(30_000), interactions)
    for d, u, item in zip(domain, user, drawn, strict=True):
        possible = set(of_domain[d]) - set(of_user[u])
        assert item in possible if possible else item == NONE
    assert (drawn == NONE).sum() > 1000  # users 40 and 41, and small domains


def test_draws_depend_on_their_keys_alone():
    table, draws = catalogue([list(range(100))]), keys(1000)
    whole = table.sample(1, np.zeros(1000, int), np.zeros(1000, int), draws, known([[3]]))
    part = table.sample(1, np.zeros(10, int), np.zeros(10, int), draws[500:510], known([[3]]))
    assert part.tolist() == whole[500:510].tolist()
    other = table.sample(2, np.zeros(1000, int), np.zeros(1000, int), draws, known([[3]]))
    assert (other != whole).mean() > 0.9


def test_draw_keys_are_all_different():
    row_keys, counts = keys(1000), np.arange(1000) % 5
    drawn = draw_keys(row_keys, counts)
    assert len(drawn) == counts.sum() == len(np.unique(drawn))


def test_ratio_of_a_range_is_drawn_by_name_and_seed():
    config = SamplingConfig(ctr_ratio=(0.2, 0.5))
    ratios = {name: ratio_of(name, config, 1) for name in map(str, range(200))}
    assert min(ratios.values()) >= 0.2 and max(ratios.values()) <= 0.5
    assert 0.33 < np.mean(list(ratios.values())) < 0.37
    assert ratio_of('7', config, 1) == ratios['7'] != ratio_of('7', config, 2)
    assert ratio_of('a', SamplingConfig(ctr_ratio={'b': 1.0}), 1) is None


def test_down_sampling_keeps_clicks_and_a_share_of_the_rest():
    rng = np.random.default_rng(0)
    click, row_keys = rng.random(50_000) < 0.3, keys(50_000)
    stays = kept(SamplingConfig(keep_negatives=0.1), 1, click, row_keys)
    assert stays[click].all()
    assert abs(stays[~click].mean() - 0.1) < 0.008
    assert kept(SamplingConfig(), 1, click, row_keys).all()
    more = kept(SamplingConfig(keep_negatives=0.2), 1, click, row_keys)
    assert more[stays].all()  # a larger portion holds the smaller
