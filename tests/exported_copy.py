"""A copy of an exported model that counts as another model, for tests."""

import pathlib
import shutil


def copy_with_other_bytes(model: str, copy: str) -> str:
    """Copies an exported model and changes bytes of `model.json` that mean nothing.

    Args:
        model: Directory of the exported model.
        copy: Directory of the copy.

    Returns:
        `copy`.
    """
    shutil.copytree(model, copy)
    with (pathlib.Path(copy) / 'model.json').open('a') as file:
        file.write('\n')
    return copy
