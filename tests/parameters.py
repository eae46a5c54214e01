"""Parameters of the tests that hold for every model and every framework.

`make test` runs them for one of each kind, `make test-slow` for all others.
"""

from collections.abc import Collection, Iterable

import pytest

from trainer.frameworks import FRAMEWORKS
from trainer.models import MODELS


def slow_except(names: Iterable[str], fast: Collection[str]) -> list:
    """Parameters of a test, of which those that are not in `fast` are marked slow."""
    return [
        name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in names
    ]


EVERY_MODEL = slow_except(
    MODELS,
    {'mlp', 'dcnv2', 'din', 'star', 'adasparse', 'apg', 'ple', 'hinet', 'm2m', 'dasl', 'ctnet'},
)
EVERY_FRAMEWORK = slow_except(
    FRAMEWORKS,
    {'joint', 'domain_negotiation', 'mamdr', 'finetune', 'separate', 'pcgrad', 'maml'},
)
