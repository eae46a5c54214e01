"""MAMDR's algorithm 2, the part that DR and MAMDR share."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from beam_jobs.errors import UserError
from beam_jobs.options import setting
from trainer.config import TrainConfig
from trainer.examples import Batch, Examples, prefetch
from trainer.frameworks.base import Progress
from trainer.frameworks.core import InnerStep
from trainer.frameworks.domain_negotiation import InnerOptions
from trainer.frameworks.moments import Unmoved, shared_moments
from trainer.frameworks.order import Streams, batches_of, domain_order, helper_domains
from trainer.frameworks.specific import SpecificParameters
from trainer.keras import keras, tf
from trainer.layers.feature_embedding import FeatureEmbedding
from trainer.models.base import CTRModel
from trainer.schedule import Course

_HELPERS = 3

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RegularizationOptions(InnerOptions):
    """The inner loop and the specific parameters.

    Attributes:
        helpers: k, the domains that help each domain in an epoch; absent, 3 or, where there
            are fewer, all others.
        regularization_rate: gamma of equation 8.
        specific: which variables have a theta_i: `all`, or `dense`, all but the embeddings.
    """

    helpers: int | None = setting(None, minimum=1)
    regularization_rate: float = setting(0.1, above=0)
    specific: Literal['all', 'dense'] = 'all'


class Regularization:
    """Moves theta_i of one domain after another by algorithm 2; theta_S stays.

    An update of line 4 or 5 is as many batches as are half of a pass over the target, less
    one batch for the time that entering and moving take, and one at least; they continue
    from helper to helper. So lines 2 to 7 cost k passes over the target, and an epoch of
    MAMDR (k + 1) epochs of joint training, as its section IV-D counts them (a domain of one
    or two batches costs up to twice that). The steps on a helper's rows leave no moving
    moments behind.

    Args:
        config: of the run.
        options: of the framework.
        model: with its variables made.
        examples: the training split.
        optimizer: of the inner loop, for this alone.
        course: which the optimizer's rate follows: an epoch of theta_i is line 1 to 6 for
            domain i.
        alone: whether the targets may do without helpers, where there are none.
    """

    def __init__(self, config: TrainConfig, options: RegularizationOptions, model: CTRModel,
                 examples: Examples, optimizer: keras.optimizers.Optimizer, course: Course,
                 alone: bool = False):
        self._config, self._options, self._examples = config, options, examples
        others = len(examples.domains) - 1
        self.helpers = 0 if alone and not others else _number_of_helpers(
            options.helpers, others)
        self.step = InnerStep(model, optimizer, specific_variables(model, options.specific),
                              xla=config.xla)
        self.specific = SpecificParameters(self.step, model, model.num_domains, follow=True,
                                           extra=shared_moments(model))
        self._unmoved, self._course = Unmoved(model), course

    def epoch(self, number: int, start: int = 0,
              targets: list[int] | None = None) -> Iterator[Progress]:
        """Algorithm 3, lines 3-5: every domain, or `targets`. A position is a domain."""
        seed, size = self._config.seed, self._config.batch_size
        order = targets or domain_order(self._examples, seed, number)
        helpers: dict[int, list[int | None]] = {
            target: helper_domains(self._examples, target, self.helpers, seed, number) or [None]
            for target in order}
        streams = Streams(self._examples, number, size, seed)
        for target in order[:start]:
            for helper in helpers[target]:
                for domain in self._turns(helper, target):
                    streams.skip(domain)
        batches = prefetch(streams.take(domain) for target in order[start:]
                           for helper in helpers[target]
                           for domain in self._turns(helper, target))
        for position, target in enumerate(order[start:], start + 1):
            loss, rows = self.update(number, target, helpers[target], batches)
            yield Progress(position, loss, rows)

    def update(self, number: int, target: int, helpers: list[int | None],
               batches: Iterator[Batch]) -> tuple[tf.Tensor, int]:
        """Algorithm 2 for one domain; its mean loss and the rows that it took.

        Args:
            number: the epoch's.
            target: D_i.
            helpers: the sampled D_j; None for a round without line 4.
            batches: of line 4 and line 5 for each of them.
        """
        step, specific = self.step, self.specific
        steps = self.steps(target)
        total = steps * sum(1 if helper is None else 2 for helper in helpers)
        losses, rows = [], 0

        def run(count):
            nonlocal rows
            for _ in range(count):
                self._course.at(number, len(losses) / total)
                batch = next(batches)
                rows += batch['click'].shape[0]
                losses.append(step(batch))

        specific.enter(target)
        for helper in helpers:
            step.take()  # line 3
            if helper is not None:
                moments = self._unmoved.read(helper)
                run(steps)  # line 4
                self._unmoved.put_back(moments)
            run(steps)  # line 5
            specific.touched()
            if self._options.slots == 'loop':
                step.reset_slots()
            step.move(self._options.regularization_rate)  # line 6
        specific.leave(keep=True)
        step.snapshot.end()
        return tf.reduce_mean(tf.stack(losses)), rows

    def _turns(self, helper: int | None, target: int) -> list[int]:
        steps = self.steps(target)
        return ([] if helper is None else [helper] * steps) + [target] * steps

    def steps(self, target: int) -> int:
        """Batches of an update of line 4 or 5."""
        return max(1, (batches_of(self._examples, target, self._config.batch_size) - 1) // 2)


def specific_variables(model: CTRModel, specific: str) -> list[tf.Variable]:
    """The trainable variables that have a theta_i."""
    embeddings = {id(variable) for layer in model._flatten_layers()
                  if isinstance(layer, FeatureEmbedding) for variable in layer.variables}
    return [variable for variable in model.trainable_variables
            if specific == 'all' or id(variable) not in embeddings]


def _number_of_helpers(wanted: int | None, others: int) -> int:
    if others < 1:
        raise UserError('Domain regularization needs the help of other domains and the '
                        'training split has rows of one domain only: choose another '
                        'framework.')
    if wanted is not None and wanted > others:
        raise UserError(f'train.framework_options.helpers is {wanted} and only {others} other '
                        f'domains have training rows: set it to {others} or less.')
    return min(_HELPERS, others) if wanted is None else wanted
