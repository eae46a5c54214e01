"""An op that reads rows of example files, on whichever machine a function runs.

TensorFlow has no op that reads Parquet, and `tf.numpy_function` calls a function of the process
that builds the graph. Its op, however, finds the function in the process that executes it, by a
token. Workers run this project (`serve`), so every process registers the same function under
the same token when it imports this module.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tensorflow.python.ops import script_ops

from mdctr.errors import UserError
from mdctr.example_files import ExampleFile
from mdctr.manifest import Feature
from trainer.data.columns import Columns
from trainer.data.example_ranges import ExampleRange, read_rows
from trainer.keras import tf

UNREADABLE = 'Unreadable examples: '  # before the reason, in the message of the op's error
_TOKEN = 'mdctr_read_rows'


def read_columns(
    paths: tf.Tensor, firsts: tf.Tensor, sizes: tf.Tensor, features: Sequence[Feature]
) -> dict[str, tf.Tensor]:
    """Reads rows in the graph of a function.

    Args:
        paths: Path of the file of each range of rows, string [ranges].
        firsts: Number of the first row of each range, int64 [ranges].
        sizes: Number of rows of each range, int64 [ranges].
        features: Features to read.

    Returns:
        Ids by feature name, int32 [rows] or, padded with -1, [rows, length]; and `click`,
        int32 [rows].
    """
    sequences = [feature for feature in features if feature.kind == 'sequence']
    singles = [feature for feature in features if feature.kind != 'sequence']
    matrix, click, *lists = tf.raw_ops.PyFunc(
        input=[
            paths,
            firsts,
            sizes,
            tf.constant([feature.name for feature in singles], tf.string),
            tf.constant([feature.name for feature in sequences], tf.string),
            tf.constant([feature.length for feature in sequences], tf.int64),
        ],
        token=_TOKEN,
        Tout=[tf.int32] * (2 + len(sequences)),
    )
    ids = tf.unstack(tf.ensure_shape(matrix, [len(singles), None]))
    return {
        **{feature.name: column for feature, column in zip(singles, ids, strict=True)},
        **{
            feature.name: tf.ensure_shape(padded, [None, feature.length])
            for feature, padded in zip(sequences, lists, strict=True)
        },
        'click': tf.ensure_shape(click, [None]),
    }


def _read(
    paths: np.ndarray,
    firsts: np.ndarray,
    sizes: np.ndarray,
    singles: np.ndarray,
    sequences: np.ndarray,
    lengths: np.ndarray,
) -> list[np.ndarray]:
    features = [Feature(name.decode(), 'categorical', 'context', 0) for name in singles] + [
        Feature(name.decode(), 'sequence', 'context', 0, length=length)
        for name, length in zip(sequences, lengths.tolist(), strict=True)
    ]
    try:
        files = {path: ExampleFile.open(path.decode()) for path in set(paths.tolist())}
        rows: Columns = read_rows(
            [
                ExampleRange(files[path], first, size)
                for path, first, size in zip(
                    paths.tolist(), firsts.tolist(), sizes.tolist(), strict=True
                )
            ],
            features,
        )
    except (UserError, OSError) as error:
        raise ValueError(f'{UNREADABLE}{str(error).rstrip(".")}') from error
    return [
        np.ascontiguousarray(rows.singles.T),
        rows.click.astype(np.int32),
        *rows.sequences.values(),
    ]


script_ops._py_funcs._funcs[_TOKEN] = _read
