"""The versions of a dataset in a workspace: which are kept, and why."""

from __future__ import annotations

from dataclasses import dataclass, field

from mdctr import storage
from mdctr.dataset_versions import lease_path, list_versions, read_current
from mdctr.errors import UserError
from mdctr.leases import holder, lease
from mdctr.manifest import MANIFEST, Manifest, read_manifest
from mdctr.workspace import dataset_directory, models_directory

_REFERENCES = ('model.json', 'run.json')  # of models and of training runs


@dataclass(frozen=True)
class StoredVersion:
    """A version of a dataset, complete or not.

    Attributes:
        directory: Directory of the version.
        fingerprint: Its fingerprint.
        manifest: Its manifest; None if it is not complete, or of another format.
        since: Time at which it last became current, ISO 8601 in UTC; '' if it never was.
        kept: Why it is kept, in a few words each; empty if it can be removed.
    """

    directory: str
    fingerprint: str
    manifest: Manifest | None
    since: str
    kept: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of the files in its own directory."""
        files = self.manifest.files.values() if self.manifest else ()
        return sum(record.size for record in files if not record.version)


def stored_versions(workspace: str, name: str, recent: int) -> list[StoredVersion]:
    """The versions of the dataset `name`, those that were current last first.

    Kept are the current version, versions that models and training runs of the workspace were
    trained on, the `recent` versions that were current last, what these refer to, and versions
    that are being built.

    Args:
        workspace: Directory of the workspace.
        name: Name of the configuration.
        recent: Number of versions that are kept because they are recent.
    """
    directory = dataset_directory(workspace, name)
    current, referring = read_current(directory), _references(workspace)
    since = current.since if current else {}
    order = {fingerprint: place for place, fingerprint in enumerate(since, start=1)}
    versions = []
    complete = 0
    for fingerprint in sorted(
        list_versions(directory), key=lambda version: (-order.get(version, 0), version)
    ):
        version = storage.join(directory, fingerprint)
        manifest, kept = _read(version), []
        if manifest is not None:
            complete += 1
            if current is not None and fingerprint == current.version:
                kept.append('current')
            kept += referring.get(fingerprint, [])
            if complete <= recent:
                kept.append('recent')
        builder = holder(lease_path(directory, fingerprint))
        if builder is not None:
            kept.append(builder)
        versions.append(
            StoredVersion(version, fingerprint, manifest, since.get(fingerprint, ''), kept)
        )
    _keep_what_others_refer_to(versions)
    return versions


def remove_version(version: StoredVersion) -> None:
    """Removes a version that nothing refers to; its manifest goes first.

    Raises:
        UserError: Another process is building it, or it has become current.
    """
    directory = storage.parent(version.directory)
    with (
        lease(lease_path(directory, 'current'), f'is pruning {directory}', wait=True),
        lease(
            lease_path(directory, version.fingerprint),
            f'is removing {version.directory}',
            protects=version.directory,
        ),
        storage.reporting_errors(version.directory),
    ):
        current = read_current(directory)
        if current is not None and current.version == version.fingerprint:
            raise UserError(f'{version.directory} has become current: it is kept.')
        storage.remove(storage.join(version.directory, MANIFEST))
        storage.remove_directory(version.directory)


def _keep_what_others_refer_to(versions: list[StoredVersion]) -> None:
    by_fingerprint = {version.fingerprint: version for version in versions}
    for version in versions:
        if not version.kept or version.manifest is None:
            continue
        for other in {record.version for record in version.manifest.files.values()} - {''}:
            if other in by_fingerprint:
                by_fingerprint[other].kept.append(f'extended by {version.fingerprint[:12]}')


def _references(workspace: str) -> dict[str, list[str]]:
    """The models and training runs of each dataset, by its fingerprint."""
    found: dict[str, list[str]] = {}
    for directory in (
        models_directory(workspace),
        storage.join(workspace, 'training'),
        storage.join(workspace, 'compare'),
    ):
        for name in storage.list_files(directory):
            if storage.name(name) not in _REFERENCES:
                continue
            path = storage.join(directory, name)
            fingerprint = _dataset_of(path)
            if fingerprint is not None:
                found.setdefault(fingerprint, []).append(storage.parent(path))
    return found


def _dataset_of(path: str) -> str | None:
    """The fingerprint of the dataset in a `model.json` or `run.json`."""
    try:
        dataset = storage.read_json(path)['dataset']
        fingerprint = dataset if isinstance(dataset, str) else dataset['fingerprint']
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return fingerprint if isinstance(fingerprint, str) else None


def _read(version: str) -> Manifest | None:
    try:
        return read_manifest(version)
    except UserError:
        return None
