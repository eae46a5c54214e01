"""What a dataset is made of: the `dataset` section of a configuration."""

import datetime
import itertools
from dataclasses import dataclass, field
from typing import Any, Literal

from beam_jobs.options import setting


@dataclass(frozen=True)
class FeatureConfig:
    """One feature of an example.

    Attributes:
        name: the name in the dataset, the model and the serving signature.
        kind: `categorical` is one value; `sequence` a list of values of the row itself (all
            genres of a film); `numeric` a number, bucketized to an id at quantiles of the
            training split, or of the first period; `history` the user's most recent clicks
            before the impression; `statistic` what the log shows of a value, or of a
            combination of values, up to the end of the day before the impression, bucketized
            as a number is (`beam_jobs.past_counts`).
        owner: whose property it is. A sampled negative keeps the user's and the context's
            features of the positive that it stands beside, and takes the item's of its item.
        column: the reader's column, `name` when absent. `hour` and `weekday` (of the
            dataset's days) are always there.
        length: the most values that a sequence or a history keeps.
        buckets: the number of quantile buckets of a numeric feature or a statistic.
        min_count: values seen fewer times in the training split are unseen (id 0); in a
            dataset that is split by periods, a value is known from the period on by whose end
            it has been seen so often.
        of: for a history, the feature of the clicked items that is remembered, or `domain`;
            for a statistic, the categorical feature whose value is counted, `domain`, or a
            list of them: the combination of their values.
        scope: for a history, whether clicks of every domain count, or of the impression's.
        domains: for a history, the domains of which clicks count, by name; absent, `scope`
            says it. Cross-domain models (MiNet, DASL) tell a user's clicks in the source
            domain from those in a target domain by such histories.
        remembers: for a history, which of the user's impressions: the `clicked` ones, those
            that were `skipped` (no click), or all that were `shown`.
        until: for a history, whether it reaches up to the `impression`, or to the end of the
            `day` before it, as a server knows it that takes over the log once a day. For a
            statistic, which is always of the days before, `split` keeps it through validation
            and test as it was when they began (`split.by: days`): where a user's own rate
            rises by the clicks of one day of the test, it tells that user's days apart, and
            wrongly, and so lowers a GAUC over several days.
        value: of a statistic: the smoothed click rate, `ctr`, or the number of impressions,
            `count`.
        smoothing: of a click rate: as many impressions with the click rate of all rows are
            added to those of the value.
    """

    name: str
    kind: Literal['categorical', 'sequence', 'numeric', 'history', 'statistic'] = 'categorical'
    owner: Literal['user', 'item', 'context'] = 'context'
    column: str | None = None
    length: int = setting(1, minimum=1)
    buckets: int = setting(10, minimum=2)
    min_count: int = setting(1, minimum=1)
    of: str | list[str] | None = None
    scope: Literal['all', 'domain'] = 'all'
    domains: list[str] | None = None
    remembers: Literal['clicked', 'skipped', 'shown'] = 'clicked'
    until: Literal['impression', 'day', 'split'] = 'impression'
    value: Literal['ctr', 'count'] = 'ctr'
    smoothing: float = setting(20.0, minimum=0)

    @property
    def from_row(self) -> bool:
        """Whether it is a value of the row itself, not of rows before it."""
        return self.kind not in ('history', 'statistic')

    @property
    def combined(self) -> list[str]:
        """Of a statistic, what is combined: features, or `domain`."""
        return [self.of] if isinstance(self.of, str) else list(self.of or [])

    def __post_init__(self):
        if self.from_row != (self.of is None):
            raise ValueError(f'feature {self.name}: `of` goes with the kinds history and '
                             'statistic, which need it.')
        if isinstance(self.of, list) and (
                self.kind != 'statistic' or not self.of or len(set(self.of)) < len(self.of)):
            raise ValueError(f'feature {self.name}: a list in `of` goes with the kind '
                             'statistic, and names different features.')
        until = {'history': ('impression', 'day'), 'statistic': ('impression', 'split')}
        if (self.until not in until.get(self.kind, ('impression',))
                or (self.kind != 'history' and self.remembers != 'clicked')):
            raise ValueError(f'feature {self.name}: `remembers` and `until` go with the kind '
                             'history, `until: split` with the kind statistic.')
        if self.domains is not None and (
                self.kind != 'history' or self.scope != 'all' or not self.domains):
            raise ValueError(f'feature {self.name}: `domains` names one domain or more, goes '
                             'with the kind history, and not with `scope: domain`.')


@dataclass(frozen=True)
class SamplingConfig:
    """Which negatives the examples get.

    Attributes:
        ctr_ratio: positives / negatives (MAMDR, eq. 23): one number, a number per domain, or
            a range `[low, high]` from which each domain's is drawn once by seed. With it,
            negatives are drawn from the items of the domain that the user has not interacted
            with anywhere in the log; the log's own rows without a click are interactions, but
            no examples (they are counted as down-sampled).
        popularity: negatives are drawn in proportion to an item's count in its domain raised
            to this power; 0 is uniform.
        keep_negatives: the portion of the log's own negatives that is kept (CTNet 4.1);
            every positive is kept.
    """

    ctr_ratio: float | tuple[float, float] | dict[str, float] | None = None
    popularity: float = setting(0.0, minimum=0)
    keep_negatives: float = setting(1.0, above=0, maximum=1)

    def __post_init__(self):
        ratios = (self.ctr_ratio.values() if isinstance(self.ctr_ratio, dict)
                  else self.ctr_ratio if isinstance(self.ctr_ratio, tuple)
                  else [] if self.ctr_ratio is None else [self.ctr_ratio])
        if any(not ratio > 0 for ratio in ratios):
            raise ValueError('a ctr_ratio must be more than 0.')
        if isinstance(self.ctr_ratio, tuple) and self.ctr_ratio[0] > self.ctr_ratio[1]:
            raise ValueError('a ctr_ratio range must be [low, high].')
        if self.ctr_ratio is not None and self.keep_negatives != 1.0:
            raise ValueError('ctr_ratio and keep_negatives exclude each other.')


