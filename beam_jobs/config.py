"""The `dataset` section of a configuration: source, domains, features, sampling and splits."""

import datetime
import itertools
import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, Strict, model_validator

from mdctr.settings import Range, Settings


def _check_day(text: str) -> str:
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError(f'{text!r} is not a day, which is written YYYY-MM-DD.') from None


Day = Annotated[str, AfterValidator(_check_day), Field(json_schema_extra={'format': 'date'})]


def _check_file_name(name: str) -> str:
    if not re.fullmatch(r'[^./\\\x00-\x1f][^/\\\x00-\x1f]*', name) or len(name.encode()) > 150:
        raise ValueError(
            f'{name!r} cannot be the name of a file: use a name without / and \\, which does '
            'not begin with a dot and has at most 150 bytes.'
        )
    return name


# Names of features and splits are names of files and directories of the dataset.
FileName = Annotated[str, AfterValidator(_check_file_name)]


def _needs_kind(schema: dict[str, Any]) -> None:
    """Without a `kind`, a feature is categorical: the other kinds have to say so."""
    schema.setdefault('required', []).append('kind')


class FeatureBase(Settings):
    """What every kind of feature has."""

    name: FileName = Field(
        description='Name in the dataset, the model and the serving signature.',
    )
    owner: Literal['user', 'item', 'context'] = Field(
        default='context',
        description='Whose property it is. A sampled negative takes the features of the user '
        'and of the context from its positive, and those of the item from its own item.',
    )


class RowFeature(FeatureBase):
    """A feature whose value is in the row itself."""

    column: str | None = Field(
        default=None,
        description="Column of the reader; the feature's name if absent. The columns `hour` "
        'and `weekday` always exist.',
    )

    @property
    def source_column(self) -> str:
        """The reader's column that holds the feature."""
        return self.column or self.name


class CategoricalFeature(RowFeature):
    """One value per row."""

    kind: Literal['categorical'] = 'categorical'
    min_count: int = Field(
        default=1,
        ge=1,
        description='Number of occurrences in the training split below which a value is '
        'treated as unseen (id 0). With `split.by: periods`, a value is known from the end of '
        'the period in which it reaches this number.',
    )


class SequenceFeature(RowFeature):
    """A list of values per row, for example all genres of a movie."""

    model_config = ConfigDict(json_schema_extra=_needs_kind)

    kind: Literal['sequence'] = 'sequence'
    max_length: int = Field(
        default=1, ge=1, description='Number of values that are kept, from the first.'
    )
    min_count: int = Field(default=1, ge=1, description='As for a categorical feature.')


class NumericFeature(RowFeature):
    """A number per row, bucketized at quantiles of the training split (or the first period)."""

    model_config = ConfigDict(json_schema_extra=_needs_kind)

    kind: Literal['numeric'] = 'numeric'
    buckets: int = Field(default=10, ge=2, description='Number of quantile buckets.')


class HistoryFeature(FeatureBase):
    """What the user's most recent impressions were of, before the impression of the row."""

    model_config = ConfigDict(json_schema_extra=_needs_kind)

    kind: Literal['history'] = 'history'
    feature: str = Field(
        description='Categorical feature whose values are listed, such as `item_id`, or '
        '`domain`.'
    )
    max_length: int = Field(
        default=1, ge=1, description='Number of impressions, from the most recent.'
    )
    events: Literal['clicked', 'skipped', 'shown'] = Field(
        default='clicked',
        description='Impressions that count: those that were `clicked`, those that were '
        '`skipped` (no click), or all that were `shown`.',
    )
    scope: Literal['all', 'domain'] = Field(
        default='all',
        description="Whether impressions of `all` domains count, or only those of the row's "
        'own `domain`.',
    )
    domains: list[str] | None = Field(
        default=None,
        min_length=1,
        description='Names of the domains whose impressions count; `scope` decides if absent. '
        'Cross-domain models (MiNet, DASL) use one history for the source domain and one for '
        'a target domain.',
    )
    as_of: Literal['impression', 'day'] = Field(
        default='impression',
        description='Time up to which impressions count: the `impression` itself, or the start '
        'of its `day`, for a server that receives the log once a day.',
    )

    @model_validator(mode='after')
    def _check_scope(self) -> Self:
        if self.domains is not None and self.scope != 'all':
            raise ValueError('domains and `scope: domain` exclude each other.')
        return self


