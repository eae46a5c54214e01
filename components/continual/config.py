"""The `continual` section of a configuration."""

import re
from typing import Self

from pydantic import Field, model_validator

from beam_jobs.config import DatasetConfig
from mdctr.days import parse_day
from mdctr.settings import Settings
from trainer.config import ModelConfig, TrainConfig

SOURCE = 'source'
DAY = '{day}'


class BaseModelConfig(ModelConfig):
    """`ModelConfig` with the single-domain model as its default."""

    name: str = Field(default='taobao_base', description='Architecture, as in `train.model`.')


class TransferModelConfig(BaseModelConfig):
    """`ModelConfig` with CTNet as its default."""

    name: str = Field(default='ctnet', description='Architecture, as in `train.model`.')


class BaseTrainConfig(TrainConfig):
    """`TrainConfig` with CTNet's settings (4.2) as defaults: each day once, AdaGrad."""

    model: BaseModelConfig = Field(default_factory=BaseModelConfig, description='Base model.')
    batch_size: int = Field(default=512, ge=1, description='Maximum rows of a batch.')
    optimizer: str = Field(default='adagrad', description='Optimizer, as in `train`.')
    learning_rate: float = Field(
        default=0.01, gt=0, description='Learning rate of the optimizer.'
    )
    epochs: int = Field(default=1, ge=1, description='Passes over the days of a period.')


class TransferTrainConfig(BaseTrainConfig):
    """`BaseTrainConfig` of CTNet."""

    model: TransferModelConfig = Field(
        default_factory=TransferModelConfig, description='CTNet, around the base model.'
    )


class ContinualConfig(Settings):
    """The models that are trained period after period, and their domains.

    The source's model is pushed as `<name>-source`, a target's as `<name>-<target>`. A model
    is evaluated on the day after the last day of its period, with the thresholds of the section
    `evaluate`.
    """

    source_domains: list[str] = Field(
        description="Domains whose rows the source's model is trained on."
    )
    target_domains: list[str] = Field(
        description='Domains that have a model of their own each.'
    )
    days_per_period: int = Field(default=1, ge=1, description='Training days of a period.')
    warm_up_days: int = Field(
        default=1,
        ge=0,
        description="Days of a target's base model (h_t0 of Algorithm 1), which is trained "
        'until a period ends on or after this day, counted from 1; later periods train CTNet, '
        'initialized with the pushed base model. 0 begins with CTNet.',
    )
    source_train: BaseTrainConfig = Field(
        default_factory=BaseTrainConfig, description="Training of the source's model."
    )
    base_train: BaseTrainConfig = Field(
        default_factory=BaseTrainConfig, description="Training of a target's base model."
    )
    target_train: TransferTrainConfig = Field(
        default_factory=TransferTrainConfig, description='Training of CTNet.'
    )
    success_marker: str | None = Field(
        default=None,
        description='File, with `{day}` in its name, that marks a day of the raw log as '
        'complete; if absent, a day is complete when one of its files exists.',
    )
    wait_days: int = Field(
        default=1,
        ge=1,
        description='Number of later days that must exist before a missing day is skipped.',
    )
    dismissed_days: list[str] = Field(
        default_factory=list,
        description='Days of the raw log, written YYYY-MM-DD, that are neither added to the '
        'dataset nor waited for nor reported, such as a day that came late.',
    )
    periods_per_run: int = Field(
        default=2,
        ge=1,
        le=10,
        description='Maximum number of pending periods that one run on a cluster trains.',
    )

    @model_validator(mode='after')
    def _check(self) -> Self:
        for key in ('source_domains', 'target_domains'):
            names = getattr(self, key)
            if not names or len(set(names)) < len(names):
                raise ValueError(f'{key} needs one domain or more, each once.')
        both = sorted(set(self.source_domains) & set(self.target_domains))
        if both:
            raise ValueError(f'the domain {both[0]} is a source and a target: choose one.')
        for day in self.dismissed_days:
            parse_day(day)
        served = [served_name('', target) for target in self.target_domains]
        if SOURCE in self.target_domains or len(set(served)) < len(served):
            raise ValueError(
                'target_domains: two models would be pushed under the same name; rename a '
                'domain.'
            )
        if self.success_marker is not None and DAY not in self.success_marker:
            raise ValueError(
                f'success_marker must contain {DAY}, for example log/{DAY}/_SUCCESS.'
            )
        return self

    @property
    def models(self) -> list[str]:
        """`source` and the targets, in the order in which they are trained."""
        return [SOURCE, *self.target_domains]

    def domains_of(self, model: str) -> list[str]:
        """The domains that a model is trained and evaluated on."""
        return list(self.source_domains) if model == SOURCE else [model]


def served_name(name: str, model: str) -> str:
    """The name under which a model of the configuration `name` is pushed."""
    return f'{name}-{re.sub(r"[^A-Za-z0-9_-]", "-", model)}'


def by_day(config: DatasetConfig) -> bool:
    """Whether the raw log has files by day: an input with `{day}` in its name."""
    return any(DAY in path for path in config.input_patterns)


def check_dataset(config: DatasetConfig, continual: ContinualConfig) -> None:
    """Checks that a dataset can be trained on period by period.

    Raises:
        ValueError: It cannot.
    """
    if config.split.by != 'periods' or config.split.period_days != 1:
        raise ValueError(
            'continual goes with dataset.split {by: periods, period_days: 1}: a '
            'split for each day.'
        )
    if not by_day(config):
        if continual.success_marker is not None:
            raise ValueError(f'continual.success_marker goes with {DAY} in dataset.inputs.')
        return
    if not all(DAY in path for path in config.input_patterns):
        raise ValueError(f'dataset.inputs: with {DAY} in one of them, all need it.')
    if not config.extendable or config.split.first_day is None:
        raise ValueError(
            f'{DAY} in dataset.inputs needs dataset.extendable: true and the '
            'first day as dataset.split.first_day.'
        )
