"""Tests that need more than Python run only when their marker is selected."""

import pytest

from tests.object_store import bucket, s3_server  # noqa: F401 (fixtures)

TARGETS = {'flink': 'test-flink', 'image': 'test-image', 'serving': 'test-serving'}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skips tests of markers that `-m` does not mention."""
    selected = config.getoption('markexpr')
    for marker, target in TARGETS.items():
        if marker in selected:
            continue
        for item in items:
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=f'`make {target}` runs this'))