class StatisticFeature(FeatureBase):
    """A target statistic of a value, or of a combination of values, bucketized as a number.

    It is computed from the rows of the days before (`beam_jobs.features.target_statistics`).
    """

    model_config = ConfigDict(json_schema_extra=_needs_kind)

    kind: Literal['statistic'] = 'statistic'
    group_by: str | list[str] = Field(
        description='Categorical feature whose value is counted, `domain`, or a list of them '
        'for the combination of their values.',
    )
    aggregation: Literal['ctr', 'count'] = Field(
        default='ctr',
        description='The smoothed click rate, `ctr`, or the number of impressions, `count`.',
    )
    smoothing: float = Field(
        default=20.0,
        ge=0,
        description='Number of impressions with the click rate of all rows that are added to '
        "the value's own before its click rate is computed.",
    )
    buckets: int = Field(default=10, ge=2, description='Number of quantile buckets.')
    as_of: Literal['day', 'split'] = Field(
        default='day',
        description='Time up to which rows count: the start of the `day` of the impression, or '
        'the start of its `split` for validation and test (with `split.by: days`). Where a '
        "user's rate is updated by the clicks of one test day, it separates the days of that "
        'user by noise, and lowers a GAUC over several days.',
    )

    @property
    def columns(self) -> list[str]:
        """Names of the features that are combined, or `domain`."""
        return [self.group_by] if isinstance(self.group_by, str) else self.group_by

    @model_validator(mode='after')
    def _check_columns(self) -> Self:
        if not self.columns or len(set(self.columns)) < len(self.columns):
            raise ValueError('group_by needs one feature or more, each once.')
        return self


def _categorical_by_default(values: Any) -> Any:
    return {'kind': 'categorical', **values} if isinstance(values, dict) else values


FeatureConfig = Annotated[
    Annotated[
        CategoricalFeature
        | SequenceFeature
        | NumericFeature
        | HistoryFeature
        | StatisticFeature,
        Field(discriminator='kind'),
    ],
    BeforeValidator(_categorical_by_default),
]


class SamplingConfig(Settings):
    """Which negatives become examples."""

    ctr_ratio: float | Range | dict[str, float] | None = Field(
        default=None,
        description='Positives per negative (MAMDR, eq. 23): a number, a number per domain, or '
        "a range `[low, high]` from which each domain's ratio is drawn by seed. With it, "
        'negatives are drawn from the items of the domain that had appeared by the end of the '
        "positive's day and that the user had not interacted with by the end of the split (in "
        'a random split, `by: user`: from all items of the domain that the user has not '
        'interacted with anywhere in the log), with the properties that the item last had; '
        "the log's own rows without a click count as interactions and do not become examples "
        '(they are reported as down-sampled).',
    )
    popularity_exponent: float = Field(
        default=0.0,
        ge=0,
        description="Power of an item's count so far in its domain to which its probability "
        'of being drawn is proportional; 0 is uniform.',
    )
    keep_negatives: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Fraction of the log's negatives that is kept (CTNet 4.1); every positive "
        'is kept.',
    )

    @model_validator(mode='after')
    def _check(self) -> Self:
        ratio = self.ctr_ratio
        if isinstance(ratio, dict):
            ratios = list(ratio.values())
        elif isinstance(ratio, tuple):
            ratios = list(ratio)
        else:
            ratios = [] if ratio is None else [ratio]
        if any(not each > 0 for each in ratios):
            raise ValueError('a ctr_ratio must be more than 0.')
        if isinstance(ratio, tuple) and ratio[0] > ratio[1]:
            raise ValueError('a ctr_ratio range must be [low, high].')
        if ratio is not None and self.keep_negatives != 1.0:
            raise ValueError('ctr_ratio and keep_negatives exclude each other.')
        return self


