"""The `continual` section of a configuration."""

import re
from dataclasses import dataclass, field

from beam_jobs.config import DatasetConfig
from beam_jobs.options import setting
from trainer.config import ModelConfig, TrainConfig

SOURCE = 'source'
DAY = '{day}'


@dataclass(frozen=True)
class BaseModelConfig(ModelConfig):
    """`ModelConfig` with the single-domain model as its default."""

    name: str = 'taobao_base'


@dataclass(frozen=True)
class TransferModelConfig(ModelConfig):
    """`ModelConfig` with CTNet as its default."""

    name: str = 'ctnet'


@dataclass(frozen=True)
class BaseTrainConfig(TrainConfig):
    """`TrainConfig` with CTNet's settings (4.2) as defaults: each day once, AdaGrad."""

    model: BaseModelConfig = field(default_factory=BaseModelConfig)
    batch_size: int = setting(512, minimum=1)
    optimizer: str = 'adagrad'
    learning_rate: float = setting(0.01, above=0)
    epochs: int = setting(1, minimum=1)


@dataclass(frozen=True)
class TransferTrainConfig(BaseTrainConfig):
    """`BaseTrainConfig` of CTNet."""

    model: TransferModelConfig = field(default_factory=TransferModelConfig)


@dataclass(frozen=True)
class ContinualConfig:
    """Which models are trained, period after period, on what.

    The source's model is pushed as `<name>-source`, a target's as `<name>-<target>`. Each
    period ends with a day that models of it are evaluated on: the day after its last. The
    thresholds are those of the section `evaluate`.

    Attributes:
        source_domains: whose rows the source's model is trained on.
        target_domains: each has a model of its own.
        days_per_period: training days of a period.
        warm_up_days: a target's plain model (h_t0 of Algorithm 1) is trained until a period
            ends on or after this day, counted from 1; the periods after that train CTNet,
            which begins as the plain model that is pushed. 0 begins with CTNet.
        source_train: how the source's model is trained.
        base_train: how a target's plain model is trained.
        target_train: how CTNet is trained.
        success_marker: a file (with `{day}` in its name) without which a day of the raw log
            is not there yet; absent, a day is there when a file of it is.
        wait_days: a day that is missing is passed over when so many later days are there.
        periods_per_run: the most periods that one run on a cluster trains, one after the
            other, when several are waiting.
    """

    source_domains: list[str]
    target_domains: list[str]
    days_per_period: int = setting(1, minimum=1)
    warm_up_days: int = setting(1, minimum=0)
    source_train: BaseTrainConfig = field(default_factory=BaseTrainConfig)
    base_train: BaseTrainConfig = field(default_factory=BaseTrainConfig)
    target_train: TransferTrainConfig = field(default_factory=TransferTrainConfig)
    success_marker: str | None = None
    wait_days: int = setting(1, minimum=1)
    periods_per_run: int = setting(2, minimum=1, maximum=10)

    def __post_init__(self):
        for key in ('source_domains', 'target_domains'):
            names = getattr(self, key)
            if not names or len(set(names)) < len(names):
                raise ValueError(f'{key} needs one domain or more, each once.')
        both = sorted(set(self.source_domains) & set(self.target_domains))
        if both:
            raise ValueError(f'the domain {both[0]} is a source and a target: choose one.')
        served = [served_name('', target) for target in self.target_domains]
        if SOURCE in self.target_domains or len(set(served)) < len(served):
            raise ValueError('target_domains: two of the models would be pushed under one '
                             'name; rename a domain.')
        if self.success_marker is not None and DAY not in self.success_marker:
            raise ValueError(f'success_marker needs {DAY} in it, for example '
                             f'log/{DAY}/_SUCCESS.')

    @property
    def models(self) -> list[str]:
        """`source` and the targets, in the order in which a period trains them."""
        return [SOURCE, *self.target_domains]

    def domains_of(self, model: str) -> list[str]:
        """The domains whose rows a model is trained and judged on."""
        return list(self.source_domains) if model == SOURCE else [model]


def served_name(name: str, model: str) -> str:
    """What a model of the configuration `name` is pushed as."""
    return f'{name}-{re.sub(r"[^A-Za-z0-9_-]", "-", model)}'


def by_day(config: DatasetConfig) -> bool:
    """Whether the raw log lies day by day: an input has `{day}` in its name."""
    return any(DAY in path for path in config.inputs or [])


def check_dataset(config: DatasetConfig, continual: ContinualConfig) -> None:
    """Whether a dataset can be trained on in periods.

    Raises:
        ValueError: it cannot.
    """
    if config.split.by != 'periods' or config.split.period_days != 1:
        raise ValueError('continual goes with dataset.split {by: periods, period_days: 1}: a '
                         'split for each day.')
    if not by_day(config):
        if continual.success_marker is not None:
            raise ValueError(f'continual.success_marker goes with {DAY} in dataset.inputs.')
        return
    if not all(DAY in path for path in config.inputs):
        raise ValueError(f'dataset.inputs: with {DAY} in one of them, all need it.')
    if not config.extendable or config.split.start is None:
        raise ValueError(f'{DAY} in dataset.inputs needs dataset.extendable: true and the '
                         'first day as dataset.split.start.')
