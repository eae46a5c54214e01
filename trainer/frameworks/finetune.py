"""Fine-tuning: alternate training, then a copy of the model tuned on each domain."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from mdctr.metrics import domain_metrics
from trainer.data.batching import Batch
from trainer.data.examples import Examples
from trainer.data.prefetch import prefetch
from trainer.frameworks.alternate import Alternate
from trainer.frameworks.core.domain_specific import DomainDelta, DomainSpecificParameters
from trainer.frameworks.core.domain_specific_framework import DomainSpecificFramework
from trainer.frameworks.core.moments import shared_moments
from trainer.frameworks.core.snapshot import InnerStep
from trainer.keras import tf
from trainer.loop.step import TrainStep
from trainer.loop.validation import stopping_value

_VALIDATION_ROWS = 8192

logger = logging.getLogger(__name__)


class Finetune(DomainSpecificFramework, Alternate):
    """Alternate training, then fine-tuning on each domain (Alternate + Finetune of MAMDR V-B).

    After the best epoch of alternate training, a copy of the model is tuned on each domain's
    rows, with an optimizer in its initial state. Tuning stops when the metric of the domain's
    validation rows no longer improves, and the best pass is kept; the shared model is kept if
    no pass is better, or if the domain has no validation rows. Of a copy, only the variables
    and rows that tuning touched are stored.
    """

    class Options(Alternate.Options):
        """Options of fine-tuning."""

        tuning_epochs: int = Field(
            default=5, ge=1, description="Maximum number of passes over a domain's rows."
        )
        tuning_patience: int = Field(
            default=1,
            ge=1,
            description='Passes without an improvement after which tuning stops.',
        )
        tuning_learning_rate: Annotated[float, Field(gt=0)] | None = Field(
            default=None, description="Constant learning rate; the run's if absent."
        )

    options: Options

    def prepare(self) -> None:
        super().prepare()
        # The run's schedule has reached 0 when tuning begins.
        self._tuning = InnerStep(
            self.model,
            self.make_optimizer(None, self.options.tuning_learning_rate, scheduled=False),
            xla=self.config.xla,
        )
        self.domain_specific = DomainSpecificParameters(
            self._tuning,
            self.model,
            self.model.num_domains,
            relative=False,
            extra=shared_moments(self.model),
        )

    def train_steps(self) -> list[TrainStep]:
        return [*super().train_steps(), self._tuning]

    def finish(self, validation: Examples) -> bool:
        for domain in self.examples.domains:
            if validation.count(domain):
                self._tune(domain, validation)
            else:
                logger.warning(
                    'Domain %d is not fine-tuned: it has no validation rows.', domain
                )
        return True

    def _tune(self, domain: int, validation: Examples) -> None:
        specific, step, options = self.domain_specific, self._tuning, self.options
        delta, best = specific.deltas[domain], DomainDelta()
        delta.clear()
        best_value, passes_without_gain = self._metric(domain, validation), 0
        step.take()  # one loop for all passes, so that a row's shared value is read once
        for number in range(options.tuning_epochs):
            specific.enter(domain)
            for batch in prefetch(
                self.examples.domain_epoch(
                    domain, number, self.config.batch_size, self.config.seed + 1
                )
            ):
                step(batch)
            specific.record_touched()
            specific.leave(keep=True)
            value = self._metric(domain, validation)
            if value > best_value:
                best_value, passes_without_gain = value, 0
                best.copy_from(delta)
            else:
                passes_without_gain += 1
            if passes_without_gain >= options.tuning_patience:
                break
        step.reset_slots()
        step.snapshot.end()
        delta.copy_from(best)

    def _metric(self, domain: int, validation: Examples) -> float:
        return domain_metric(self, domain, validation.domain_epoch(domain, 0, _VALIDATION_ROWS))

    def state(self) -> dict[str, Any]:
        return {'optimizer': self.optimizer}


def domain_metric(
    framework: DomainSpecificFramework, domain: int, batches: Iterable[Batch]
) -> float:
    """Returns the early-stopping metric of one domain; higher is better.

    Args:
        framework: Framework that scores the batches.
        domain: Id of the domain.
        batches: Validation batches of the domain.
    """
    users, clicks, scores = [], [], []
    for batch in prefetch(batches):
        users.append(batch['user_key'].numpy())
        clicks.append(batch['click'].numpy())
        scores.append(tf.sigmoid(framework.predict(batch)).numpy())
    rows = sum(map(len, clicks))
    return stopping_value(
        domain_metrics(
            np.full(rows, domain),
            np.concatenate(users),
            np.concatenate(clicks),
            np.concatenate(scores),
            {domain: str(domain)},
        ),
        framework.config.early_stopping_metric,
    )[1]
