"""An exported model on disk: a SavedModel with a `model.json` beside it."""

import hashlib
import json
import os
from typing import Any

from beam_jobs.errors import UserError

MODEL_JSON = 'model.json'
SAVED_MODEL = 'saved_model.pb'


def read_model_json(model: str) -> dict[str, Any]:
    """What the exported model in the directory `model` says of itself.

    Raises:
        UserError: there is no exported model.
    """
    path = os.path.join(model, MODEL_JSON)
    try:
        with open(path, encoding='utf-8') as file:
            described = json.load(file)
        described['features'], described['dataset']['fingerprint']
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f'{model} holds no exported model ({path}: {error!r}): name the '
                        'directory that training exported.') from None
    if not os.path.exists(os.path.join(model, SAVED_MODEL)):
        raise UserError(f'{model} holds no exported model ({SAVED_MODEL} is missing): name '
                        'the directory that training exported.')
    return described


def model_digest(model: str) -> str:
    """A SHA-256 of all files of the exported model, wherever a copy of it is."""
    digest = hashlib.sha256()
    for folder, folders, names in os.walk(model):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            digest.update(os.path.relpath(path, model).encode() + b'\0')
            with open(path, 'rb') as file:
                digest.update(hashlib.file_digest(file, 'sha256').digest())
    return digest.hexdigest()
