"""One model a domain."""

from __future__ import annotations

from collections.abc import Iterator

from trainer.examples import prefetch
from trainer.frameworks.base import Progress
from trainer.frameworks.core import InnerStep
from trainer.frameworks.moments import domain_led
from trainer.frameworks.order import domain_order
from trainer.frameworks.specific import SpecificParameters
from trainer.frameworks.with_specific import WithSpecific
from trainer.keras import tf


class Separate(WithSpecific):
    """RAW+Separate (MAMDR, table VIII): each domain's model is trained on its rows alone.

    All start from one initialization, and an unseen domain is scored by it. What training
    moves is the domain's own: variables, the optimizer's slots and step, and whatever is not
    trained. Of variables with a row for each domain it is the domain's row. An epoch is a
    pass of every model; a position is a domain.
    """

    def prepare(self) -> None:
        self.step = InnerStep(self.model, self.optimizer, xla=self.config.xla)
        led = domain_led(self.model)
        self.specific = SpecificParameters(
            self.step, self.model, self.model.num_domains, follow=False, slots=True,
            extra=[variable for variable in self.model.non_trainable_variables
                   if id(variable) not in led])

    def epoch(self, number: int, start: int = 0) -> Iterator[Progress]:
        size, seed = self.config.batch_size, self.config.seed
        order = domain_order(self.examples, seed, number)
        for position, domain in enumerate(order[start:], start + 1):
            self.specific.enter(domain)
            self.step.take()
            losses, rows = [], 0
            for batch in prefetch(self.examples.domain_epoch(domain, number, size, seed)):
                self.course.at(number, rows / self.examples.count(domain))
                losses.append(self.step(batch) * batch['click'].shape[0])
                rows += batch['click'].shape[0]
            self.specific.touched()
            self.specific.leave(keep=True)
            self.step.snapshot.end()
            yield Progress(position, tf.add_n(losses) / rows, rows)

    def note_rows(self, number: int, rows: int) -> None:
        """Nothing: each domain's model goes its own course."""
