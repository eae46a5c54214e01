"""Alternate training, then a copy tuned on each domain."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from beam_jobs.metrics import domain_metrics
from beam_jobs.options import setting
from trainer.examples import Batch, Examples, prefetch
from trainer.frameworks.alternate import Alternate
from trainer.frameworks.core import InnerStep
from trainer.frameworks.moments import shared_moments
from trainer.frameworks.specific import Difference, SpecificParameters
from trainer.frameworks.with_specific import WithSpecific
from trainer.keras import tf
from trainer.validation import stopping_value

_VALIDATION_ROWS = 8192

logger = logging.getLogger(__name__)


class Finetune(WithSpecific, Alternate):
    """Alternate + finetune (MAMDR V-B): after the best epoch of alternate training, a copy of
    the model is tuned on each domain's rows, with fresh slots of the optimizer.

    Tuning stops when the domain's own validation rows get no better, and the best pass is
    kept: the shared model, where none is better than it or the domain has no validation rows.
    A copy is kept as the values of the variables and rows that tuning touched.
    """

    @dataclass(frozen=True)
    class Options:
        """The tuning.

        Attributes:
            tuning_epochs: at most so many passes over a domain's rows.
            tuning_patience: passes without a rise after which tuning stops.
            tuning_rate: of the optimizer, which no schedule changes; absent, the run's.
        """

        tuning_epochs: int = setting(5, minimum=1)
        tuning_patience: int = setting(1, minimum=1)
        tuning_rate: float | None = setting(None, above=0)

    def prepare(self) -> None:
        super().prepare()
        # The run's schedule has fallen to nothing when tuning begins.
        self._tuning = InnerStep(
            self.model, self.make_optimizer(None, self.options.tuning_rate, scheduled=False),
            xla=self.config.xla)
        self.specific = SpecificParameters(
            self._tuning, self.model, self.model.num_domains, follow=False,
            extra=shared_moments(self.model))

    def finish(self, validation: Examples) -> bool:
        for domain in self.examples.domains:
            if validation.count(domain):
                self._tune(domain, validation)
            else:
                logger.warning('Domain %d has no validation rows: it is not tuned.', domain)
        return True

    def _tune(self, domain: int, validation: Examples) -> None:
        specific, step, options = self.specific, self._tuning, self.options
        own, best = specific.differences[domain], Difference()
        own.clear()
        best_value, waited = self._value(domain, validation), 0
        step.take()  # one loop for all passes: a row's shared value is read once
        for number in range(options.tuning_epochs):
            specific.enter(domain)
            for batch in prefetch(self.examples.domain_epoch(
                    domain, number, self.config.batch_size, self.config.seed + 1)):
                step(batch)
            specific.touched()
            specific.leave(keep=True)
            value = self._value(domain, validation)
            if value > best_value:
                best_value, waited = value, 0
                best.copy_from(own)
            else:
                waited += 1
            if waited >= options.tuning_patience:
                break
        step.reset_slots()
        step.snapshot.end()
        own.copy_from(best)

    def _value(self, domain: int, validation: Examples) -> float:
        return value_of(self, domain, validation.domain_epoch(domain, 0, _VALIDATION_ROWS))

    def state(self) -> dict[str, Any]:
        return {'optimizer': self.optimizer}


def value_of(framework: WithSpecific, domain: int, batches: Iterable[Batch]) -> float:
    """What stops a training early, of one domain's validation rows."""
    users, clicks, scores = [], [], []
    for batch in prefetch(batches):
        users.append(batch['user_key'].numpy())
        clicks.append(batch['click'].numpy())
        scores.append(tf.sigmoid(framework.predict(batch)).numpy())
    rows = sum(map(len, clicks))
    return stopping_value(domain_metrics(
        np.full(rows, domain), np.concatenate(users), np.concatenate(clicks),
        np.concatenate(scores), {domain: str(domain)}), framework.config.stop_by)[1]
