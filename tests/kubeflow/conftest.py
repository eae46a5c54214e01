"""An artifact store for the tests of this folder."""

import pytest

from tests.kubeflow.backend.artifact_store import ArtifactStore


@pytest.fixture(scope='module')
def store(s3_server: str) -> ArtifactStore:
    """An empty artifact store."""
    import requests

    requests.post(f'{s3_server}/moto-api/reset', timeout=10)
    return ArtifactStore(s3_server)
