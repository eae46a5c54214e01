"""The bucket that artifacts go to by their URIs, and the launcher's rules for URIs."""

from __future__ import annotations

import os
import pathlib
import re
from typing import Any

BUCKET = 'mlpipeline'
_URI = re.compile(r'(^[a-z][a-z0-9]+:///?)([^/?]+)(/[^?]*)?(\?.+)?$')
_SCHEMES = ('gs://', 's3://', 'minio://', 'mem://')
_MOUNTS = {'gs://': '/gcs/', 's3://': '/s3/', 'minio://': '/minio/'}


class LauncherError(Exception):
    """An error of KFP's driver or launcher, which fails a task outside its own program."""


class ArtifactStore:
    """A bucket in S3, here on moto's server.

    Args:
        endpoint: The server's URL.
    """

    def __init__(self, endpoint: str):
        import boto3

        self._client: Any = boto3.client(
            's3',
            endpoint_url=endpoint,
            region_name='us-east-1',
            aws_access_key_id='test',
            aws_secret_access_key='test',
        )
        self._client.create_bucket(Bucket=BUCKET)
        self.root = f's3://{BUCKET}/v2/artifacts'

    def check(self, uri: str) -> None:
        """Whether an input artifact's URI can be downloaded from.

        Raises:
            LauncherError: It is not an object-store address.
        """
        if uri.startswith('oci://'):
            return
        found = _URI.match(uri)
        if found is None:
            raise LauncherError(
                'failed to parse bucketConfig: parse bucket config failed: '
                f'unrecognized uri format: {uri!r}'
            )
        if found.group(1) not in _SCHEMES:
            raise LauncherError(
                'failed to parse bucketConfig: parse bucket config failed: '
                f'unsupported Cloud bucket: {uri!r}'
            )

    def upload(self, path: pathlib.Path, uri: str) -> None:
        """Uploads a file, or the files of a directory; nothing where there is neither."""
        if path.is_file():
            self._client.upload_file(str(path), BUCKET, self._key(uri))
        elif path.is_dir():
            for entry in sorted(path.iterdir()):
                self.upload(entry, f'{uri}/{entry.name}')

    def download(self, uri: str, path: pathlib.Path) -> None:
        """Downloads the object of a URI, or all objects below it, to `path`."""
        prefix = self._key(uri)
        for key in self.keys(prefix):
            if key != prefix and not key.startswith(prefix + '/'):
                continue
            target = path if key == prefix else path / os.path.relpath(key, prefix)
            target.parent.mkdir(parents=True, exist_ok=True)
            self._client.download_file(BUCKET, key, str(target))

    def read(self, uri: str) -> bytes:
        """The object of a URI, as KFP's user interface reads it."""
        return self._client.get_object(Bucket=BUCKET, Key=self._key(uri))['Body'].read()

    def keys(self, prefix: str = '') -> list[str]:
        """The keys of all objects whose key begins with `prefix`."""
        pages = self._client.get_paginator('list_objects_v2').paginate(
            Bucket=BUCKET, Prefix=prefix
        )
        return [entry['Key'] for page in pages for entry in page.get('Contents', [])]

    def bytes_stored(self) -> int:
        """The size of all objects together."""
        pages = self._client.get_paginator('list_objects_v2').paginate(Bucket=BUCKET)
        return sum(entry['Size'] for page in pages for entry in page.get('Contents', []))

    def _key(self, uri: str) -> str:
        scheme = f's3://{BUCKET}/'
        if not uri.startswith(scheme):
            raise LauncherError(f'URI {uri!r} does not have the bucket prefix {scheme!r}')
        return uri.removeprefix(scheme).strip('/')


def local_path(uri: str) -> str | None:
    """Where a step finds the artifact of a URI; None for a scheme without such a place."""
    for scheme, mount in _MOUNTS.items():
        if uri.startswith(scheme):
            return mount + uri.removeprefix(scheme)
    return None
