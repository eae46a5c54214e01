"""One model's part of one period: what it is trained on, from what, and where."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from beam_jobs.dataset import Manifest
from beam_jobs.errors import UserError
from beam_jobs.judge_config import EvaluateConfig
from beam_jobs.options import to_mapping
from components.continual.config import SOURCE, ContinualConfig, served_name
from components.continual.context import Context
from components.continual.periods import Day, Period, rows_of
from components.continual.versions import Record, Version
from trainer.config import TrainConfig

BASE, TRANSFER = 'base', 'transfer'
METRICS_JSON, THRESHOLDS_JSON = 'metrics.json', 'thresholds.json'


@dataclass(frozen=True)
class Attempt:
    """What is to be trained, judged and pushed. It goes from step to step as JSON.

    The directory is named after everything that decides the outcome, so that whoever makes
    the same attempt again, after a kill or beside another run, goes on with the first one.

    Attributes:
        served: the name that the model is pushed under.
        directory: of the run: `checkpoints/`, `logs/`, `export/`, `evaluation/`.
        record: what the exported model will say of itself.
        domains: whose rows it is trained and judged on.
        parent: the directory of the pushed model that it continues.
        source: the directory of the source tower.
        baseline: the directory of the model that it is judged beside.
        expected: the greatest version now; it is pushed only if that is still so.
    """

    served: str
    directory: str
    record: Record
    domains: list[str]
    parent: str | None
    source: str | None
    baseline: str | None
    expected: int

    @property
    def export(self) -> str:
        """Where the trained model goes."""
        return os.path.join(self.directory, 'export')

    @property
    def evaluation(self) -> str:
        """Where its evaluation goes."""
        return os.path.join(self.directory, 'evaluation')

    def thresholds(self, config: EvaluateConfig) -> EvaluateConfig:
        """The thresholds that are about this model, on its day."""
        domains = {name: floor for name, floor in config.domains.items()
                   if name in self.domains}
        return dataclasses.replace(config, split=self.record.evaluated_on, domains=domains)

    def verdict(self, config: EvaluateConfig) -> dict[str, Any] | None:
        """What `metrics.json` of its evaluation by these thresholds holds; None without one."""
        try:
            with open(os.path.join(self.evaluation, METRICS_JSON), encoding='utf-8') as file:
                values = json.load(file)
            with open(os.path.join(self.evaluation, THRESHOLDS_JSON), encoding='utf-8') as file:
                judged_by = json.load(file)
        except (OSError, ValueError):
            return None
        return values if judged_by == self.judged_by(config) else None

    def judged_by(self, config: EvaluateConfig) -> dict[str, Any]:
        """The thresholds as `thresholds.json` holds them."""
        return json.loads(json.dumps(to_mapping(self.thresholds(config))))

    def refused(self, config: EvaluateConfig) -> bool:
        """Whether it was made already, and not blessed by these thresholds."""
        return (self.verdict(config) or {}).get('blessed') is False

    def to_json(self) -> str:
        """What `from_json` reads."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @staticmethod
    def from_json(text: str) -> 'Attempt':
        """The attempt that another step planned."""
        values = json.loads(text)
        return Attempt(**{**values, 'record': Record(**values['record'])})


def plan(context: Context, manifest: Manifest, model: str, period: Period) -> Attempt | str:
    """The attempt of a model at a period, or the sentence that says why there is none.

    Raises:
        UserError: CTNet is pushed for a target and no source model for its tower.
    """
    continual, pushed = context.continual, context.pushed
    served = served_name(context.name, model)
    newest = pushed.newest(model)
    if newest is not None and newest.record.last_day >= period.last_day:
        return f'{served} version {newest.number} knows the days up to {period.last_day}.'
    days = period.since(newest and newest.record.last_day)
    domains = [domain for domain in continual.domains_of(model)
               if rows_of(manifest, days, [domain])]
    if not domains:
        return (f'{model} has no rows from {days[0].day} to {period.last_day}: its served '
                'model stays.')
    if not rows_of(manifest, [period.evaluated_on], domains):
        return (f'{model} has no rows on {period.evaluated_on.day}, by which a model up to '
                f'{period.last_day} would be judged: the next period trains on its days.')
    kind, source = _kind(context, model, period, newest)
    record = Record(model, kind, days[0].day, period.last_day, [day.split for day in days],
                    period.evaluated_on.split, parent=newest and newest.named(),
                    source=source and source.named())
    digest = _digest(manifest, continual, record, domains, days)
    record = dataclasses.replace(record, digest=digest)
    directory = os.path.join(context.training(model), f'{period.last_day}-{kind}-{digest[:8]}')
    return Attempt(served, directory, record, domains,
                   newest and newest.directory, source and source.directory,
                   pushed.served(model), pushed.greatest(model))


def train_config(continual: ContinualConfig, kind: str) -> TrainConfig:
    """How a model of this kind is trained."""
    return {SOURCE: continual.source_train, BASE: continual.base_train,
            TRANSFER: continual.target_train}[kind]


def _kind(context: Context, model: str, period: Period,
          newest: Version | None) -> tuple[str, Version | None]:
    """Source, a target's plain model, or CTNet with its source (Algorithm 1, line 5).

    The source is the newest that has seen no day that this period is judged by.
    """
    if model == SOURCE:
        return SOURCE, None
    source = context.pushed.newest(SOURCE, until=period.last_day)
    transferred = newest is not None and newest.record.kind == TRANSFER
    if source is None and transferred:
        raise UserError(f'{served_name(context.name, model)} is CTNet, and no complete version '
                        f'of {served_name(context.name, SOURCE)} up to {period.last_day} is '
                        f'there for its source tower: put one back in {context.models}.')
    warm = len(period.before) >= context.continual.warm_up_days
    begins = warm and source is not None and (newest is not None
                                              or not context.continual.warm_up_days)
    return (TRANSFER, source) if transferred or begins else (BASE, None)


def _digest(manifest: Manifest, continual: ContinualConfig, record: Record,
            domains: Sequence[str], days: Sequence[Day]) -> str:
    """Of all that decides the outcome, and of no later day that the dataset may hold."""
    dataset: dict[str, Any] = {**manifest.config, 'inputs': None}
    rows = {day.split: to_mapping(manifest.splits[day.split]) for day in days}
    parent, source = ((each or {}).get('digest') for each in (record.parent, record.source))
    parts = json.dumps([to_mapping(train_config(continual, record.kind)), dataset, rows,
                        record.evaluated_on, list(domains), parent, source], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()
