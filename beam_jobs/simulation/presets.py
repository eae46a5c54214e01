"""Presets of simulated logs, with figures from the papers.

Figures that a paper does not give are choices of this project, and defaults of `Preset`.
"""

from dataclasses import dataclass, field

from mdctr.errors import UserError


@dataclass(frozen=True)
class Preset:
    """The shape of a simulated log.

    Attributes:
        name: Name of the preset.
        domains: Names of the domains.
        shares: Impressions of each domain, in any unit.
        ctrs: Clicks / impressions of each domain.
        first_day: First day of the log, UTC.
        days: Number of days of the log.
        impressions_per_user: Mean impressions per user, over all domains.
        impressions_per_item: Mean impressions per item, over all domains.
        common_users: Share of each domain's users that it has in common with other domains.
        shared_items: Share of the items that every domain shows.
        without_own_items: Indices of the domains that show only shared items.
        domain_taste: Share of the variance of a user's taste that is specific to the domain.
        drift: Scale of the change of items' appeal and domains' click rates over the log.
        shown: Share of the shared items that each domain shows; all if empty.
        new_items: Share of a domain's items that appear in the second half of the log, by
            domain name.
        columns: Values of each column, and their shares, if domains are combinations of
            columns. Then `domains` is empty, `ctrs` contains the CTR of the log, and each
            user belongs to one domain.
    """

    name: str
    domains: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    ctrs: tuple[float, ...] = ()
    first_day: str = '2021-06-01'
    days: int = 3
    impressions_per_user: float = 25
    impressions_per_item: float = 100
    common_users: float = 0.2
    shared_items: float = 0.9
    without_own_items: tuple[int, ...] = ()
    shown: tuple[float, ...] = ()
    domain_taste: float = 0.4
    drift: float = 0.2
    new_items: dict[str, float] = field(default_factory=dict)
    columns: dict[str, dict[str, float]] = field(default_factory=dict)


def _numbered(count: int, prefix: str = '') -> tuple[str, ...]:
    return tuple(f'{prefix}{n}' for n in range(1, count + 1))


def _ctrs(ratios: tuple[float, ...]) -> tuple[float, ...]:
    """CTRs of CTR ratios: positives / negatives to positives / all (MAMDR, eq. 23)."""
    return tuple(ratio / (1 + ratio) for ratio in ratios)


# STAR, Table 1: the share of the examples and the CTR of each domain, percent.
_ALIBABA_SHARES = (
    0.99,
    1.61,
    3.40,
    3.85,
    2.79,
    0.56,
    4.27,
    16.76,
    10.00,
    12.16,
    0.76,
    1.31,
    3.34,
    28.76,
    1.17,
    0.46,
    1.05,
    0.91,
    5.85,
)
_ALIBABA_CTRS = (
    2.14,
    2.69,
    2.97,
    3.63,
    2.77,
    3.45,
    3.59,
    3.24,
    3.23,
    2.08,
    12.05,
    3.52,
    1.27,
    3.75,
    12.03,
    4.02,
    1.63,
    4.64,
    1.42,
)
# STAR 4.1: 8.52 % of the users of #1 and #2 are users of both, and their items are the same.
# The corresponding share of the smaller domain's users:
_ALIBABA_COMMON = 0.0852 / 1.0852 * (0.99 + 1.61) / 0.99

# MAMDR, Table IV.
_TAOBAO_SAMPLES = (
    13255,
    7007,
    20130,
    62460,
    11563,
    7190,
    4185,
    24052,
    5582,
    17860,
    29302,
    6472,
    8873,
    125586,
    15560,
    5458,
    14095,
    53910,
    12102,
    2936,
    4710,
    29256,
    41609,
    7354,
    68119,
    5308,
    24918,
    38919,
    24297,
    34253,
)
_TAOBAO_RATIOS = (
    0.22,
    0.23,
    0.32,
    0.23,
    0.47,
    0.21,
    0.36,
    0.30,
    0.46,
    0.25,
    0.30,
    0.30,
    0.27,
    0.20,
    0.33,
    0.23,
    0.38,
    0.22,
    0.29,
    0.33,
    0.47,
    0.23,
    0.24,
    0.44,
    0.21,
    0.47,
    0.37,
    0.28,
    0.45,
    0.43,
)


