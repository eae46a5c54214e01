"""An exported model: a SavedModel with a `model.json`, which lists its files."""

import hashlib
from typing import Any

from mdctr import storage
from mdctr.digests import directory_digest
from mdctr.errors import UserError
from mdctr.file_records import record_files

MODEL_JSON = 'model.json'
SAVED_MODEL = 'saved_model.pb'


def read_model_json(model: str) -> dict[str, Any]:
    """Reads the description of the exported model in the directory `model`.

    Raises:
        UserError: The directory does not contain an exported model, or one of its files is
            missing or has another size than `model.json` says.
    """
    try:
        return _read(model)
    except _Incomplete as problem:
        raise UserError(
            f'{model} does not contain an exported model ({problem}): name the directory of an '
            'export.'
        ) from None


def write_model_json(model: str, description: dict[str, Any]) -> None:
    """Writes `model.json` with the size and SHA-256 of every other file of the model.

    Args:
        model: Directory of the model, whose other files are complete.
        description: Description of the model.
    """
    names = [name for name in storage.list_files(model) if name != MODEL_JSON]
    files = {
        name: {'size': record.size, 'sha256': record.sha256}
        for name, record in record_files(model, names).items()
    }
    storage.write_json(storage.join(model, MODEL_JSON), {**description, 'files': files})


def model_problem(model: str, contents: bool = False) -> str | None:
    """Why a directory is not a complete exported model, in a few words; None if it is.

    All files that `model.json` lists must exist with their size.

    Args:
        model: Directory of the exported model.
        contents: Whether to read the files, too, and compare them with their SHA-256.
    """
    try:
        described = _read(model)
    except _Incomplete as problem:
        return str(problem)
    changed = _changed_file(model, described) if contents else None
    return f'{changed} has changed' if changed else None


def check_files(model: str) -> None:
    """Compares the content of every file with the SHA-256 in `model.json`.

    Args:
        model: Directory of the exported model.

    Raises:
        UserError: The directory does not contain an exported model, or a file has changed
            since the export.
    """
    changed = _changed_file(model, read_model_json(model))
    if changed is not None:
        raise UserError(
            f'{storage.join(model, changed)} has changed since the model was exported '
            '(another SHA-256 than in model.json): export the model again.'
        )


def model_digest(model: str) -> str:
    """The SHA-256 of `model.json`, which lists the digests of all other files.

    Copies of a model have the same digest. The digest of an export of an earlier version,
    which does not list its files, is that of all names and contents.
    """
    if 'files' not in read_model_json(model):
        return directory_digest(model)
    return hashlib.sha256(storage.read_bytes(storage.join(model, MODEL_JSON))).hexdigest()


def load_saved_model(model: str) -> Any:
    """Loads the SavedModel of an exported model, wherever it is.

    The signatures of a loaded model do not keep its tables alive, so keep the model.
    """
    import tensorflow as tf

    with storage.local_directory(model) as local:
        return tf.saved_model.load(local)


class _Incomplete(Exception):
    """A directory is not a complete exported model."""


def _changed_file(model: str, described: dict[str, Any]) -> str | None:
    """The first file whose content is not the one that `model.json` lists."""
    for name, file in described.get('files', {}).items():
        if storage.file_digest(storage.join(model, name)) != file['sha256']:
            return name
    return None


def _read(model: str) -> dict[str, Any]:
    path = storage.join(model, MODEL_JSON)
    try:
        described: dict[str, Any] = storage.read_json(path)
        described['features'], described['dataset']['fingerprint']
        files = {name: file['size'] for name, file in described.get('files', {}).items()} or {
            SAVED_MODEL: None
        }
    except (
        FileNotFoundError,
        NotADirectoryError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        raise _Incomplete(f'{path}: {error!r}') from None
    for name, expected in files.items():
        try:
            size = storage.size(storage.join(model, name))
        except (FileNotFoundError, NotADirectoryError):
            raise _Incomplete(f'{name} is missing') from None
        if expected is not None and size != expected:
            raise _Incomplete(f'{name} has {size:,} bytes instead of {expected:,}')
    return described
