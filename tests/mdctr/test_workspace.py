"""Paths in a workspace."""

from mdctr.workspace import cache_directory


def test_fetched_raw_data_is_in_the_workspace_wherever_that_is():
    assert cache_directory('s3://bucket/runs') == 's3://bucket/runs/cache'
    assert cache_directory('runs') == 'runs/cache'
