"""Domain regularization (MAMDR, algorithm 2), which DR and MAMDR share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field

from mdctr.errors import UserError
from trainer.config import TrainConfig
from trainer.data.batching import Batch
from trainer.data.examples import Examples
from trainer.data.prefetch import prefetch
from trainer.frameworks.core.base import StepReport
from trainer.frameworks.core.domain_specific import DomainSpecificParameters
from trainer.frameworks.core.inner_loop_framework import InnerOptions
from trainer.frameworks.core.moments import PreservedMoments, shared_moments
from trainer.frameworks.core.order import (
    DomainStreams,
    domain_order,
    helper_domains,
    num_domain_batches,
)
from trainer.frameworks.core.snapshot import InnerStep
from trainer.keras import keras, tf
from trainer.layers.inputs.feature_embedding import FeatureEmbedding
from trainer.models.base import CTRModel
from trainer.optimizers.schedule import TrainingProgress

_DEFAULT_HELPERS = 3


class RegularizationOptions(InnerOptions):
    """Options of domain regularization: inner loop and domain-specific parameters."""

    helper_domains: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description='Number k of domains that are sampled to regularize each domain in an '
        'epoch; 3, or all others if there are fewer, if absent.',
    )
    regularization_learning_rate: float = Field(
        default=0.1, gt=0, description='Learning rate gamma of equation 8.'
    )
    specific_parameters: Literal['all', 'dense'] = Field(
        default='all',
        description='Variables that have a domain-specific theta_i: `all`, or `dense`, all but '
        'the embeddings.',
    )


class DomainRegularizer:
    """Trains theta_i of one domain after another by algorithm 2; theta_S does not change.

    An update of line 4 or line 5 takes half as many batches as a pass over the target has, less
    one batch for the time that entering and moving take, and at least one; the batches continue
    from helper to helper. Lines 2 to 7 thus cost k passes over the target, and an epoch of
    MAMDR k + 1 epochs of joint training, as its section IV-D counts them (a domain of one or
    two batches costs up to twice that). The moving moments are not changed by the steps on a
    helper's rows.

    Args:
        config: Configuration of the run.
        options: Options of domain regularization.
        model: Model, already built.
        examples: Training split.
        optimizer: Optimizer of the inner loop, used for nothing else.
        progress: Progress that the optimizer's learning rate follows: an epoch of theta_i is
            lines 1 to 6 for domain i.
        allow_no_helpers: Whether a single domain is trained without helpers; otherwise this is
            an error.

    Raises:
        UserError: There are fewer other domains than `helper_domains`, or none.
    """

    def __init__(
        self,
        config: TrainConfig,
        options: RegularizationOptions,
        model: CTRModel,
        examples: Examples,
        optimizer: keras.optimizers.Optimizer,
        progress: TrainingProgress,
        allow_no_helpers: bool = False,
    ):
        self._config, self._options, self._examples = config, options, examples
        others = len(examples.domains) - 1
        self.num_helpers = (
            0
            if allow_no_helpers and not others
            else _num_helpers(options.helper_domains, others)
        )
        self.step = InnerStep(
            model,
            optimizer,
            specific_variables(model, options.specific_parameters),
            xla=config.xla,
        )
        self.domain_specific = DomainSpecificParameters(
            self.step, model, model.num_domains, relative=True, extra=shared_moments(model)
        )
        self._moments, self._progress = PreservedMoments(model), progress

    def epoch(
        self, number: int, start: int = 0, targets: list[int] | None = None
    ) -> Iterator[StepReport]:
        """Trains theta_i of every domain i (algorithm 3, lines 3-5).

        The positions of the epoch are its target domains.

        Args:
            number: Number of the epoch.
            start: Position after which to continue.
            targets: Ids of the target domains; all domains, in random order, if None.
        """
        seed, size = self._config.seed, self._config.batch_size
        order = targets or domain_order(self._examples, seed, number)
        helpers: dict[int, list[int] | list[None]] = {
            target: helper_domains(self._examples, target, self.num_helpers, seed, number)
            or [None]
            for target in order
        }
        streams = DomainStreams(self._examples, number, size, seed)
        for target in order[:start]:
            for helper in helpers[target]:
                for domain in self._batch_domains(helper, target):
                    streams.skip(domain)
        batches = prefetch(
            streams.take(domain)
            for target in order[start:]
            for helper in helpers[target]
            for domain in self._batch_domains(helper, target)
        )
        for position, target in enumerate(order[start:], start + 1):
            loss, rows = self.update(number, target, helpers[target], batches)
            yield StepReport(position, loss, rows)

    def update(
        self,
        number: int,
        target: int,
        helpers: Sequence[int | None],
        batches: Iterator[Batch],
    ) -> tuple[tf.Tensor, int]:
        """Runs algorithm 2 for one domain.

        Args:
            number: Number of the epoch.
            target: Id of the target domain i.
            helpers: Ids of the sampled domains j; None for a round without line 4.
            batches: Batches of lines 4 and 5 for each helper.

        Returns:
            The mean loss of the batches, and their number of rows.
        """
        step, specific = self.step, self.domain_specific
        steps = self.steps(target)
        total = steps * sum(1 if helper is None else 2 for helper in helpers)
        losses: list[tf.Tensor] = []
        rows = 0

        def run(count: int) -> None:
            nonlocal rows
            for _ in range(count):
                self._progress.update(number, len(losses) / total)
                batch = next(batches)
                rows += batch['click'].shape[0]
                losses.append(step(batch))

        specific.enter(target)
        for helper in helpers:
            step.take()  # line 3
            if helper is not None:
                moments = self._moments.save(helper)
                run(steps)  # line 4
                self._moments.restore(moments)
            run(steps)  # line 5
            specific.record_touched()
            if self._options.slot_lifetime == 'loop':
                step.reset_slots()
            step.move(self._options.regularization_learning_rate)  # line 6
        specific.leave(keep=True)
        step.snapshot.end()
        return tf.reduce_mean(tf.stack(losses)), rows

    def _batch_domains(self, helper: int | None, target: int) -> list[int]:
        """Returns the domain of each batch of lines 4 and 5."""
        steps = self.steps(target)
        return ([] if helper is None else [helper] * steps) + [target] * steps

    def steps(self, target: int) -> int:
        """Returns the number of batches of an update of line 4 or line 5.

        Args:
            target: Id of the target domain.
        """
        return max(
            1, (num_domain_batches(self._examples, target, self._config.batch_size) - 1) // 2
        )


def specific_variables(model: CTRModel, parameters: str) -> list[tf.Variable]:
    """Returns the trainable variables that have a theta_i.

    Args:
        model: Model, already built.
        parameters: Value of the option `specific_parameters`.
    """
    embeddings = {
        id(variable)
        for layer in model._flatten_layers()
        if isinstance(layer, FeatureEmbedding)
        for variable in layer.variables
    }
    return [
        variable
        for variable in model.trainable_variables
        if parameters == 'all' or id(variable) not in embeddings
    ]


def _num_helpers(requested: int | None, others: int) -> int:
    if others < 1:
        raise UserError(
            'Domain regularization samples other domains and the training split has rows of '
            'one domain only: choose another framework.'
        )
    if requested is not None and requested > others:
        raise UserError(
            f'train.framework_options.helper_domains is {requested} and only {others} other '
            f'domains have training rows: set it to {others} or less.'
        )
    return min(_DEFAULT_HELPERS, others) if requested is None else requested
