"""One model of one period: what it is trained on, what it starts from, and where."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from beam_jobs.evaluation.config import EvaluateConfig
from components.continual.config import SOURCE, ContinualConfig, served_name
from components.continual.context import ContinualContext
from components.continual.periods import Day, Period, rows_of
from components.continual.versions import Record, Version
from mdctr import storage
from mdctr.errors import UserError
from mdctr.manifest import Manifest
from mdctr.settings import to_mapping
from trainer.config import TrainConfig

BASE, TRANSFER = 'base', 'transfer'
METRICS_JSON, THRESHOLDS_JSON = 'metrics.json', 'thresholds.json'


@dataclass(frozen=True)
class Attempt:
    """What is trained, evaluated and pushed; steps pass it on as JSON.

    The directory is named after everything that decides the outcome. So a second run of the
    same attempt, after a kill or next to another run, resumes the first one.

    Attributes:
        served: Name under which the model is pushed.
        directory: Directory of `checkpoints/`, `logs/`, `export/` and `evaluation/`.
        record: Record that the exported model will contain.
        domains: Names of the domains that it is trained and evaluated on.
        parent: Directory of the pushed model that it continues; None for the first.
        source: Directory of the source tower's model; None if it has none.
        baseline: Directory of the served model, which it is compared with.
        expected: Greatest version at planning time; the model is pushed only if it still is.
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
        """Directory of the trained model."""
        return storage.join(self.directory, 'export')

    @property
    def evaluation(self) -> str:
        """Directory of its evaluation."""
        return storage.join(self.directory, 'evaluation')

    def thresholds(self, config: EvaluateConfig) -> EvaluateConfig:
        """The `evaluate` section with the split and the domains of this model only."""
        domains = {
            name: floor
            for name, floor in config.domain_thresholds.items()
            if name in self.domains
        }
        return config.replace(split=self.record.evaluated_on, domain_thresholds=domains)

    def verdict(self, config: EvaluateConfig) -> dict[str, Any] | None:
        """The content of `metrics.json`; None if there is none for these thresholds."""
        try:
            values: dict[str, Any] = storage.read_json(
                storage.join(self.evaluation, METRICS_JSON)
            )
            judged_by = storage.read_json(storage.join(self.evaluation, THRESHOLDS_JSON))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        return values if judged_by == self.judged_by(config) else None

    def judged_by(self, config: EvaluateConfig) -> dict[str, Any]:
        """The content of `thresholds.json` for an evaluation with these thresholds."""
        return json.loads(json.dumps(to_mapping(self.thresholds(config))))

    def refused(self, config: EvaluateConfig) -> bool:
        """Whether it was evaluated with these thresholds and not blessed."""
        return (self.verdict(config) or {}).get('blessed') is False

    def to_json(self) -> str:
        """The attempt as text for `from_json`, whose size does not depend on the domains.

        Kubeflow passes all inputs of a step in one command-line argument of 128 KiB, so the
        domains, which follow from the configuration and the dataset, are left out.
        """
        values = asdict(self)
        del values['domains']
        return json.dumps(values, ensure_ascii=False)

    @staticmethod
    def from_json(text: str, context: ContinualContext) -> 'Attempt':
        """The attempt that another step of the same run has planned."""
        values = json.loads(text)
        record = Record(**values['record'])
        domains = _domains_with_rows(
            context.continual, context.manifest(), record.model, record.splits
        )
        return Attempt(**{**values, 'record': record, 'domains': domains})


