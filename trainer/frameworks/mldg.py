"""MLDG."""

from __future__ import annotations

from dataclasses import dataclass

from beam_jobs.options import setting
from trainer.examples import Batch
from trainer.frameworks.gradient_step import Gradient, rows_once, total
from trainer.frameworks.grouped import Grouped, GroupOptions, mean_loss
from trainer.frameworks.look_ahead import look_ahead, mean_gradient
from trainer.frameworks.order import generator
from trainer.keras import tf

_SPLIT = 120


class MLDG(Grouped):
    """Li et al., Learning to Generalize, 2018, algorithm 1.

    A step's domains are split at random into meta-train and meta-test domains, F and G being
    the mean of their losses:

        theta' <- theta - alpha grad F(theta)
        theta <- theta - gamma grad [F(theta) + beta G(theta')]

    A step that has one domain has no meta-test: it is an ordinary one. The update is by the
    run's optimizer.
    """

    @dataclass(frozen=True)
    class Options(GroupOptions):
        """The look-ahead.

        Attributes:
            inner_rate: alpha.
            meta_test_weight: beta.
            meta_test_domains: of a step; at least one domain is left for meta-train.
            second_order: differentiate through theta', as the paper does; otherwise to the
                first order, at half the cost.
        """

        inner_rate: float = setting(0.01, above=0)
        meta_test_weight: float = setting(1.0, above=0)
        meta_test_domains: int = setting(1, minimum=1)
        second_order: bool = False

    def combine(self, batches: list[Batch], key: tuple[int, int]) -> tuple[tf.Tensor, Gradient]:
        train, test = self.split(batches, key)
        losses, gradient = mean_gradient(self.step, train)
        if test:
            ahead, other = look_ahead(self.step, train, gradient, test,
                                      self.options.inner_rate, self.options.second_order)
            losses += ahead
            gradient = rows_once(total([gradient, other],
                                       [1.0, self.options.meta_test_weight]))
        return mean_loss(losses, [*train, *test]), gradient

    def split(self, batches: list[Batch],
              key: tuple[int, int]) -> tuple[list[Batch], list[Batch]]:
        """Meta-train and meta-test batches, which are of different domains."""
        order = generator(self.config.seed, _SPLIT, *key).permutation(len(batches))
        count = min(self.options.meta_test_domains, len(batches) - 1)
        return ([batches[place] for place in sorted(order[count:])],
                [batches[place] for place in sorted(order[:count])])
