"""Results of a comparison on disk."""

from typing import Any

from mdctr import storage


def read_json(path: str) -> Any:
    """Reads a JSON file; returns None if it does not exist or is not JSON."""
    try:
        return storage.read_json(path)
    except (FileNotFoundError, ValueError):
        return None


def file_name(name: str) -> str:
    """The name of a method with characters that a file name allows."""
    return ''.join(c if c.isalnum() or c in '-_.=,+' else '_' for c in name)