def plan(
    context: ContinualContext, manifest: Manifest, model: str, period: Period
) -> Attempt | str:
    """The attempt of a model at a period, or a sentence that says why there is none.

    Raises:
        UserError: The served model of a target is CTNet, and no source model exists for its
            tower.
    """
    continual, pushed = context.continual, context.pushed
    served = served_name(context.name, model)
    newest = pushed.newest(model)
    if newest is not None and newest.record.last_day >= period.last_day:
        return f'{served} version {newest.number} was trained up to {period.last_day} already.'
    days = period.since(newest.record.last_day if newest else None)
    domains = _domains_with_rows(continual, manifest, model, [day.split for day in days])
    if not domains:
        return (
            f'{model} has no rows from {days[0].day} to {period.last_day}; its served '
            'model stays.'
        )
    if not rows_of(manifest, [period.evaluated_on], domains):
        return (
            f'{model} has no rows on {period.evaluated_on.day}, on which a model up to '
            f'{period.last_day} would be evaluated; the next period trains on its days.'
        )
    kind, source = _kind(context, model, period, newest)
    record = Record(
        model,
        kind,
        days[0].day,
        period.last_day,
        [day.split for day in days],
        period.evaluated_on.split,
        parent=newest.named() if newest else None,
        source=source.named() if source else None,
    )
    digest = _digest(manifest, continual, record, domains, [*days, period.evaluated_on])
    record = dataclasses.replace(record, digest=digest)
    directory = storage.join(context.training(model), f'{period.last_day}-{kind}-{digest[:8]}')
    return Attempt(
        served,
        directory,
        record,
        domains,
        newest.directory if newest else None,
        source.directory if source else None,
        pushed.served(model),
        pushed.greatest(model),
    )


def train_config(continual: ContinualConfig, kind: str) -> TrainConfig:
    """The training settings of a kind of model."""
    return {
        SOURCE: continual.source_train,
        BASE: continual.base_train,
        TRANSFER: continual.target_train,
    }[kind]


def _domains_with_rows(
    continual: ContinualConfig, manifest: Manifest, model: str, splits: Sequence[str]
) -> list[str]:
    """The domains of a model that have rows in some splits."""
    return [
        domain
        for domain in continual.domains_of(model)
        if any(manifest.splits[split].examples.get(domain, 0) for split in splits)
    ]


def _kind(
    context: ContinualContext, model: str, period: Period, newest: Version | None
) -> tuple[str, Version | None]:
    """The kind of a model, and the source of CTNet's tower (Algorithm 1, line 5).

    The source is the newest version that was not trained on the day of the evaluation.
    """
    if model == SOURCE:
        return SOURCE, None
    source = context.pushed.newest(SOURCE, until=period.last_day)
    transferred = newest is not None and newest.record.kind == TRANSFER
    if source is None and transferred:
        raise UserError(
            f'{served_name(context.name, model)} is CTNet, but no complete version '
            f'of {served_name(context.name, SOURCE)} up to {period.last_day} exists for its '
            f'source tower: restore one in {context.models}.'
        )
    warm = len(period.before) >= context.continual.warm_up_days
    begins = (
        warm
        and source is not None
        and (newest is not None or not context.continual.warm_up_days)
    )
    return (TRANSFER, source) if transferred or begins else (BASE, None)


def _digest(
    manifest: Manifest,
    continual: ContinualConfig,
    record: Record,
    domains: Sequence[str],
    days: Sequence[Day],
) -> str:
    """The digest of everything that decides the outcome of an attempt.

    Args:
        manifest: Manifest of the dataset.
        continual: The `continual` section.
        record: Record of the model, without its digest.
        domains: Names of the domains that it is trained on.
        days: The days that it is trained on, and the one that it is evaluated on. Later days of
            the dataset do not matter.
    """
    dataset: dict[str, Any] = {**manifest.config, 'inputs': None}
    content = {day.split: to_mapping(manifest.splits[day.split]) for day in days}
    parent, source = ((each or {}).get('digest') for each in (record.parent, record.source))
    parts = json.dumps(
        [
            to_mapping(train_config(continual, record.kind)),
            dataset,
            content,
            record.evaluated_on,
            list(domains),
            parent,
            source,
        ],
        sort_keys=True,
    )
    return hashlib.sha256(parts.encode()).hexdigest()
