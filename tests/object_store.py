"""An object store on this machine for tests: moto's S3 server and an empty bucket."""

import contextlib
import logging
import uuid
from collections.abc import Iterator

import pytest


@pytest.fixture(scope='session')
def s3_server() -> Iterator[str]:
    """The URL of a server that speaks S3, on this machine."""
    from moto.server import ThreadedMotoServer

    logging.getLogger('werkzeug').setLevel(logging.WARNING)  # it logs every request
    server = ThreadedMotoServer('127.0.0.1', 0)
    server.start()
    host, port = server.get_host_and_port()
    yield f'http://{host}:{port}'
    server.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty bucket that this process and its children can reach."""
    with new_bucket(s3_server, monkeypatch) as url:
        yield url


@contextlib.contextmanager
def new_bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty bucket, see `bucket`, for fixtures of any scope."""
    import boto3

    from mdctr import storage

    for name, value in {
        'AWS_ENDPOINT_URL': s3_server,
        'AWS_ACCESS_KEY_ID': 'test',
        'AWS_SECRET_ACCESS_KEY': 'test',
        'AWS_DEFAULT_REGION': 'us-east-1',
    }.items():
        monkeypatch.setenv(name, value)
    name = f'bucket-{uuid.uuid4().hex[:12]}'
    boto3.client('s3').create_bucket(Bucket=name)
    storage.forget_connections()
    yield f's3://{name}'
    storage.forget_connections()
