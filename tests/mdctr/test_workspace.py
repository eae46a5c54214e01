"""Paths in a workspace."""

import tempfile

from mdctr.workspace import cache_directory


def test_raw_data_is_cached_locally_for_a_workspace_on_an_object_store():
    assert cache_directory('s3://bucket/runs').startswith(tempfile.gettempdir())
    assert cache_directory('runs') == 'runs/cache'
