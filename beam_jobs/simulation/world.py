"""The users, items and domains of a simulated log, which are the same for every row.

Users and items have `FACTORS` latent factors. A user's properties are noisy measurements of the
user's factors; an item's category is the cluster of its factors, and its brand and price depend
on both. So the features that a model sees are informative of the tastes that it does not see,
and nothing has the form of a particular architecture.
"""

from dataclasses import dataclass

import numpy as np

from beam_jobs.simulation.presets import Preset

FACTORS = 8
CATEGORIES = 40
BRANDS = 20  # of each category
_SEED_WORLD = 0


@dataclass(frozen=True)
class Pool:
    """The users or items of a domain: some in common with other domains, then its own.

    Attributes:
        common: Number of common ones.
        step: Difference between the numbers of consecutive common ones.
        first: Number of the first of its own.
        own: Number of its own.
    """

    common: int
    step: int
    first: int
    own: int

    @property
    def size(self) -> int:
        return self.common + self.own

    def numbers(self, places: np.ndarray) -> np.ndarray:
        """The global numbers of places in [0, size)."""
        return np.where(
            places < self.common, places * self.step, places - self.common + self.first
        )


@dataclass(frozen=True)
class World:
    """Everything that is the same for every row.

    In a preset with `columns`, the user determines the domain.

    Attributes:
        preset: The preset.
        domains: Names of the domains; combinations are joined by `|`.
        shares: Share of the impressions of each domain; empty if users determine the domain.
        users: Users of each domain; a single pool if users determine the domain.
        items: Items of each domain; a single pool if users determine the domain.
        user_factors: `float32[users, FACTORS]`.
        item_factors: `float32[items, FACTORS]`.
        user_domain: Domain of each user, if users determine it, else None.
        turned_factors: Users' factors in the taste of their domain, if users determine it.
        user_properties: Columns `[users]`, by name.
        item_properties: Columns `[items]`, by name.
        user_bias: `float32[users]`.
        item_appeal: `float32[items]`.
        item_trend: Change of an item's appeal over the whole log, `float32[items]`.
        item_birth: Elapsed share of the log's time at which an item is first shown.
        tastes: Maps a user's factors to a domain's taste, `[domains, FACTORS, FACTORS]`.
        click_rates: Logit that gives each domain its CTR; set by `calibrate`.
        position_effect: Of each domain.
        hour_effect: Of each domain.
        hour_phase: Hour of each domain's highest click rate.
        domain_trend: Change of a domain's click rate over the whole log.
    """

    preset: Preset
    domains: tuple[str, ...]
    shares: np.ndarray
    users: tuple[Pool, ...]
    items: tuple[Pool, ...]
    user_factors: np.ndarray
    item_factors: np.ndarray
    user_domain: np.ndarray | None
    turned_factors: np.ndarray | None
    user_properties: dict[str, np.ndarray]
    item_properties: dict[str, np.ndarray]
    user_bias: np.ndarray
    item_appeal: np.ndarray
    item_trend: np.ndarray
    item_birth: np.ndarray
    tastes: np.ndarray
    click_rates: np.ndarray
    position_effect: np.ndarray
    hour_effect: np.ndarray
    hour_phase: np.ndarray
    domain_trend: np.ndarray


def generator(seed: int, *purpose: int) -> np.random.Generator:
    """A random generator that depends on the seed and its purpose."""
    sequence = np.random.SeedSequence([seed, *purpose])
    return np.random.Generator(np.random.Philox(sequence))


def make_world(preset: Preset, rows: int, seed: int) -> World:
    """Draws the world of a log.

    Args:
        preset: The shape of the log.
        rows: Number of impressions.
        seed: Random seed.
    """
    rng = generator(seed, _SEED_WORLD)
    if preset.columns:
        domains, chances = _combinations(preset.columns)
        shares = np.zeros(0)
    else:
        domains = preset.domains
        shares = np.array(preset.shares, float) / sum(preset.shares)
        chances = shares
    users = _user_pools(preset, shares, rows)
    items = _item_pools(preset, shares, rows)
    user_count, item_count = _count(users), _count(items)
    user_domain = rng.choice(len(domains), user_count, p=chances) if preset.columns else None
    user_factors = _user_factors(rng, users, user_count, user_domain, len(domains))
    category, item_factors = _item_factors(rng, items, item_count)
    count = len(domains)
    tastes = _tastes(rng, preset, count)
    turned = (
        None
        if user_domain is None
        else np.einsum('uk,ukl->ul', user_factors, tastes[user_domain])
    )
    return World(
        preset=preset,
        domains=domains,
        shares=shares,
        users=users,
        items=items,
        user_factors=user_factors,
        item_factors=item_factors,
        user_domain=user_domain,
        turned_factors=turned,
        user_properties=_user_properties(rng, user_factors, domains, user_domain, preset),
        item_properties=_item_properties(rng, item_factors, category),
        user_bias=_normal(rng, 0.3, user_count),
        item_appeal=_normal(rng, 0.4, item_count),
        item_trend=_normal(rng, preset.drift, item_count),
        item_birth=_births(rng, preset, items, item_count),
        tastes=tastes,
        click_rates=_normal(rng, 0.35 if preset.columns else 0.0, count),
        position_effect=rng.uniform(0.2, 0.6, count).astype(np.float32),
        hour_effect=rng.uniform(0.05, 0.3, count).astype(np.float32),
        hour_phase=rng.uniform(0, 24, count).astype(np.float32),
        domain_trend=_normal(rng, 0.3 * preset.drift, count),
    )


def _normal(rng: np.random.Generator, scale: float, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32) * np.float32(scale)


