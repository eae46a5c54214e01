"""The click model: draws impressions and their click probabilities.

An impression has a domain (drawn by its share), one of the domain's users (some are more active
than others), an item (half of them drawn by overall popularity, half by the categories that
the domain favours), a position (top positions are more frequent, in some domains more so) and
a time (with the daily curve of traffic). It is clicked with the probability

    p = sigmoid(rate_d + 0.9 u' T_d v / sqrt(k) + bias_u + appeal_v
                + (trend_v + trend_d) (t - 1/2)
                - position_d log(position) + hour_d cos(2 pi (h - phase_d) / 24))

where u and v are the k latent factors of user and item; T_d = sqrt(1 - s) I + sqrt(s) R_d, so
that the share 1 - s of a taste's variance is common to all domains and the rest is rotated by
R_d, which belongs to the domain; t runs from 0 to 1 over the log; and rate_d gives the domain
the CTR of the preset. A taste is bilinear in latent factors that no model sees; position, hour
and drift are additive. No architecture of this project has this form.
"""

import itertools
from dataclasses import dataclass, replace

import numpy as np

from beam_jobs.simulation.world import FACTORS, World, generator

POSITIONS = 10
_SEED_PILOT = 1
_PILOT_ROWS = 20000
_STRENGTH = np.float32(0.9 / np.sqrt(FACTORS))
# Cumulative share of a day's impressions by the end of each hour, with peaks at noon and in the
# evening.
_HOURS = np.cumsum([2, 1, 1, 1, 1, 2, 3, 4, 5, 5, 6, 6, 7, 6, 5, 5, 5, 5, 6, 7, 8, 8, 6, 4])
_LOG_POSITION = np.log(np.arange(1, POSITIONS + 1, dtype=np.float32))
_DAY_CURVE = np.concatenate([[0], _HOURS]) / _HOURS[-1]


@dataclass(frozen=True)
class Impressions:
    """Impressions, as columns `[rows]`.

    Attributes:
        domain: Domain numbers, `int32`.
        user: User numbers, `int32`.
        item: Item numbers, `int32`.
        day: Days since the log's first midnight, fractions included.
        position: Position of the item, from 1.
        probability: True click probability, `float32`.
    """

    domain: np.ndarray
    user: np.ndarray
    item: np.ndarray
    day: np.ndarray
    position: np.ndarray
    probability: np.ndarray


def draw(
    world: World, rng: np.random.Generator, times: np.ndarray, domain: np.ndarray | None = None
) -> Impressions:
    """Draws one impression at each time.

    Args:
        world: The world.
        rng: Random generator of this batch.
        times: Elapsed share of the log's time, in [0, 1), `[rows]`.
        domain: Domain of each, `int32[rows]`; drawn by the world's shares if absent.
    """
    rows = len(times)
    user, domain = _users(world, rng, rows, domain)
    if world.turned_factors is not None:
        item = _items(world, rng, 0, times, domain)
        affinity = np.einsum('nk,nk->n', world.turned_factors[user], world.item_factors[item])
    else:
        order = np.argsort(domain.astype(np.int16), kind='stable')
        bounds = np.searchsorted(domain[order], np.arange(len(world.domains) + 1))
        item = np.empty(rows, np.int32)
        affinity = np.empty(rows, np.float32)
        for d, (begin, end) in enumerate(itertools.pairwise(bounds)):
            rows_d = order[begin:end]
            if len(rows_d):
                item[rows_d] = _items(world, rng, d, times[rows_d], None)
                taste = world.user_factors[user[rows_d]] @ world.tastes[d]
                affinity[rows_d] = np.einsum(
                    'nk,nk->n', taste, world.item_factors[item[rows_d]]
                )
    position = _positions(world, rng, domain)
    day = _days(world, times)
    probability = _probabilities(world, domain, user, item, times, day, position, affinity)
    return Impressions(domain, user, item, day, position, probability)


def calibrate(world: World, seed: int) -> World:
    """Sets the world's click rates so that its domains have the CTRs of the preset.

    The rates are fitted to separate impressions; the CTRs of a log differ by chance.

    Args:
        world: A world.
        seed: Random seed of the impressions.
    """
    rates = world.click_rates.copy()
    if world.user_domain is not None:
        rng = generator(seed, _SEED_PILOT)
        pilot = draw(world, rng, rng.random(5 * _PILOT_ROWS))
        rates += _shift(pilot.probability, world.preset.ctrs[0])
        return replace(world, click_rates=rates)
    for d, ctr in enumerate(world.preset.ctrs):
        rng = generator(seed, _SEED_PILOT, d)
        pilot = draw(world, rng, rng.random(_PILOT_ROWS), np.full(_PILOT_ROWS, d, np.int32))
        rates[d] += _shift(pilot.probability, ctr)
    return replace(world, click_rates=rates)


