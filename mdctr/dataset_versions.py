"""The versions of a dataset.

<directory>/<fingerprint>/    a version, complete once its manifest.json exists and then never
                              changed
<directory>/current.json      the version that commands use, and when each became current
<directory>/leases/           leases of the processes that build, extend or prune
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mdctr import storage
from mdctr.errors import UserError
from mdctr.settings import parse, to_mapping

CURRENT = 'current.json'
_FINGERPRINT = re.compile('[0-9a-f]{64}')


@dataclass(frozen=True)
class Current:
    """The content of `current.json`.

    Attributes:
        version: Fingerprint of the current version.
        since: Time at which each version last became current, the latest last; ISO 8601, UTC.
    """

    version: str
    since: dict[str, str] = field(default_factory=dict)


def read_current(directory: str) -> Current | None:
    """The current version of the dataset in `directory`; None if there is none.

    Raises:
        UserError: `current.json` is damaged.
    """
    path = storage.join(directory, CURRENT)
    try:
        values = storage.read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise UserError(
            f'{path} is damaged ({error}): remove it and build the dataset again.'
        ) from None
    return parse(Current, values, path)


def write_current(directory: str, version: str) -> None:
    """Makes a version current; the caller holds the lease `current`."""
    before = read_current(directory)
    since = dict(before.since) if before else {}
    since.pop(version, None)
    since[version] = datetime.now(UTC).isoformat(timespec='seconds')
    storage.write_json(storage.join(directory, CURRENT), to_mapping(Current(version, since)))


def version_directory(directory: str) -> str:
    """The directory of the current version, or `directory` itself if it is a version."""
    current = read_current(directory)
    return storage.join(directory, current.version) if current else directory


def list_versions(directory: str) -> list[str]:
    """The fingerprints of all versions, complete or not, in no particular order."""
    return [
        entry for entry in storage.list_directory(directory) if _FINGERPRINT.fullmatch(entry)
    ]


def lease_path(directory: str, purpose: str) -> str:
    """The lease of a purpose: a fingerprint, `extend` or `current`."""
    return storage.join(directory, 'leases', purpose)
