"""The golden batch: what an exported model must score, wherever it is loaded, as in training.

`golden.json` beside the SavedModel holds

    inputs   by name, the raw values of `serving_default` as nested lists; null for NaN
    kinds    by name, `string` or `float`
    scores   the training graph's scores of the rows

`python -m trainer.golden DIRECTORY` loads the model in its own, fresh process, checks it, and
exits with 0, or with 1 and a sentence.
"""

import json
import math
import os
import sys
from typing import Any

import numpy as np

GOLDEN = 'golden.json'
TOLERANCE = 1e-5


def write_golden(directory: str, inputs: dict[str, np.ndarray], scores: np.ndarray) -> None:
    """Writes `golden.json` into the export `directory`.

    Args:
        directory: of the SavedModel.
        inputs: raw values by input name: text [rows] or [rows, n], numbers [rows].
        scores: of the training graph, [rows].
    """
    scores = np.asarray(scores)
    if not len(scores) or any(len(values) != len(scores) for values in inputs.values()):
        raise ValueError('A golden batch needs rows, as many in every input as scores.')
    kinds = {name: 'float' if np.asarray(values).dtype.kind in 'fiu' else 'string'
             for name, values in inputs.items()}
    golden = {'inputs': {name: _plain(values) for name, values in inputs.items()},
              'kinds': kinds, 'scores': [float(score) for score in scores]}
    with open(os.path.join(directory, GOLDEN), 'w', encoding='utf-8') as file:
        json.dump(golden, file, ensure_ascii=False, allow_nan=False)


def read_golden(directory: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The inputs, text as objects and numbers as float32, and the scores of `golden.json`.

    Raises:
        OSError, ValueError, KeyError: there is none, or it is not one.
    """
    with open(os.path.join(directory, GOLDEN), encoding='utf-8') as file:
        golden = json.load(file)
    inputs = {}
    for name, values in golden['inputs'].items():
        if golden['kinds'][name] == 'float':
            inputs[name] = np.array([math.nan if value is None else value
                                     for value in values], np.float32)
        else:
            inputs[name] = np.array(values, object)
            if values and isinstance(values[0], list):  # an empty sequence has a shape too
                inputs[name] = inputs[name].reshape(len(values), len(values[0]))
    return inputs, np.array(golden['scores'], np.float64)


def check_golden(directory: str) -> str | None:
    """Loads the SavedModel and scores its golden batch with `serving_default`.

    Returns:
        None where every score is within `TOLERANCE` of training's, else what is wrong.
    """
    try:
        inputs, expected = read_golden(directory)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f'{os.path.join(directory, GOLDEN)} cannot be read ({error})'
    import tensorflow as tf

    try:
        model = tf.saved_model.load(directory)
        serve = model.signatures['serving_default']
        wanted = serve.structured_input_signature[1]
        scores = serve(**{name: tf.constant(values, wanted[name].dtype)
                          for name, values in inputs.items()})['score'].numpy()
    except Exception as error:  # whatever TensorFlow makes of a broken model
        return f'the model in {directory} does not score its golden batch ({_first(error)})'
    if scores.shape != expected.shape:
        return (f'the model gives scores of the shape {scores.shape} for a golden batch of '
                f'{expected.shape}')
    difference = np.abs(scores - expected)
    if not np.all(difference <= TOLERANCE):  # also where a score is NaN
        worst = int(np.argmax(np.where(np.isnan(difference), np.inf, difference)))
        return (f'the loaded model scores row {worst} of the golden batch {scores[worst]:.6f}, '
                f'and training scored it {expected[worst]:.6f}')
    return None


def _plain(values: np.ndarray) -> Any:
    values = np.asarray(values)
    if values.dtype.kind in 'fiu':
        return [None if math.isnan(value) else float(value) for value in values.tolist()]
    return [_text(value) for value in values.tolist()]


def _text(value: Any) -> Any:
    if isinstance(value, list):
        return [_text(item) for item in value]
    return value.decode('utf-8') if isinstance(value, bytes) else str(value)


def _first(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f'{type(error).__name__}: {lines[0][:200]}' if lines else type(error).__name__


if __name__ == '__main__':
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    if len(sys.argv) != 2:
        sys.exit('usage: python -m trainer.golden DIRECTORY')
    wrong = check_golden(sys.argv[1])
    if wrong:
        print(wrong)
        sys.exit(1)