# Settings that no byte of a dataset depends on: where the log is, and when to warn of its size.
NO_CONTENT = ('inputs', 'in_memory_gb')
IN_MEMORY_GB = 4.0
RANDOM = ('user', 'inputs')  # kinds of splits that may mix earlier and later rows


class SplitConfig(Settings):
    """How rows are split into `train`, `validation` and `test`."""

    by: Literal['days', 'time', 'periods', 'user', 'inputs'] = Field(
        default='days',
        description='`days` (STAR 4.1), `time` (AdaSparse 4.1.1: fractions of the rows in '
        'order of time), `periods` (CTNet 4.1), `user` (MAMDR V-A: at random within each '
        'user), or `inputs` if the files are split already, with `inputs` by split; that is '
        'treated as a random split.',
    )
    days: dict[FileName, Annotated[tuple[Day, Day], Strict(False)]] | None = Field(
        default=None,
        description='For `days`: first and last day of each split, inclusive. Rows of other '
        'days are counted and left out.',
    )
    fractions: Annotated[tuple[float, float, float], Strict(False)] | None = Field(
        default=None,
        description='For `time` and `user`: fractions of train, validation and test.',
    )
    periods: int = Field(
        default=5,
        ge=1,
        le=126,
        description='For `periods`: their number. The splits are `period-1` to `period-N`, '
        'then `test` of one day. Vocabularies grow from period to period, and with the days '
        'that are added later.',
    )
    period_days: int = Field(default=6, ge=1, description='For `periods`: days of each period.')
    first_day: Day | None = Field(
        default=None,
        description="For `periods`: first day of the first period; the log's first day if "
        'absent.',
    )

    @model_validator(mode='after')
    def _check(self) -> Self:
        if (self.by == 'days') != (self.days is not None):
            raise ValueError('`days` goes with `by: days`, which needs it.')
        if (self.by in ('time', 'user')) != (self.fractions is not None):
            raise ValueError('`fractions` goes with `by: time` or `by: user`, which need it.')
        if self.days is not None:
            self._check_days(self.days)
        if self.fractions is not None and (
            min(self.fractions) < 0
            or self.fractions[0] <= 0
            or abs(sum(self.fractions) - 1) > 1e-9
        ):
            raise ValueError(
                'fractions must be three numbers that add up to 1, the first more than 0.'
            )
        return self

    @staticmethod
    def _check_days(days: dict[str, tuple[str, str]]) -> None:
        if 'train' not in days:
            raise ValueError('`days` needs the split train.')
        for name, (first, last) in days.items():
            if first > last:
                raise ValueError(f'days.{name}: {first} is after {last}.')
        ordered = sorted((first, last, name) for name, (first, last) in days.items())
        for (_, last, one), (first, _, other) in itertools.pairwise(ordered):
            if first <= last:
                raise ValueError(f'days: the splits {one} and {other} overlap.')


