"""Files for TensorBoard's embedding projector."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from google.protobuf import text_format
from tensorboard.plugins.projector import ProjectorConfig

from mdctr.storage import atomic_file

_CONFIG = 'projector_config.pbtxt'  # the name that the plugin looks for
_NAMES = 'domains.tsv'


def write_projector(
    directory: str, names: Sequence[str], embeddings: Mapping[str, np.ndarray]
) -> None:
    """Writes the domains' embeddings for the projector, labelled with the domains' names.

    Args:
        directory: Directory of the run's event files; earlier embeddings in it are replaced.
        names: Names of the rows of each embedding.
        embeddings: Embeddings [len(names), dim] by name; nothing is written if there are none.
    """
    config = ProjectorConfig()
    for name, rows in embeddings.items():
        embedding = config.embeddings.add(
            tensor_name=name, tensor_path=f'{name}.tsv', metadata_path=_NAMES
        )
        embedding.tensor_shape.extend(rows.shape)
        _write(
            directory,
            embedding.tensor_path,
            ('\t'.join(f'{value:.9g}' for value in row) for row in rows.tolist()),
        )
    if embeddings:
        # A tab in the first line would make it a header.
        _write(directory, _NAMES, (' '.join(name.split()) for name in names))
        _write(directory, _CONFIG, [text_format.MessageToString(config)])


def _write(directory: str, name: str, lines: Iterable[str]) -> None:
    with atomic_file(os.path.join(directory, name)) as file:
        file.writelines(f'{line}\n'.encode() for line in lines)