def _taobao(count: int, users: int, items: int) -> Preset:
    """The first `count` domains; users and items of MAMDR, Table I."""
    samples = _TAOBAO_SAMPLES[:count]
    return Preset(
        name=f'taobao-{count}',
        domains=_numbered(count, 'D'),
        shares=samples,
        ctrs=_ctrs(_TAOBAO_RATIOS[:count]),
        days=7,
        common_users=0.3,
        shared_items=0.1,
        impressions_per_user=sum(samples) / users,
        impressions_per_item=sum(samples) / items,
    )


# MAMDR, Tables I to III. Percentages, since the number of samples that Table III gives for
# Video Games does not match its percentage.
_AMAZON_6 = Preset(
    name='amazon-6',
    domains=(
        'Musical Instruments',
        'Office Products',
        'Patio Lawn and Garden',
        'Prime Pantry',
        'Toys and Games',
        'Video Games',
    ),
    shares=(7.11, 23.17, 17.87, 4.10, 31.80, 15.94),
    ctrs=_ctrs((0.22, 0.23, 0.32, 0.23, 0.47, 0.21)),
    days=7,
    common_users=0.3,
    shared_items=0.0,
    impressions_per_user=16926888 / 445789,
    impressions_per_item=16926888 / 172653,
)
_AMAZON_13 = Preset(
    name='amazon-13',
    domains=(
        'Arts Crafts and Sewing',
        'Digital Music',
        'Gift Cards',
        'Industrial and Scientific',
        'Luxury Beauty',
        'Magazine Subscriptions',
        'Musical Instruments',
        'Office Products',
        'Patio Lawn and Garden',
        'Prime Pantry',
        'Software',
        'Toys and Games',
        'Video Games',
    ),
    shares=(11.86, 3.78, 0.06, 1.86, 0.43, 0.06, 3.99, 15.58, 11.36, 3.22, 0.05, 36.97, 10.78),
    ctrs=_ctrs((0.22, 0.23, 0.32, 0.23, 0.47, 0.21, 0.36, 0.30, 0.46, 0.25, 0.30, 0.30, 0.27)),
    days=7,
    common_users=0.3,
    shared_items=0.0,
    impressions_per_user=20440239 / 502222,
    impressions_per_item=20440239 / 215403,
)

# AdaSparse 4.1.1: more than 300 domains of gender, age and star level, with a long tail. The
# levels are those of IJCAI-18; their shares and the CTR of 2 % are our choice.
_IAAC = Preset(
    name='iaac-300',
    ctrs=(0.02,),
    days=6,
    impressions_per_user=5,
    shared_items=1.0,
    columns={
        'user_gender_id': {'0': 0.72, '1': 0.22, '2': 0.03, '-1': 0.03},
        'user_age_level': {
            '1003': 0.28,
            '1004': 0.22,
            '1002': 0.18,
            '1005': 0.12,
            '1001': 0.08,
            '1006': 0.05,
            '1007': 0.03,
            '1000': 0.02,
            '-1': 0.02,
        },
        'user_star_level': {
            '3006': 0.2,
            '3003': 0.15,
            '3005': 0.13,
            '3002': 0.12,
            '3004': 0.12,
            '3007': 0.1,
            '3001': 0.08,
            '3008': 0.05,
            '3000': 0.03,
            '3009': 0.01,
            '3010': 0.006,
            '-1': 0.004,
        },
    },
)

# CTNet 4.1: A has about 60 times the data of B and 200 times that of C; 31 days; 40 % of C's
# items are new (4.5). The CTRs are our choice.
_CTNET = Preset(
    name='ctnet-abc',
    domains=('A', 'B', 'C'),
    shares=(200, 200 / 60, 1),
    ctrs=(0.04, 0.06, 0.08),
    days=31,
    common_users=0.8,
    shared_items=0.7,
    shown=(1.0, 0.1, 0.05),
    drift=1.0,
    new_items={'C': 0.4},
)

PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name='alibaba-19',
            domains=_numbered(19),
            shares=_ALIBABA_SHARES,
            ctrs=tuple(ctr / 100 for ctr in _ALIBABA_CTRS),
            common_users=_ALIBABA_COMMON,
            without_own_items=(0, 1),
        ),
        _taobao(10, 23778, 6932),
        _taobao(20, 58190, 16319),
        _taobao(30, 99143, 29945),
        _AMAZON_6,
        _AMAZON_13,
        _CTNET,
        _IAAC,
    )
}


def find_preset(name: str) -> Preset:
    """The preset called `name`.

    Raises:
        UserError: The preset is unknown; the error lists the presets.
    """
    if name not in PRESETS:
        raise UserError(f'Unknown preset {name}: choose one of {", ".join(PRESETS)}.')
    return PRESETS[name]
