"""What the pushed models were trained on: the whole state of a continual pipeline.

Each pushed version says in its `model.json`, under `continual`, which days it knows. There is
no other record that could disagree: a version that is removed has its days trained again.
"""

import hashlib
import json
import logging
import os
from dataclasses import asdict, dataclass
from typing import Any

from beam_jobs.errors import UserError
from beam_jobs.exported import MODEL_JSON, read_model_json
from components.continual.config import served_name
from trainer.push import complete_versions, greatest_version

CONTINUAL = 'continual'

log = logging.getLogger(__name__)
_said: set[str] = set()


@dataclass(frozen=True)
class Record:
    """What the model of one period says of itself.

    Attributes:
        model: `source`, or the target domain.
        kind: `source`, `base` (a target's plain model) or `transfer`.
        first_day, last_day: that this training saw; it continues `parent`'s.
        splits: of these days.
        evaluated_on: the split of the day after.
        digest: of the settings and the data, of which the model is the outcome.
        parent: `version` and `digest` of the model that it continues; None for the first.
        source: the same of the source tower.
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
        number: its version.
        directory: where it is.
        record: what it says of itself.
        digest: of its `model.json`.
    """

    number: int
    directory: str
    record: Record
    digest: str

    def named(self) -> dict[str, Any]:
        """How a record refers to it."""
        return {'version': self.number, 'digest': self.digest}


@dataclass(frozen=True)
class Pushed:
    """The pushed models of a configuration.

    Args:
        destination: the directory above the models' names.
        name: of the configuration.
    """

    destination: str
    name: str

    def newest(self, model: str, until: str | None = None) -> Version | None:
        """The newest complete version, of those that saw no day after `until`."""
        for directory in complete_versions(self.destination, served_name(self.name, model)):
            version = _read(directory)
            if version is not None and (until is None or version.record.last_day <= until):
                return version
        return None

    def served(self, model: str) -> str | None:
        """The directory that is served, whatever it says of itself."""
        return next(iter(complete_versions(self.destination,
                                           served_name(self.name, model))), None)

    def greatest(self, model: str) -> int:
        """The greatest version's number, complete or not; 0 for none."""
        return greatest_version(self.destination, served_name(self.name, model))


def write_record(export: str, record: Record) -> None:
    """Adds the record to an exported model, in one step."""
    path = os.path.join(export, MODEL_JSON)
    with open(path, encoding='utf-8') as file:
        described = json.load(file)
    described[CONTINUAL] = asdict(record)
    with open(path + '.tmp', 'w', encoding='utf-8') as file:
        json.dump(described, file, indent=1, ensure_ascii=False)
    os.replace(path + '.tmp', path)


def read_record(export: str) -> Record | None:
    """The record of an exported model; None where there is no model, or no record."""
    version = _read(export, quiet=True)
    return version.record if version else None


def _read(directory: str, quiet: bool = False) -> Version | None:
    try:
        described = read_model_json(directory)
        record = Record(**described[CONTINUAL])
        with open(os.path.join(directory, MODEL_JSON), 'rb') as file:
            digest = hashlib.sha256(file.read()).hexdigest()
    except (UserError, KeyError, TypeError):
        if not quiet and directory not in _said:
            _said.add(directory)
            log.warning('%s is no complete model of this pipeline: the version before it is '
                        'gone on from.', directory)
        return None
    name = os.path.basename(directory)
    return Version(int(name) if name.isdigit() else 0, directory, record, digest)
