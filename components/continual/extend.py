"""The dataset of a continual pipeline, as far as the next period needs it, and no further.

A day is added when no period waits any more. So a period is always trained on the dataset that
ends with the day after it, however many days of the log are waiting: catching up leaves the
models that going day by day would have left, and a period that was cut short finds its dataset
as it was.
"""

import dataclasses
import json
import logging
import os
from collections.abc import Sequence

from beam_jobs.config import DatasetConfig
from beam_jobs.dataset import MANIFEST, Manifest
from beam_jobs.directory import restore
from beam_jobs.errors import UserError
from beam_jobs.judge_config import EvaluateConfig
from beam_jobs.options import to_mapping
from components.continual.attempt import Attempt, plan
from components.continual.config import by_day
from components.continual.context import Context
from components.continual.days import RawLog, first_days_of
from components.continual.lock import alone
from components.continual.periods import Period, days_of, periods
from components.steps import cache_directory

log = logging.getLogger(__name__)


def next_period(context: Context, config: DatasetConfig, judging: EvaluateConfig,
                beam_args: Sequence[str] = ()) -> Period | None:
    """The next period with something to train, after the dataset was extended up to it.

    Args:
        context: of the configuration.
        config: its `dataset` section.
        judging: its `evaluate` section; what it refused is not tried again.
        beam_args: ordinary Beam options.

    Returns:
        The period; None where all that is there was trained on, which is said.

    Raises:
        UserError: another run extends the dataset, or it cannot be built or extended.
    """
    with alone(context.dataset + '.lock', f'extends the dataset {context.dataset}'):
        restore(context.dataset)
        raw = RawLog(config, context.continual) if by_day(config) else None
        if not _first(context, config, raw, beam_args):
            return None
        if raw is not None:
            for sentence in raw.notes(context.manifest()):
                log.warning('%s', sentence)
        while True:
            manifest = context.manifest()
            period = waiting(context, manifest, judging)
            if period is not None:
                log.info('Period %d: %s to %s, evaluated on %s.', period.number,
                         period.days[0].day, period.last_day, period.evaluated_on.day)
                return period
            last = days_of(manifest)[-1].day
            day = raw and raw.next(last)
            if day is None:
                log.info('There is no new day after %s: nothing is to be done.', last)
                return None
            _add(context, raw, day, beam_args)


def more(context: Context, config: DatasetConfig, judging: EvaluateConfig) -> bool:
    """Whether `next_period` may find one: a period waits, or a day, or there is no dataset."""
    if not os.path.exists(os.path.join(context.dataset, MANIFEST)):
        return True
    manifest = context.manifest()
    if waiting(context, manifest, judging) is not None:
        return True
    last = days_of(manifest)[-1].day
    return by_day(config) and RawLog(config, context.continual).next(last) is not None


def waiting(context: Context, manifest: Manifest, judging: EvaluateConfig) -> Period | None:
    """The first complete period of the dataset of which a model is still to be trained."""
    for period in periods(days_of(manifest), context.continual):
        for model in context.continual.models:
            attempt = plan(context, manifest, model, period)
            if isinstance(attempt, Attempt) and not attempt.refused(judging):
                return period
    return None


def _first(context: Context, config: DatasetConfig, raw: RawLog | None,
           beam_args: Sequence[str]) -> bool:
    """Builds the dataset where there is none; whether there is one now."""
    from beam_jobs.build import build_dataset

    if raw is not None:
        if os.path.exists(os.path.join(context.dataset, MANIFEST)):
            _check_settings(context, config)
            return True
        days = first_days_of(raw)
        if days is None:
            log.info('The log of the first days, %s to %s, is not all there: nothing is to be '
                     'done.', raw.first_days()[0], raw.first_days()[-1])
            return False
        config = dataclasses.replace(config, inputs=raw.inputs(*days))
    build_dataset(config, context.name, context.dataset, cache_directory(context.workspace),
                  beam_args=beam_args)
    return True


def _add(context: Context, raw: RawLog, day: str, beam_args: Sequence[str]) -> None:
    from beam_jobs.extend import extend_dataset

    log.info('Adding the log of %s to %s.', day, context.dataset)
    extend_dataset(context.dataset, context.dataset, day, (day, day), raw.inputs(day),
                   cache_directory(context.workspace), beam_args=beam_args)


def _check_settings(context: Context, config: DatasetConfig) -> None:
    """A dataset that grows is not built again: what is pushed was trained on its ids."""
    built = context.manifest().config
    wanted = json.loads(json.dumps(to_mapping(config)))  # as the manifest has read it
    differing = [key for key, value in wanted.items()
                 if key != 'inputs' and built.get(key) != value]
    if differing:
        raise UserError(f'The dataset {context.dataset} was built with another dataset.'
                        f'{differing[0]}, and the pushed models with it: take that again, or '
                        'give the configuration another name.')
