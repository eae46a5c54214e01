"""What starts a cluster runs only when it is asked for by its marker."""

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if 'flink' in config.getoption('markexpr'):
        return
    for item in items:
        if item.get_closest_marker('flink'):
            item.add_marker(pytest.mark.skip(reason='`make test-flink` runs this'))