def _shift(probability: np.ndarray, ctr: float) -> float:
    """The shift of all logits that makes the mean probability `ctr`, by Newton's method."""
    logits = np.log(probability / (1 - probability)).astype(np.float64)
    shift = np.log(ctr / (1 - ctr)) - logits.mean()
    for _ in range(30):
        shifted = 1 / (1 + np.exp(-(logits + shift)))
        shift -= (shifted.mean() - ctr) / (shifted * (1 - shifted)).mean()
    return float(shift)


def _users(
    world: World, rng: np.random.Generator, rows: int, domain: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Draws users; the r-th most active of n is about (n / r) ** (1/3) times as frequent as
    the last."""
    chance = rng.random(rows)
    if world.user_domain is not None:
        user = _scrambled(
            (world.users[0].size * chance**1.5).astype(np.int64), np.int64(world.users[0].size)
        )
        return user.astype(np.int32), world.user_domain[user].astype(np.int32)
    if domain is None:
        domain = np.searchsorted(
            np.cumsum(world.shares)[:-1], rng.random(rows), side='right'
        ).astype(np.int32)
    sizes = np.array([pool.size for pool in world.users])[domain]
    place = _scrambled((sizes * chance**1.5).astype(np.int64), sizes)
    common, first = (
        np.array([getattr(pool, name) for pool in world.users])[domain]
        for name in ('common', 'first')
    )
    user = np.where(place < common, place, place - common + first)
    return user.astype(np.int32), domain


def _scrambled(places: np.ndarray, sizes: np.ndarray | np.int64) -> np.ndarray:
    """Permutes the places in [0, size), so that neighbours become unrelated."""
    return (places * 2147483647 + 40503) % sizes  # a prime, larger than any size


def _items(
    world: World, rng: np.random.Generator, d: int, times: np.ndarray, domain: np.ndarray | None
) -> np.ndarray:
    """Draws items of domain `d`, or, if users determine the domain, from the only pool."""
    pool = world.items[d]
    chance = rng.random(len(times))
    favourite = d if domain is None else domain
    popular = _scrambled((pool.size * chance**2.5).astype(np.int64), np.int64(pool.size))
    centre = favourite * 0.6180339887 % 1 * pool.size  # domains favour different ranges
    near = (centre + 0.3 * pool.size * (chance**2 - 0.15)).astype(np.int64) % pool.size
    place = np.where(rng.random(len(times)) < 0.5, popular, near)
    item = pool.numbers(place)
    unborn = world.item_birth[item] > times
    if unborn.any():
        item = np.where(unborn, pool.numbers(place % max(pool.common, 1)), item)
    return item.astype(np.int32)


def _positions(world: World, rng: np.random.Generator, domain: np.ndarray) -> np.ndarray:
    """Draws positions from 1; domains differ in how far down users look."""
    depth = 1 + 2 * (np.arange(len(world.domains)) * 0.7548776662 % 1)
    chance = rng.random(len(domain)) ** depth[domain]
    return (1 + POSITIONS * chance).astype(np.int8)


def _days(world: World, times: np.ndarray) -> np.ndarray:
    """Days, with fractions, at times in [0, 1): days have equal traffic, hours do not."""
    fraction, day = np.modf(times * world.preset.days)
    return day + np.interp(fraction, _DAY_CURVE, np.arange(25) / 24)


def _probabilities(
    world: World,
    domain: np.ndarray,
    user: np.ndarray,
    item: np.ndarray,
    times: np.ndarray,
    day: np.ndarray,
    position: np.ndarray,
    affinity: np.ndarray,
) -> np.ndarray:
    late = (times - 0.5).astype(np.float32)
    hour = ((day - np.floor(day)) * 24).astype(np.float32)
    logit = world.click_rates[domain] + _STRENGTH * affinity
    logit += world.user_bias[user] + world.item_appeal[item]
    logit += (world.item_trend[item] + world.domain_trend[domain]) * late
    logit -= world.position_effect[domain] * _LOG_POSITION[position - 1]
    angle = (hour - world.hour_phase[domain]) * np.float32(2 * np.pi / 24)
    logit += world.hour_effect[domain] * np.cos(angle)
    return 1 / (1 + np.exp(-logit))
