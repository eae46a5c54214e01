"""The checkpoint in an export from which a model is loaded to be trained further."""

from __future__ import annotations

import os
from typing import Any

from mdctr import storage
from mdctr.errors import UserError
from trainer.keras import tf

_FOLDER, _NAME = 'weights', 'weights'
WEIGHTS = os.path.join(_FOLDER, _NAME)  # TensorFlow adds suffixes to this path


def write_weights(directory: str, **objects: Any) -> None:
    """Writes the variables of trackable objects, which `read_weights` takes by the same names.

    Args:
        directory: Directory of the export.
        objects: Trackable objects by name.
    """
    tf.train.Checkpoint(**objects).write(os.path.join(directory, WEIGHTS))


def read_weights(directory: str, **objects: Any) -> None:
    """Restores the variables of trackable objects from an export.

    Raises:
        UserError: The weights are missing, damaged or of another model.
    """
    try:
        with storage.local_directory(storage.join(directory, _FOLDER)) as local:
            tf.train.Checkpoint(**objects).read(
                os.path.join(local, _NAME)
            ).assert_existing_objects_matched()
    except (
        tf.errors.OpError,
        AssertionError,
        LookupError,
        RuntimeError,
        ValueError,
    ) as error:  # TensorFlow raises these for missing, truncated and unrelated files
        reason = str(error).strip().splitlines()[0][:200]
        raise UserError(
            f'Cannot read the weights of the exported model {directory} ({reason}): use a '
            'complete export.'
        ) from None
