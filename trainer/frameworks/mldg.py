"""MLDG."""

from __future__ import annotations

from pydantic import Field

from trainer.data.batching import Batch
from trainer.frameworks.core.gradient_step import Gradient, deduplicate_gradient, weighted_sum
from trainer.frameworks.core.look_ahead import look_ahead, mean_gradient
from trainer.frameworks.core.multi_domain import (
    MultiDomainFramework,
    MultiDomainOptions,
    mean_loss,
)
from trainer.frameworks.core.order import random_generator
from trainer.keras import tf

_SPLIT = 120


class MLDG(MultiDomainFramework):
    """Meta-learning for domain generalization: simulates unseen domains within each step.

    Li et al., Learning to Generalize: Meta-Learning for Domain Generalization, 2018,
    algorithm 1. The domains of a step are split at random into meta-train and meta-test
    domains, with F and G the means of their losses:

        theta' <- theta - alpha grad F(theta)
        theta <- theta - gamma grad [F(theta) + beta G(theta')]

    A step with one domain has no meta-test domain and is an ordinary step. The second line is a
    step of the run's optimizer.
    """

    class Options(MultiDomainOptions):
        """Options of MLDG."""

        inner_learning_rate: float = Field(
            default=0.01, gt=0, description='Learning rate alpha of the look-ahead.'
        )
        meta_test_weight: float = Field(
            default=1.0, gt=0, description='Weight beta of the meta-test loss.'
        )
        meta_test_domains: int = Field(
            default=1,
            ge=1,
            description='Number of meta-test domains of a step; at least one domain is left '
            'for meta-train.',
        )
        second_order: bool = Field(
            default=False,
            description="Whether to differentiate through theta', as the paper does; the "
            'first-order approximation takes half the time.',
        )

    options: Options

    def combine(self, batches: list[Batch], key: tuple[int, int]) -> tuple[tf.Tensor, Gradient]:
        train, test = self.split(batches, key)
        losses, gradient = mean_gradient(self.step, train)
        if test:
            test_losses, test_gradient = look_ahead(
                self.step,
                train,
                gradient,
                test,
                self.options.inner_learning_rate,
                self.options.second_order,
            )
            losses += test_losses
            gradient = deduplicate_gradient(
                weighted_sum([gradient, test_gradient], [1.0, self.options.meta_test_weight])
            )
        return mean_loss(losses, [*train, *test]), gradient

    def split(
        self, batches: list[Batch], key: tuple[int, int]
    ) -> tuple[list[Batch], list[Batch]]:
        """Splits the batches of a step into meta-train and meta-test batches.

        Args:
            batches: Batches of different domains.
            key: Numbers of the epoch and the step, as the key of the random split.
        """
        order = random_generator(self.config.seed, _SPLIT, *key).permutation(len(batches))
        count = min(self.options.meta_test_domains, len(batches) - 1)
        return (
            [batches[position] for position in sorted(order[count:])],
            [batches[position] for position in sorted(order[:count])],
        )
