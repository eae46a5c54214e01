"""Adds a version to the directory of a model that a server watches, and records it.

`mdctr.pushed_models` describes the directory and the record.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Collection, Iterator

from mdctr import storage
from mdctr.exported_model import MODEL_JSON, SAVED_MODEL, model_digest, model_problem
from mdctr.leases import lease
from mdctr.pushed_models import (
    PushRecord,
    all_versions,
    greatest_version,
    push_record,
    read_push_record,
    version_number,
    write_push_record,
)

_TEMPORARY = '.tmp-'


@contextlib.contextmanager
def pushing(models: str, name: str) -> Iterator[None]:
    """Context in which no other process pushes versions of a model.

    Raises:
        UserError: The directory cannot be written, or the lease was lost.
    """
    directory = storage.join(models, name)
    with (
        lease(directory + '.lock', f'pushes {name}', wait=True, protects=directory),
        storage.reporting_errors(directory),
    ):
        yield


def publish(models: str, name: str, model: str, withdrawn: Collection[str] = ()) -> str:
    """Copies a model to the next version, and records it; only within `pushing`.

    On a local disk, the version appears in one rename. An object store has no rename: there,
    `model.json` is written first and `saved_model.pb` last, without which the version is not
    complete. One that a killed push began is finished if it is of this model, and removed
    otherwise; its number is not used again, since that process may not have ended.

    Args:
        models: Directory above the models' names.
        name: Name of the pushed model.
        model: Local directory of the exported model.
        withdrawn: Digests of models that are not to be pushed again unless asked for.

    Returns:
        The directory of the version.
    """
    record = push_record(models, name)
    used = [version_number(path) for path in all_versions(models, name)]
    number = 1 + max([greatest_version(models, name), *used])
    for path in _unfinished(models, name, record):
        if _is_of(path, model):
            number = version_number(path)
        else:
            storage.remove_directory(path)
    path = storage.join(models, name, str(number))
    if storage.is_url(path):
        _copy(model, path)
    else:
        temporary = storage.join(models, name, f'{_TEMPORARY}{uuid.uuid4().hex}')
        _copy(model, temporary)
        storage.rename_directory(temporary, path)
    digests = {**record.digests, number: model_digest(model)}
    kept = dict.fromkeys([*record.withdrawn, *withdrawn])
    kept.pop(digests[number], None)
    write_push_record(models, name, PushRecord(number, digests, list(kept)))
    return path


def record_versions(models: str, name: str) -> None:
    """Records the versions that are there, if a push was killed before it could do so."""
    if push_record(models, name) != read_push_record(models, name):
        with pushing(models, name):
            write_push_record(models, name, push_record(models, name))


def _unfinished(models: str, name: str, record: PushRecord) -> list[str]:
    """The directories of pushes that were killed; the damaged versions have a record."""
    directory = storage.join(models, name)
    temporary = [
        storage.join(directory, entry)
        for entry in storage.list_directory(directory)
        if entry.startswith(_TEMPORARY)
    ]
    return temporary + [
        path
        for path in all_versions(models, name)
        if version_number(path) not in record.digests and model_problem(path) is not None
    ]


def _is_of(path: str, model: str) -> bool:
    """Whether an unfinished version, not a temporary directory, is a copy of the model."""
    if storage.name(path).startswith(_TEMPORARY):
        return False
    try:
        begun = storage.read_bytes(storage.join(path, MODEL_JSON))
    except FileNotFoundError:
        return False
    return begun == storage.read_bytes(storage.join(model, MODEL_JSON))


def _copy(model: str, path: str) -> None:
    others = [
        name for name in storage.list_files(model) if name not in (MODEL_JSON, SAVED_MODEL)
    ]
    for name in [MODEL_JSON, *others, SAVED_MODEL]:
        storage.upload_file(storage.join(model, name), storage.join(path, name))
