"""The version of a dataset that is built: its directory, and when it becomes current."""

import contextlib
import logging
import uuid
from collections.abc import Iterator

from beam_jobs.build.fingerprint import fingerprint_of
from beam_jobs.config import DatasetConfig
from mdctr import storage
from mdctr.dataset import Dataset, open_dataset
from mdctr.dataset_versions import CURRENT, lease_path, read_current, write_current
from mdctr.errors import UserError
from mdctr.leases import Lease, lease
from mdctr.manifest import MANIFEST, read_manifest
from mdctr.settings import parse

logger = logging.getLogger(__name__)

STAGING = 'staging'


def complete_version(directory: str, fingerprint: str) -> Dataset | None:
    """The version of the dataset in `directory` with this fingerprint; None unless complete."""
    version = storage.join(directory, fingerprint)
    if not storage.is_file(storage.join(version, MANIFEST)):
        return None
    return Dataset(version, read_manifest(version))


@contextlib.contextmanager
def building(directory: str, fingerprint: str) -> Iterator[tuple[str, Lease]]:
    """Context in which this process alone builds a version.

    Waits for another process that builds it. What an interrupted build of the version left is
    removed first; an error in the context removes the version.

    Args:
        directory: Directory of the dataset.
        fingerprint: Fingerprint of the version.

    Yields:
        A directory for files that only this build needs, below that of the version, and the
        lease of the version.

    Raises:
        UserError: The directory cannot be written, or the lease was lost.
    """
    version = storage.join(directory, fingerprint)
    with (
        storage.reporting_errors(directory),
        lease(
            lease_path(directory, fingerprint),
            f'is building {version}',
            wait=True,
            protects=version,
        ) as held,
    ):
        if complete_version(directory, fingerprint) is None:
            storage.remove_directory(version)
        try:
            # A process that has lost the lease may still have workers that write: their files
            # must not be those of its successor.
            yield storage.join(version, STAGING, uuid.uuid4().hex[:8]), held
        except BaseException:
            held.check()  # the sentence about a lost lease says more than what came of it
            if complete_version(directory, fingerprint) is None:
                storage.remove_directory(version)
            raise


def check_writable_unless_current(directory: str, config: DatasetConfig) -> None:
    """Makes sure that a build can write, before it reads the log.

    A build that finds its version current writes nothing, which only the log can tell if the
    current version has the same configuration.

    Args:
        directory: Directory of the dataset.
        config: Configuration of the build.

    Raises:
        UserError: The directory cannot be written.
    """
    with storage.reporting_errors(directory):
        current = _current(directory)
        if current is None or not _has_configuration(current, config):
            storage.check_writable(directory)


def require_extensions_kept(directory: str, fingerprint: str) -> None:
    """Checks that building a version does not drop splits that were added by extending.

    Args:
        directory: Directory of the dataset.
        fingerprint: Fingerprint of the version that is to be built.

    Raises:
        UserError: The current version extends another version than this one.
    """
    current = _current(directory)
    if current is None or not current.manifest.extends:
        return
    if fingerprint not in (current.manifest.fingerprint, *current.manifest.extends):
        raise UserError(
            f'The dataset {directory} was extended by {_added(current)}, and a build with this '
            'configuration or log does not have them: restore what it was built from, or build '
            'with --without-extensions and extend it again.'
        )


def make_built_current(directory: str, built: Dataset, without_extensions: bool) -> Dataset:
    """Makes a version current, unless the current version extends it.

    Args:
        directory: Directory of the dataset.
        built: The version.
        without_extensions: Make it current even if the current version extends it or another.

    Returns:
        The version that is current afterwards.

    Raises:
        UserError: See `require_extensions_kept`.
    """
    if _is_current(directory, built):
        return built
    with _choosing_current(directory):
        if not without_extensions:
            require_extensions_kept(directory, built.manifest.fingerprint)
            current = _current(directory)
            if current is not None and built.manifest.fingerprint in current.manifest.extends:
                logger.info(
                    'The dataset was extended by %s: the extended version stays current; '
                    '--without-extensions reverts to the version without them',
                    _added(current),
                )
                return current
        if complete_version(directory, built.manifest.fingerprint) is None:
            raise UserError(f'{built} was removed in the meantime: run the command again.')
        if not _is_current(directory, built):
            write_current(directory, built.manifest.fingerprint)
    return built


def make_extended_current(directory: str, base: Dataset, extended: Dataset) -> None:
    """Makes a version current that extends the current one.

    Args:
        directory: Directory of the dataset.
        base: The version that was extended.
        extended: The new version.

    Raises:
        UserError: Another version than `base` has become current.
    """
    with _choosing_current(directory):
        current = read_current(directory)
        if current is None or current.version != base.manifest.fingerprint:
            raise UserError(
                f'The dataset {directory} was built or extended by another process in the '
                'meantime: extend it again.'
            )
        write_current(directory, extended.manifest.fingerprint)


def _choosing_current(directory: str) -> contextlib.AbstractContextManager[Lease]:
    return lease(
        lease_path(directory, 'current'),
        f'is choosing the current version of {directory}',
        wait=True,
        protects=storage.join(directory, CURRENT),
    )


def _is_current(directory: str, dataset: Dataset) -> bool:
    current = read_current(directory)
    return current is not None and current.version == dataset.manifest.fingerprint


def _current(directory: str) -> Dataset | None:
    """The current version; None if there is none that this version of the project can read."""
    try:
        return open_dataset(directory)
    except UserError:
        return None


def _has_configuration(dataset: Dataset, config: DatasetConfig) -> bool:
    try:
        built = parse(DatasetConfig, dataset.manifest.config, dataset.path(MANIFEST))
    except UserError:  # of an earlier version of the project
        return False
    return fingerprint_of(built, {}) == fingerprint_of(config, {})


def _added(dataset: Dataset) -> str:
    """The splits that were added by extending, in words."""
    names = dataset.manifest.added
    return f'the split{"s" if len(names) > 1 else ""} {", ".join(names)}'