class DatasetConfig(Settings):
    """The raw log and how a dataset is built from it."""

    reader: str = Field(
        description='Reader of the raw log: a name of `beam_jobs.readers`, or `module:Class`.'
    )
    reader_options: dict[str, Any] = Field(
        default_factory=dict, description='Options of the reader.'
    )
    inputs: list[str] | dict[FileName, list[str]] | None = Field(
        default=None,
        description='Files or patterns of the raw log; with `split.by: inputs` those of each '
        'split (`{train: [...], test: [...]}`). If absent, the reader fetches its own.',
    )
    domain_columns: list[str] = Field(
        min_length=1, description='Raw columns whose combination is the domain.'
    )
    domains: list[str] | None = Field(
        default=None,
        min_length=1,
        description='Names of the domains whose impressions become examples; all if absent. '
        'Rows of other domains are counted with those outside of the splits, and histories '
        'and statistics include them.',
    )
    features: list[FeatureConfig] = Field(
        description='Features of an example, `user_id` and `item_id` among them.'
    )
    sampling: SamplingConfig = Field(
        default_factory=SamplingConfig, description='Sampling of negatives.'
    )
    split: SplitConfig = Field(description='Training, validation and test splits.')
    max_rejected_fraction: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description='Fraction of unreadable rows above which the build fails.',
    )
    duplicates: Literal['drop', 'keep'] = Field(
        default='drop',
        description='Rows that are equal in user, item, domain and timestamp: `drop` all but '
        'one as repeats of one impression (a click counts, if any of them has one), or `keep` '
        'all, for a log whose timestamps are too coarse to tell impressions apart. Rows '
        'without timestamps are all kept.',
    )
    user_buckets: int = Field(
        default=16,
        ge=1,
        le=65536,
        description='Number of buckets that users are hashed to; a worker holds one at a time.',
    )
    in_memory_gb: float = Field(
        default=IN_MEMORY_GB,
        ge=0,
        description='Gigabytes of raw log above which a build without `--runner` warns, since '
        'it holds the rows in memory, compressed.',
    )
    seed: int = Field(default=1, ge=0, description='Random seed of every draw.')
    utc_offset: float = Field(
        default=0.0,
        ge=-12,
        le=14,
        description="Hours by which the log's days begin before those of UTC (8 for China): "
        'for the days of splits and statistics, `hour` and `weekday`.',
    )
    extendable: bool = Field(
        default=False,
        description='Whether the dataset keeps the rows that it was built from, so that days '
        'can be added without building the earlier days again.',
    )

    @property
    def input_patterns(self) -> list[str]:
        """The files or patterns of the raw log, of all splits."""
        if isinstance(self.inputs, dict):
            return [pattern for patterns in self.inputs.values() for pattern in patterns]
        return self.inputs or []

    @model_validator(mode='after')
    def _check_inputs(self) -> Self:
        if (self.split.by == 'inputs') != isinstance(self.inputs, dict):
            raise ValueError(
                '`split.by: inputs` goes with inputs by split, `inputs: {train: [...], ...}`.'
            )
        if isinstance(self.inputs, dict):
            if 'train' not in self.inputs:
                raise ValueError('inputs by split need the split train.')
            if self.extendable:
                raise ValueError('`extendable` excludes `split.by: inputs`.')
        return self

    @model_validator(mode='after')
    def _check_features(self) -> Self:
        names = [feature.name for feature in self.features]
        if len(set(names)) != len(names):
            raise ValueError('a feature name occurs twice.')
        taken = {'domain', 'timestamp', 'click', 'user_key'} & set(names)
        if taken:
            raise ValueError(f'the feature name {min(taken)} is reserved.')
        for name in ('user_id', 'item_id'):
            if name not in names:
                raise ValueError(f'features must include {name}.')
        categorical = {'domain'} | {
            feature.name for feature in self.features if feature.kind == 'categorical'
        }
        for feature in self.features:
            if isinstance(feature, HistoryFeature):
                key, columns = 'feature', [feature.feature]
            elif isinstance(feature, StatisticFeature):
                key, columns = 'group_by', feature.columns
                if feature.as_of == 'split' and self.split.by != 'days':
                    raise ValueError(
                        f'feature {feature.name}: `as_of: split` needs `split.by: days`.'
                    )
            else:
                continue
            for column in columns:
                if column not in categorical:
                    raise ValueError(
                        f'feature {feature.name}: `{key}` must be a categorical feature of '
                        f'this list, or domain, not {column}.'
                    )
        return self
