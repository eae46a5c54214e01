"""Reading and writing YAML in tests."""

import json
import pathlib
from typing import Any

from ruamel.yaml import YAML


def load_all(text: str) -> list[Any]:
    """The documents of a YAML text."""
    return list(YAML(typ='safe', pure=True).load_all(text))


def load(path: str | pathlib.Path) -> Any:
    """The one document of a YAML file."""
    (document,) = load_all(pathlib.Path(path).read_text(encoding='utf-8'))
    return document


def write(path: str | pathlib.Path, values: Any) -> str:
    """Writes values as YAML, of which JSON is a part; returns the path."""
    pathlib.Path(path).write_text(json.dumps(values, indent=1), encoding='utf-8')
    return str(path)
