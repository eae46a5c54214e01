"""Parameters of tests, of which `make test` runs some and `make test-slow` all others."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest

from trainer.frameworks import FRAMEWORKS
from trainer.models import MODELS


def slow_except(names: Iterable[Any], fast: Collection[Any]) -> list:
    """Parameters of a test, of which those that are not in `fast` are marked slow."""
    return [
        name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in names
    ]


EVERY_MODEL = slow_except(
    MODELS,
    {'mlp', 'dcnv2', 'din', 'star', 'adasparse', 'apg', 'ple', 'm2m', 'ctnet'},
)
EVERY_FRAMEWORK = slow_except(
    FRAMEWORKS,
    {'joint', 'mamdr', 'separate', 'pcgrad', 'maml'},
)
