"""The days that the pushed models were trained on: the only state of a continual pipeline.

The `model.json` of each pushed version has a `Record` under the key `continual`. There is no
other state that could contradict it: if a version is removed, its days are trained on again.
"""

import hashlib
import logging
from dataclasses import asdict, dataclass
from typing import Any

from components.continual.config import served_name
from mdctr import storage
from mdctr.errors import UserError
from mdctr.exported_model import MODEL_JSON, model_digest, model_problem, read_model_json
from mdctr.pushed_models import complete_versions, greatest_version, push_record

CONTINUAL = 'continual'

log = logging.getLogger(__name__)
_said: set[str] = set()


@dataclass(frozen=True)
class Record:
    """How the model of a period was trained.

    Attributes:
        model: `source` or the target domain.
        kind: `source`, `base` (a target's plain model) or `transfer` (CTNet).
        first_day: First day that it was trained on, after those of `parent`.
        last_day: Last day that it was trained on.
        splits: Names of the splits of these days.
        evaluated_on: Name of the split of the following day.
        digest: SHA-256 of the settings and the data that the model results from.
        parent: `version` and `digest` of the model that it continues; None for the first.
        source: `version` and `digest` of the source tower's model; None if it has none.
    """

    model: str
    kind: str
    first_day: str
    last_day: str
    splits: list[str]
    evaluated_on: str
    digest: str = ''
    parent: dict[str, Any] | None = None
    source: dict[str, Any] | None = None


@dataclass(frozen=True)
class Version:
    """A pushed model.

    Attributes:
        number: Number of the version.
        directory: Directory of the model.
        record: How it was trained.
        digest: SHA-256 of its `model.json`.
    """

    number: int
    directory: str
    record: Record
    digest: str

    def named(self) -> dict[str, Any]:
        """The reference to this version in the record of another."""
        return {'version': self.number, 'digest': self.digest}


@dataclass(frozen=True)
class PushedModels:
    """The pushed models of a configuration.

    Attributes:
        destination: Directory above the names of the models.
        name: Name of the configuration.
    """

    destination: str
    name: str

    def newest(self, model: str, until: str | None = None) -> Version | None:
        """The newest complete version that was not trained on a day after `until`."""
        for directory in complete_versions(self.destination, served_name(self.name, model)):
            version = _read(directory)
            if version is not None and (until is None or version.record.last_day <= until):
                return version
        return None

    def served(self, model: str) -> str | None:
        """Directory of the served version, whether or not it has a record."""
        return next(
            iter(complete_versions(self.destination, served_name(self.name, model))), None
        )

    def is_withdrawn(self, model: str, export: str) -> bool:
        """Whether an exported model was pushed and then rolled back, or removed."""
        name = served_name(self.name, model)
        return (
            model_problem(export) is None
            and model_digest(export) in push_record(self.destination, name).withdrawn
        )

    def greatest(self, model: str) -> int:
        """The greatest number of a complete or recorded version; 0 if there is none."""
        return greatest_version(self.destination, served_name(self.name, model))


def write_record(export: str, record: Record) -> None:
    """Adds the record to the `model.json` of an exported model, atomically."""
    path = storage.join(export, MODEL_JSON)
    storage.write_json(path, {**storage.read_json(path), CONTINUAL: asdict(record)})


def read_record(export: str) -> Record | None:
    """The record of an exported model; None if the model or its record does not exist."""
    version = _read(export, quiet=True)
    return version.record if version else None


def _read(directory: str, quiet: bool = False) -> Version | None:
    try:
        described = read_model_json(directory)
        record = Record(**described[CONTINUAL])
        content = storage.read_bytes(storage.join(directory, MODEL_JSON))
    except (UserError, KeyError, TypeError):
        if not quiet and directory not in _said:
            _said.add(directory)
            log.warning(
                '%s is not a complete model of this pipeline; continuing from the version '
                'before it.',
                directory,
            )
        return None
    name, digest = storage.name(directory), hashlib.sha256(content).hexdigest()
    return Version(int(name) if name.isdigit() else 0, directory, record, digest)
