"""Negative sampling: exact numbers of negatives, and down-sampling."""

import numpy as np
import pytest

from beam_jobs.config import SamplingConfig
from beam_jobs.features.negative_sampling import (
    catalogue_days,
    ctr_ratio_of,
    draw_keys,
    is_kept,
    negatives_per_positive,
    number_of_negatives,
)


def keys(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**63, count).astype(np.uint64)


@pytest.mark.parametrize(
    ('positives', 'ratio', 'negatives'),
    [(10, 0.25, 40), (10, 0.3, 33), (3, 2.0, 2), (1, 3.0, 0), (5, 2.0, 3), (0, 0.5, 0)],
)
def test_negatives_are_positives_by_ratio_half_up(positives, ratio, negatives):
    assert number_of_negatives(positives, ratio) == negatives


@pytest.mark.parametrize(
    ('positives', 'negatives'),
    [(7, 20), (7, 3), (1, 5), (100, 100), (3_000_000_000, 2_999_999_999)],
)
def test_quotas_add_up_and_differ_by_one_at_most(positives, negatives):
    numbers = np.arange(min(positives, 1000))
    counts = negatives_per_positive(
        numbers, np.full(len(numbers), positives), np.full(len(numbers), negatives)
    )
    assert set(counts.tolist()) <= {negatives // positives, negatives // positives + 1}
    if positives <= 1000:
        assert counts.sum() == negatives


def test_draw_keys_are_all_different():
    row_keys, counts = keys(1000), np.arange(1000) % 5
    drawn = draw_keys(row_keys, counts)
    assert len(drawn) == counts.sum() == len(np.unique(drawn))


def test_ratio_of_a_range_is_drawn_by_name_and_seed():
    config = SamplingConfig(ctr_ratio=(0.2, 0.5))
    ratios = {name: ctr_ratio_of(name, config, 1) for name in map(str, range(200))}
    assert min(ratios.values()) >= 0.2 and max(ratios.values()) <= 0.5
    assert 0.33 < np.mean(list(ratios.values())) < 0.37
    assert ctr_ratio_of('7', config, 1) == ratios['7'] != ctr_ratio_of('7', config, 2)
    assert ctr_ratio_of('a', SamplingConfig(ctr_ratio={'b': 1.0}), 1) is None


def test_down_sampling_keeps_clicks_and_a_share_of_the_rest():
    rng = np.random.default_rng(0)
    click, row_keys = rng.random(50_000) < 0.3, keys(50_000)
    stays = is_kept(SamplingConfig(keep_negatives=0.1), 1, click, row_keys)
    assert stays[click].all()
    assert abs(stays[~click].mean() - 0.1) < 0.008
    assert is_kept(SamplingConfig(), 1, click, row_keys).all()
    more = is_kept(SamplingConfig(keep_negatives=0.2), 1, click, row_keys)
    assert more[stays].all()  # a larger portion holds the smaller


def test_a_day_on_which_a_split_by_time_ends_is_two():
    day, split = np.array([5, 6, 6, 7]), np.array([0, 0, 1, -1])
    assert catalogue_days(day, split, 'days', 2).tolist() == day.tolist()
    assert np.diff(catalogue_days(day, split, 'time', 2)).min() > 0
    assert set(catalogue_days(day, split, 'user', 2).tolist()) == {0}
