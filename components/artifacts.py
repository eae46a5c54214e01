"""Artifacts that contain a location in the workspace instead of the data itself.

KFP downloads the input artifacts of a step completely, accepts them only from object stores,
and passes all their metadata in one command-line argument. An artifact of this project is
therefore a small JSON file with a location in the workspace and the digest of the data there.
Its metadata is a few scalars for the user interface.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from mdctr import storage
from mdctr.digests import directory_digest
from mdctr.errors import UserError
from mdctr.exported_model import model_digest, model_problem

if TYPE_CHECKING:
    from kfp import dsl

Scalar = str | int | float | bool

MOST_SCALARS = 20
_LONGEST_TEXT = 500


@dataclass(frozen=True)
class Location:
    """The content of an artifact.

    Attributes:
        location: Path of a file or directory in the workspace; '' if there is none.
        digest: SHA-256 of its content.
    """

    location: str
    digest: str


def write_location(artifact: 'dsl.Artifact', location: Location) -> None:
    """Writes an output artifact's file where KFP expects it."""
    os.makedirs(os.path.dirname(artifact.path), exist_ok=True)
    with open(artifact.path, 'w', encoding='utf-8') as file:
        json.dump(asdict(location), file)


def read_location(artifact: 'dsl.Artifact') -> Location:
    """Reads the location in an artifact.

    Raises:
        UserError: The artifact was not written by `write_location`.
    """
    try:
        with open(artifact.path, encoding='utf-8') as file:
            return Location(**json.load(file))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f'The artifact {artifact.name or artifact.path} does not contain a location in the '
            f'workspace ({artifact.path}: {error!r}): use the output of its step.'
        ) from None


def set_metadata(artifact: 'dsl.Artifact', values: Mapping[str, Scalar | None]) -> None:
    """Adds metadata for the user interface; skips values that are None or not finite.

    Texts are shortened to 500 characters, because the metadata of all inputs of a step share
    128 KiB.

    Raises:
        ValueError: The artifact would have more than 20 scalars, or a value is not a scalar.
    """
    for key, value in values.items():
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            continue
        if isinstance(value, str) and len(value) > _LONGEST_TEXT:
            value = value[: _LONGEST_TEXT - 1] + '…'
        if not isinstance(value, (str, int, float, bool)):
            raise ValueError(f'{key}: {type(value).__name__} is not a scalar')
        artifact.metadata[key] = value
    if len(artifact.metadata) > MOST_SCALARS:
        raise ValueError(
            f'{len(artifact.metadata)} scalars; an artifact has at most {MOST_SCALARS}'
        )


def dataset_location(directory: str) -> Location:
    """The location of a version of a dataset; its manifest has the digests of its files."""
    return Location(directory, storage.file_digest(storage.join(directory, 'manifest.json')))


def model_location(directory: str) -> Location:
    """The location of an exported or pushed model."""
    return Location(directory, model_digest(directory))


def evaluation_location(directory: str) -> Location:
    """The location of an evaluation."""
    return Location(directory, storage.file_digest(storage.join(directory, 'metrics.json')))


def directory_location(directory: str) -> Location:
    """The location of any other directory."""
    return Location(directory, directory_digest(directory))


def read_dataset(artifact: 'dsl.Artifact') -> str:
    """The directory of the version of a dataset artifact.

    Raises:
        UserError: The dataset is missing, or has changed since the artifact was written.
    """
    location = read_location(artifact)
    return _unchanged(location, 'dataset', storage.join(location.location, 'manifest.json'))


def read_model(artifact: 'dsl.Artifact') -> str:
    """The directory of a model artifact.

    Raises:
        UserError: The model is missing, or has changed since the artifact was written.
    """
    location = read_location(artifact)
    directory = location.location
    if model_problem(directory) is not None or model_digest(directory) != location.digest:
        raise _changed(location, 'model')
    return directory


def read_evaluation(artifact: 'dsl.Artifact') -> str:
    """The directory of an evaluation artifact.

    Raises:
        UserError: The evaluation is missing, or has changed since the artifact was written.
    """
    location = read_location(artifact)
    return _unchanged(location, 'evaluation', storage.join(location.location, 'metrics.json'))


def _unchanged(location: Location, what: str, path: str) -> str:
    try:
        same = storage.file_digest(path) == location.digest
    except (FileNotFoundError, NotADirectoryError):
        same = False
    if not same:
        raise _changed(location, what)
    return location.location


def _changed(location: Location, what: str) -> UserError:
    return UserError(
        f'The {what} {location.location} has been changed or removed since the step that '
        'created it: run the pipeline again.'
    )
