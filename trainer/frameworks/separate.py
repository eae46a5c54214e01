"""Separate training: one model per domain."""

from __future__ import annotations

from collections.abc import Iterator

from trainer.data.prefetch import prefetch
from trainer.frameworks.core.base import StepReport
from trainer.frameworks.core.domain_specific import DomainSpecificParameters
from trainer.frameworks.core.domain_specific_framework import DomainSpecificFramework
from trainer.frameworks.core.moments import per_domain_variable_ids
from trainer.frameworks.core.order import domain_order
from trainer.frameworks.core.snapshot import InnerStep
from trainer.keras import tf


class Separate(DomainSpecificFramework):
    """One model per domain, trained on the domain's rows only.

    RAW+Separate of MAMDR, table VIII. All models start from the same initialization, which
    scores unseen domains. Everything that training changes is domain-specific: variables, the
    optimizer's slots and step, and variables that are not trained; of a variable with a row per
    domain, the domain's row. An epoch is one pass of every model; its positions are the
    domains.
    """

    step: InnerStep

    def prepare(self) -> None:
        self.step = InnerStep(self.model, self.optimizer, xla=self.config.xla)
        per_domain = per_domain_variable_ids(self.model)
        self.domain_specific = DomainSpecificParameters(
            self.step,
            self.model,
            self.model.num_domains,
            relative=False,
            with_slots=True,
            extra=[
                variable
                for variable in self.model.non_trainable_variables
                if id(variable) not in per_domain
            ],
        )

    def epoch(self, number: int, start: int = 0) -> Iterator[StepReport]:
        size, seed = self.config.batch_size, self.config.seed
        order = domain_order(self.examples, seed, number)
        for position, domain in enumerate(order[start:], start + 1):
            self.domain_specific.enter(domain)
            self.step.take()
            losses, rows = [], 0
            for batch in prefetch(self.examples.domain_epoch(domain, number, size, seed)):
                self.progress.update(number, rows / self.examples.count(domain))
                losses.append(self.step(batch) * batch['click'].shape[0])
                rows += batch['click'].shape[0]
            self.domain_specific.record_touched()
            self.domain_specific.leave(keep=True)
            self.step.snapshot.end()
            yield StepReport(position, tf.add_n(losses) / rows, rows)

    def update_progress(self, number: int, rows: int) -> None:
        """Does nothing: `epoch` updates the progress of each domain's model."""
