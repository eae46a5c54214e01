"""Small results on disk, whole or not there."""

import json
import os
from typing import Any


def read_json(path: str) -> Any:
    """What `write_json` wrote; None where there is nothing."""
    try:
        with open(path, encoding='utf-8') as file:
            return json.load(file)
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def write_json(path: str, values: Any) -> None:
    """Writes values in one step."""
    with open(path + '.tmp', 'w', encoding='utf-8') as file:
        json.dump(values, file, indent=1)
    os.replace(path + '.tmp', path)


def file_name(name: str) -> str:
    """A method's name as that of a folder."""
    return ''.join(c if c.isalnum() or c in '-_.=,+' else '_' for c in name)
