"""Domain regularization, DR, over shared parameters that are trained alternately."""

from __future__ import annotations

from trainer.frameworks.core import InnerStep, OuterStep
from trainer.frameworks.mamdr import MAMDR
from trainer.frameworks.regularization import RegularizationOptions


class DomainRegularization(MAMDR):
    """MAMDR without domain negotiation (tables VI and X): theta_S by alternate training,
    theta_i by algorithm 2, from theta_i = 0 (equation 4)."""

    Options = RegularizationOptions

    def make_outer(self, step: InnerStep) -> OuterStep:
        return OuterStep(step, None, 1.0)  # negotiation with beta 1 is alternate training