@dataclass(frozen=True)
class SplitConfig:
    """How rows become the splits `train`, `validation` and `test`.

    Attributes:
        by: `days` (STAR 4.1), `time` (AdaSparse 4.1.1: fractions of the rows in the order of
            time), `periods` (CTNet 4.1) or `user` (MAMDR V-A: at random within each user).
        days: for `days`, the first and last day of each split, both included; rows
            outside are counted and left out.
        fractions: for `time` and `user`, the share of train, validation and test.
        periods, period_days: for `periods`, how many and how long; split `period-1` to
            `period-N`, then `test` of one day. Vocabularies grow from period to period, and
            with the days that are added later (see `beam_jobs.dataset`).
        start: for `periods`, the first day; the log's first day when absent.
    """

    by: Literal['days', 'time', 'periods', 'user'] = 'days'
    days: dict[str, tuple[str, str]] | None = None
    fractions: tuple[float, float, float] | None = None
    periods: int = setting(5, minimum=1, maximum=126)
    period_days: int = setting(6, minimum=1)
    start: str | None = None

    def __post_init__(self):
        if (self.by == 'days') != (self.days is not None):
            raise ValueError('`days` goes with `by: days`, which needs it.')
        if (self.by in ('time', 'user')) != (self.fractions is not None):
            raise ValueError('`fractions` goes with `by: time` or `by: user`, which need it.')
        if self.days is not None:
            if 'train' not in self.days:
                raise ValueError('`days` needs the split train.')
            for name, (first, last) in self.days.items():
                if _day(first) > _day(last):
                    raise ValueError(f'days.{name}: {first} is after {last}.')
            ordered = sorted((_day(a), _day(b), name) for name, (a, b) in self.days.items())
            for (_, end, one), (begin, _, other) in itertools.pairwise(ordered):
                if begin <= end:
                    raise ValueError(f'days: the splits {one} and {other} overlap.')
        if self.fractions is not None and (min(self.fractions) < 0 or self.fractions[0] <= 0
                                           or abs(sum(self.fractions) - 1) > 1e-9):
            raise ValueError('fractions must be three shares that add up to 1, the first more '
                             'than 0.')
        if self.start is not None:
            _day(self.start)


@dataclass(frozen=True)
class DatasetConfig:
    """The `dataset` section: source, domain, features, sampling, splits.

    Attributes:
        reader: the name of a reader of `beam_jobs.readers`.
        inputs: files or patterns of the raw log; absent, the reader fetches its own.
        options: what the reader itself takes.
        domain: the raw columns whose combination is the domain.
        domains: the domains whose impressions become examples, by name; absent, all. Rows of
            others are counted with those outside the splits; histories and statistics know
            them.
        features: the features, `user_id` and `item_id` among them.
        max_rejected_share: more unreadable rows than this share of all fail the build.
        buckets: into how many buckets users are hashed; a worker holds one at a time.
        seed: keys every random draw.
        utc_offset: hours from UTC's midnight back to the one at which the log's days begin,
            8 for China: of the days of splits and statistics, of `hour` and `weekday`.
        extendable: whether the dataset keeps the rows that it was built from, in `log/`, so
            that days can be added to it without building the days before again.
    """

    reader: str
    domain: list[str]
    features: list[FeatureConfig]
    split: SplitConfig
    inputs: list[str] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    max_rejected_share: float = setting(0.01, minimum=0, maximum=1)
    buckets: int = setting(16, minimum=1, maximum=65536)
    seed: int = setting(1, minimum=0)
    extendable: bool = False
    domains: list[str] | None = None
    utc_offset: float = setting(0.0, minimum=-12, maximum=14)

    def __post_init__(self):
        names = [feature.name for feature in self.features]
        if len(set(names)) != len(names):
            raise ValueError('a feature name occurs twice.')
        taken = {'domain', 'timestamp', 'click', 'user_key'} & set(names)
        if taken:
            raise ValueError(f'the feature name {min(taken)} is the dataset\'s own.')
        for name in ('user_id', 'item_id'):
            if name not in names:
                raise ValueError(f'features must hold {name}.')
        if not self.domain:
            raise ValueError('domain must name at least one column.')
        for feature in self.features:
            if feature.until == 'split' and self.split.by != 'days':
                raise ValueError(f'feature {feature.name}: `until: split` goes with `split.by: '
                                 'days`.')
        by_name = {feature.name: feature for feature in self.features}
        for feature in self.features:
            for of in feature.combined:
                if of != 'domain' and (of not in by_name
                                       or by_name[of].kind != 'categorical'):
                    raise ValueError(f'feature {feature.name}: `of` must name a categorical '
                                     'feature of this list, or be domain.')
        if self.domains is not None and not self.domains:
            raise ValueError('domains must name one domain or more; leave it out for all.')


def _day(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except (TypeError, ValueError):
        raise ValueError(f'{text!r} is not a day, which is written YYYY-MM-DD.') from None
