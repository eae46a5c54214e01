"""Starting processes that import this project and its tests."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def with_tests() -> dict[str, str]:
    """The environment of a process that can import `tests`."""
    paths = [str(REPOSITORY), os.environ.get('PYTHONPATH')]
    return {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, paths))}
