"""The pushed versions of a model, as a model server lists them.

<models>/<name>/<version>/      a version is a number, and complete once its model.json and all
                                files that it lists are there
<models>/<name>/current.json    what was pushed, and which version is the newest
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from typing import Any

from mdctr import storage
from mdctr.errors import UserError
from mdctr.exported_model import model_digest, model_problem, read_model_json

CURRENT_JSON = 'current.json'
log = logging.getLogger(__name__)
_reported: set[str] = set()


@dataclass(frozen=True)
class PushRecord:
    """The content of `current.json`.

    Attributes:
        version: Number of the version that was pushed last; 0 if there is none.
        digests: Digests of the pushed models by version number.
        withdrawn: Digests of models that were rolled back or removed while they were served,
            in order. They are not pushed again unless that is asked for.
    """

    version: int = 0
    digests: dict[int, str] = field(default_factory=dict)
    withdrawn: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class VersionState:
    """A version that is or was in the directory of a pushed model.

    Attributes:
        number: Its number.
        digest: Digest of the model; '' if unknown.
        dataset: Fingerprint of the dataset that it was trained on; '' if unknown.
        state: `served`, `withdrawn`, `removed`, `damaged (reason)` or ''.
    """

    number: int
    digest: str
    dataset: str
    state: str


def latest_version(models: str, name: str) -> str | None:
    """The directory of the latest complete version; None if there is none.

    Args:
        models: Directory above the models' names.
        name: Name of the pushed model.
    """
    return next(iter(complete_versions(models, name)), None)


def complete_versions(models: str, name: str) -> list[str]:
    """The directories of all complete versions, the latest first.

    A version in which a file is missing or has another size is reported, once per process.
    """
    complete = []
    for path in all_versions(models, name):
        problem = model_problem(path)
        if problem is None:
            complete.append(path)
        elif path not in _reported:
            _reported.add(path)
            log.warning(
                'The pushed version %s is damaged (%s); the version before it takes its place.',
                path,
                problem,
            )
    return complete


def all_versions(models: str, name: str) -> list[str]:
    """The directories of all versions, complete or not, the latest first."""
    directory = storage.join(models, name)
    return [
        storage.join(directory, str(version))
        for version in sorted(version_numbers(directory), reverse=True)
    ]


def version_number(path: str) -> int:
    """The number of the version in a directory."""
    return int(storage.name(path))


def greatest_version(models: str, name: str) -> int:
    """The greatest number of a complete or recorded version; 0 if there is none.

    A version that was removed counts: its number is not used again.
    """
    return max(push_record(models, name).digests, default=0)


def version_numbers(directory: str) -> list[int]:
    """The version numbers among the entries of a model's directory, in no order."""
    return [
        int(name)
        for name in storage.list_directory(directory)
        if name.isascii() and name.isdigit() and str(int(name)) == name
    ]


def read_push_record(models: str, name: str) -> PushRecord:
    """Reads `current.json`; without one, nothing is known to have been pushed.

    Raises:
        UserError: The file is damaged.
    """
    path = storage.join(models, name, CURRENT_JSON)
    try:
        values: dict[str, Any] = storage.read_json(path)
        digests = {int(version): digest for version, digest in values['digests'].items()}
        return PushRecord(int(values['version']), digests, list(values['withdrawn']))
    except (FileNotFoundError, NotADirectoryError):
        return PushRecord()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f'{path} is damaged ({error!r}): remove it, and the next push writes it again.'
        ) from None


def write_push_record(models: str, name: str, record: PushRecord) -> None:
    """Writes `current.json`, unless it has this content already."""
    if record != read_push_record(models, name):
        values = asdict(record)
        values['digests'] = {
            str(version): record.digests[version] for version in sorted(record.digests)
        }
        storage.write_json(storage.join(models, name, CURRENT_JSON), values)


def push_record(models: str, name: str) -> PushRecord:
    """The record as it should be, given the versions that there are.

    It contains every complete version, those that were pushed without a record included. A
    recorded version that is newer than all complete ones and whose directory does not exist
    was removed while it was served: its model is withdrawn.
    """
    record = read_push_record(models, name)
    complete = {version_number(path): path for path in complete_versions(models, name)}
    digests = dict(record.digests)
    for version, path in complete.items():
        if version not in digests:
            digests[version] = model_digest(path)
    newest = max(complete, default=0)
    existing = set(version_numbers(storage.join(models, name)))
    served = digests.get(newest)
    removed = [
        digest
        for version, digest in sorted(record.digests.items())
        if version > newest and version not in existing and digest != served
    ]
    withdrawn = [
        digest for digest in dict.fromkeys([*record.withdrawn, *removed]) if digest != served
    ]
    return PushRecord(newest, digests, withdrawn)


def describe_versions(models: str, name: str) -> list[VersionState]:
    """All versions that are there or are recorded, the latest first."""
    record = push_record(models, name)
    paths = {version_number(path): path for path in all_versions(models, name)}
    described = []
    for number in sorted({*paths, *record.digests}, reverse=True):
        digest, dataset = record.digests.get(number, ''), ''
        problem = model_problem(paths[number]) if number in paths else None
        if number not in paths:
            state = 'removed'
        elif problem is not None:
            state = f'damaged ({problem})'
        else:
            dataset = read_model_json(paths[number])['dataset']['fingerprint']
            state = 'withdrawn' if digest in record.withdrawn else ''
        if number == record.version:
            state = 'served'
        described.append(VersionState(number, digest, dataset, state))
    return described
