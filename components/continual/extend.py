"""Adds days to the dataset of a continual pipeline, as far as the next period needs them.

A day is added when no period is pending. So a period is always trained on the dataset that ends
with the day after it, however many days of the log are there: catching up gives the same models
as going day by day, and a period that was killed finds its dataset unchanged.
"""

import logging
from collections.abc import Callable, Iterator, Sequence

from beam_jobs.config import NO_CONTENT, DatasetConfig
from beam_jobs.evaluation.config import EvaluateConfig
from components.continual.attempt import Attempt, plan
from components.continual.config import by_day
from components.continual.context import ContinualContext
from components.continual.days import RawLog, first_days_of
from components.continual.periods import Period, days_of, periods
from mdctr.errors import NoRowsError, UserError
from mdctr.leases import lease
from mdctr.manifest import MANIFEST, Manifest
from mdctr.settings import parse
from mdctr.workspace import cache_directory

log = logging.getLogger(__name__)


def next_period(
    context: ContinualContext,
    config: DatasetConfig,
    thresholds: EvaluateConfig,
    beam_args: Sequence[str] = (),
    report: Callable[[str], None] | None = None,
) -> Period | None:
    """Extends the dataset up to the next period with a model to train.

    Args:
        context: The configuration and its workspace.
        config: The `dataset` section.
        thresholds: The `evaluate` section; attempts that it refused are not tried again.
        beam_args: Ordinary Beam options.
        report: Receives each sentence about days that are left out, or that have new domains
            or columns; the sentences are also logged as warnings.

    Returns:
        The period; None if every available day has been trained on (logged).

    Raises:
        UserError: The dataset cannot be built or extended.
    """

    def warn(sentence: str) -> None:
        log.warning('%s', sentence)
        if report is not None:
            report(sentence)

    with lease(context.dataset + '.periods', f'extends the dataset {context.name}', wait=True):
        raw = RawLog(config, context.continual) if by_day(config) else None
        if not _first(context, config, raw, beam_args):
            return None
        if raw is not None:
            for sentence in raw.notes(context.current()):
                warn(sentence)
        empty: set[str] = set()
        while True:
            manifest = context.manifest()
            period = pending_period(context, manifest, thresholds)
            if period is not None:
                log.info(
                    'Period %d: %s to %s, evaluated on %s.',
                    period.number,
                    period.days[0].day,
                    period.last_day,
                    period.evaluated_on.day,
                )
                return period
            last = days_of(manifest)[-1].day
            day = raw.next(last, empty) if raw is not None else None
            if raw is None or day is None:
                log.info('No new day after %s; nothing to do.', last)
                return None
            try:
                _add(context, raw, day, beam_args)
            except NoRowsError as error:
                empty.add(day)
                warn(
                    f'The log of {day} has no rows of that day: it is left out until it has '
                    f'rows, and passed over after continual.wait_days later days ({error})'
                )
                continue
            for sentence in _news(context, raw, day, manifest):
                warn(sentence)


def more(context: ContinualContext, config: DatasetConfig, thresholds: EvaluateConfig) -> bool:
    """Whether there is a pending period, a day to add, or no dataset yet."""
    if not context.has_dataset():
        return True
    manifest = context.manifest()
    if pending_period(context, manifest, thresholds) is not None:
        return True
    last = days_of(manifest)[-1].day
    return by_day(config) and RawLog(config, context.continual).next(last) is not None


def pending_period(
    context: ContinualContext, manifest: Manifest, thresholds: EvaluateConfig
) -> Period | None:
    """The first complete period of the dataset with a model to train.

    A model that was refused, or pushed and then withdrawn, is not trained again: the next
    period trains on its days.
    """
    for period in periods(days_of(manifest), context.continual):
        for model in context.continual.models:
            attempt = plan(context, manifest, model, period)
            if (
                isinstance(attempt, Attempt)
                and not attempt.refused(thresholds)
                and not context.pushed.is_withdrawn(model, attempt.export)
            ):
                return period
    return None


def _first(
    context: ContinualContext,
    config: DatasetConfig,
    raw: RawLog | None,
    beam_args: Sequence[str],
) -> bool:
    """Builds the dataset if there is none; returns whether there is one now."""
    from beam_jobs.build.pipeline import build_dataset

    if raw is not None:
        if context.has_dataset():
            _check_settings(context, config)
            return True
        days = first_days_of(raw)
        if days is None:
            log.info(
                'The log of the first days, %s to %s, is not complete yet; nothing to do.',
                raw.first_days()[0],
                raw.first_days()[-1],
            )
            return False
        config = config.replace(inputs=raw.inputs(*days))
    build_dataset(
        config,
        context.name,
        context.dataset,
        cache_directory(context.workspace),
        beam_args=beam_args,
    )
    return True


def _add(context: ContinualContext, raw: RawLog, day: str, beam_args: Sequence[str]) -> None:
    from beam_jobs.build.extend import extend_dataset

    log.info('Adding the log of %s to %s.', day, context.dataset)
    extend_dataset(
        context.dataset,
        day,
        (day, day),
        raw.inputs(day),
        cache_directory(context.workspace),
        beam_args=beam_args,
        in_memory_gb=raw.config.in_memory_gb,
    )


def _news(context: ContinualContext, raw: RawLog, day: str, before: Manifest) -> Iterator[str]:
    """A sentence for each domain and column that the day has as the first one.

    Args:
        context: Names of the configuration and its workspace.
        raw: The raw log.
        day: The day that was added.
        before: Manifest of the dataset before it was.
    """
    continual = context.continual
    earlier = {domain for split in before.splits.values() for domain in split.examples}
    for domain in sorted(context.manifest().splits[day].examples.keys() - earlier):
        sentence = f'The log of {day} has the new domain {domain}'
        for key in ('source_domains', 'target_domains'):
            if domain in getattr(continual, key):
                yield f'{sentence}: it is in continual.{key} and is trained from now on.'
                break
        else:
            yield (
                f'{sentence}, on which no model is trained: add it to '
                'continual.target_domains (or source_domains) if one should be.'
            )
    cache, last = cache_directory(context.workspace), days_of(before)[-1].day
    known = raw.columns(last, cache)
    for column in raw.columns(day, cache) if known else []:
        if column not in known:
            yield (
                f'The log of {day} has the new column {column}, which that of {last} does not '
                'have: it is not used unless the configuration names it.'
            )


def _check_settings(context: ContinualContext, config: DatasetConfig) -> None:
    """Refuses changed settings: the pushed models were trained on the dataset's ids.

    A setting that did not exist when the dataset was built had its default.

    Raises:
        UserError: The dataset was built with other settings.
    """
    current = context.current()
    built = parse(DatasetConfig, current.manifest.config, current.path(MANIFEST))
    differing = [
        key
        for key in DatasetConfig.model_fields
        if key not in NO_CONTENT and getattr(built, key) != getattr(config, key)
    ]
    if differing:
        raise UserError(
            f'The dataset {context.dataset} and the pushed models were built with another '
            f'dataset.{differing[0]}: restore that value, or give the configuration another '
            'name.'
        )
