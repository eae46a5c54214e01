"""Rolls a pushed model back to an earlier version."""

from __future__ import annotations

from mdctr import storage
from mdctr.errors import UserError
from mdctr.exported_model import check_files, model_digest
from mdctr.pushed_models import complete_versions, push_record, version_number
from trainer.export.publish import publish, pushing


def rollback(models: str, name: str, to: int | None = None) -> str:
    """Pushes a copy of an earlier version as the newest one.

    Model servers serve the greatest number. So the earlier version gets the next number, and
    the later ones stay as they are. Their models are withdrawn: they are not pushed again
    unless that is asked for.

    Args:
        models: Directory above the models' names.
        name: Name of the pushed model.
        to: Number of the version to return to; the one that was served before the newest if
            None.

    Returns:
        The directory of the new version.

    Raises:
        UserError: There is no such version, it is damaged, or it is what is served already.
    """
    with storage.reporting_errors(models), pushing(models, name):
        complete = {version_number(path): path for path in complete_versions(models, name)}
        record = push_record(models, name)
        if not complete:
            raise UserError(f'{storage.join(models, name)} has no complete version.')
        served = record.digests[record.version]
        if to is None:
            to = _before(complete, record.digests, {served, *record.withdrawn})
        if to is None:
            raise UserError(
                f'{name} has no other version than {record.version} to return to that was not '
                'withdrawn itself: choose one with --to.'
            )
        if to not in complete:
            versions = ', '.join(str(version) for version in sorted(complete))
            raise UserError(
                f'{name} has no complete version {to}: choose one of {versions} with --to.'
            )
        if record.digests[to] == served:
            raise UserError(f'Version {to} of {name} is the model that is served already.')
        kept = {digest for version, digest in record.digests.items() if version <= to}
        later = [digest for digest in record.digests.values() if digest not in kept]
        with storage.local_directory(complete[to]) as local:
            check_files(local)
            assert model_digest(local) == record.digests[to]
            return publish(models, name, local, withdrawn=later)


def _before(
    complete: dict[int, str], digests: dict[int, str], unwanted: set[str]
) -> int | None:
    return max(
        (version for version in complete if digests[version] not in unwanted), default=None
    )
