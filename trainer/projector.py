"""Files of TensorBoard's projector."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from google.protobuf import text_format
from tensorboard.plugins.projector import ProjectorConfig

_CONFIG = 'projector_config.pbtxt'  # the name that the plugin looks for in a run's directory
_NAMES = 'domains.tsv'


def write_projector(directory: str, names: Sequence[str],
                    embeddings: Mapping[str, np.ndarray]) -> None:
    """Writes embeddings of the domains, which the projector shows under their names.

    Args:
        directory: of the run's event files; what an earlier call wrote is replaced.
        names: of the rows of every embedding.
        embeddings: [len(names), dim], by name; without any, nothing is written.
    """
    config = ProjectorConfig()
    for name, rows in embeddings.items():
        embedding = config.embeddings.add(
            tensor_name=name, tensor_path=f'{name}.tsv', metadata_path=_NAMES)
        embedding.tensor_shape.extend(rows.shape)
        _write(directory, embedding.tensor_path,
               ('\t'.join(f'{value:.9g}' for value in row) for row in rows.tolist()))
    if embeddings:
        # A tab in the first line would make it a header.
        _write(directory, _NAMES, (' '.join(name.split()) for name in names))
        _write(directory, _CONFIG, [text_format.MessageToString(config)])


def _write(directory: str, name: str, lines: Iterable[str]) -> None:
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, name)
    with open(path + '.tmp', 'w', encoding='utf-8') as file:
        file.writelines(f'{line}\n' for line in lines)
    os.replace(path + '.tmp', path)
