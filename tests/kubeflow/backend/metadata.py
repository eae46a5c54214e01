"""What an artifact's metadata becomes in ML Metadata, from where the next task gets it."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

from tests.kubeflow.backend.artifact_store import LauncherError

_ids = itertools.count(1)


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A recorded artifact.

    Attributes:
        name: The id that the store gave it.
        type: The schema, such as `{'schemaTitle': 'system.Model'}`.
        uri: Where its content is.
        metadata: Its properties as the store returns them.
    """

    name: str
    type: dict[str, Any]
    uri: str
    metadata: dict[str, Any]

    def as_input(self) -> dict[str, Any]:
        """The artifact in the executor input of a task that takes it."""
        return {
            'name': self.name,
            'type': self.type,
            'uri': self.uri,
            'metadata': self.metadata,
        }


def record(name: str, schema: dict[str, Any], uri: str, metadata: dict[str, Any]) -> Artifact:
    """Records an artifact.

    Booleans come back as numbers, lists and mappings wrapped, and what cannot be stored is
    refused.

    Raises:
        LauncherError: A value is null.
    """
    stored: dict[str, Any] = {'display_name': name, 'store_session_info': 'null'}
    for key, value in metadata.items():
        if value is None:
            raise LauncherError(
                f'unable to produce MLMD artifact for output {name!r}: '
                f'unknown/unsupported value type of {key!r}'
            )
        if isinstance(value, (bool, int, float)):
            value = float(value)
        elif isinstance(value, list):
            value = {'list': value}
        elif isinstance(value, dict):
            value = {'struct': value}
        stored[key] = value
    return Artifact(str(next(_ids)), schema, uri, stored)
