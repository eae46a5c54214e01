"""MAMDR."""

from __future__ import annotations

from trainer.frameworks.core.domain_regularizer import RegularizationOptions
from trainer.frameworks.domain_negotiation import DomainNegotiation, OuterOptions
from trainer.frameworks.domain_regularization import DomainRegularization


class MAMDR(DomainRegularization, DomainNegotiation):
    """MAMDR (algorithm 3): domain negotiation and domain regularization.

    line 2      theta_S by domain negotiation (algorithm 1)
    lines 3-5   theta_i of every domain i by domain regularization (algorithm 2)
    """

    class Options(RegularizationOptions, OuterOptions):
        """Options of domain negotiation and of domain regularization."""

    options: Options