def _combinations(columns: dict[str, dict[str, float]]) -> tuple[tuple[str, ...], np.ndarray]:
    names, chances = [''], np.ones(1)
    for shares in columns.values():
        names = [f'{name}|{value}' if name else value for name in names for value in shares]
        chances = (chances[:, None] * np.array(list(shares.values()))).ravel()
    return tuple(names), chances / chances.sum()


def _user_pools(preset: Preset, shares: np.ndarray, rows: int) -> tuple[Pool, ...]:
    """The users of each domain: the first users are common, in proportion to its size."""
    if preset.columns:
        return (Pool(max(2, round(rows / preset.impressions_per_user)), 1, 0, 0),)
    sizes = np.maximum(8, np.round(rows * shares / preset.impressions_per_user)).astype(int)
    common = np.round(sizes * preset.common_users).astype(int)
    firsts = common.max() + np.concatenate([[0], np.cumsum(sizes - common)[:-1]])
    return tuple(
        Pool(int(c), 1, int(first), int(size - c))
        for c, first, size in zip(common, firsts, sizes, strict=True)
    )


def _item_pools(preset: Preset, shares: np.ndarray, rows: int) -> tuple[Pool, ...]:
    count = max(50, round(rows / preset.impressions_per_item))
    if preset.columns:
        return (Pool(count, 1, 0, 0),)
    shared = round(count * preset.shared_items)
    pools, first = [], shared
    for place, (name, share) in enumerate(zip(preset.domains, shares, strict=True)):
        step = round(1 / preset.shown[place]) if preset.shown else 1
        common = -(-shared // step)
        own = max(20, round((count - shared) * share))
        if place in preset.without_own_items:
            own = 0
        if name in preset.new_items:
            portion = preset.new_items[name]
            own = round(common * portion / (1 - portion))
        pools.append(Pool(common, step, first, own))
        first += own
    return tuple(pools)


def _count(pools: tuple[Pool, ...]) -> int:
    return max(max(pool.first + pool.own, pool.common * pool.step) for pool in pools)


def _user_factors(
    rng: np.random.Generator,
    pools: tuple[Pool, ...],
    count: int,
    user_domain: np.ndarray | None,
    domains: int,
) -> np.ndarray:
    """Factors of users; a domain's own users form a cluster."""
    centres = _normal(rng, 0.5, domains, FACTORS)
    factors = _normal(rng, 1.0, count, FACTORS)
    if user_domain is not None:
        return factors + centres[user_domain]
    for pool, centre in zip(pools, centres, strict=True):
        factors[pool.first : pool.first + pool.own] += centre
    return factors


def _item_factors(
    rng: np.random.Generator, pools: tuple[Pool, ...], count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Categories and factors of items; categories are consecutive within each range."""
    category = np.zeros(count, np.int64)
    shared = min((pool.first for pool in pools if pool.own), default=count)
    category[:shared] = np.arange(shared) * CATEGORIES // max(shared, 1)
    for pool in pools:
        category[pool.first : pool.first + pool.own] = (
            np.arange(pool.own) * CATEGORIES // max(pool.own, 1)
        )
    centres = _normal(rng, 0.8, CATEGORIES, FACTORS)
    return category, centres[category] + _normal(rng, 0.6, count, FACTORS)


def _user_properties(
    rng: np.random.Generator,
    factors: np.ndarray,
    domains: tuple[str, ...],
    user_domain: np.ndarray | None,
    preset: Preset,
) -> dict[str, np.ndarray]:
    """User properties: small integers; texts for the columns of domain combinations."""
    count = len(factors)
    properties = {
        'user_group': _levels(factors[:, 0] + _normal(rng, 0.5, count), 8),
        'user_city': _levels(factors[:, 2] + _normal(rng, 1.0, count), 6),
    }
    if user_domain is None:
        properties['user_gender'] = _levels(factors[:, 1] + _normal(rng, 0.5, count), 2)
        return properties
    for place, column in enumerate(preset.columns):
        values = np.array([name.split('|')[place] for name in domains])
        properties[column] = values[user_domain]
    return properties


def _item_properties(
    rng: np.random.Generator, factors: np.ndarray, category: np.ndarray
) -> dict[str, np.ndarray]:
    count = len(factors)
    brand = _levels(factors[:, 3] + _normal(rng, 0.5, count), BRANDS)
    price = np.exp(3 + 0.4 * factors[:, 4] + _normal(rng, 0.4, count))
    return {
        'item_category': category.astype(np.int16),
        'item_brand': (category * BRANDS + brand).astype(np.int16),
        'item_price': np.round(price.astype(np.float64), 2),
    }


def _levels(values: np.ndarray, count: int) -> np.ndarray:
    """Which of `count` intervals with equally many values each value is in."""
    bounds = np.quantile(values, np.arange(1, count) / count)
    return np.searchsorted(bounds, values).astype(np.int16)


def _births(
    rng: np.random.Generator, preset: Preset, pools: tuple[Pool, ...], count: int
) -> np.ndarray:
    births = np.zeros(count, np.float32)
    for name, pool in zip(preset.domains, pools, strict=False):
        if name in preset.new_items:
            births[pool.first : pool.first + pool.own] = rng.uniform(0.5, 0.9, pool.own)
    return births


def _tastes(rng: np.random.Generator, preset: Preset, count: int) -> np.ndarray:
    """Each domain's map of tastes: the share `domain_taste` of the variance is rotated."""
    rotations = np.linalg.qr(rng.standard_normal((count, FACTORS, FACTORS)))[0]
    specific = np.sqrt(preset.domain_taste)
    return (np.sqrt(1 - preset.domain_taste) * np.eye(FACTORS) + specific * rotations).astype(
        np.float32
    )
