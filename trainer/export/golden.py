"""Golden batches: inputs and scores by which an exported model is verified where it is loaded.

`golden.json`, next to the SavedModel, has the entries

    inputs   raw values of `serving_default` by input name, as nested lists; null for NaN
    kinds    `string`, `double` or, in exports of earlier versions, `float`, by input name
    scores   scores of the rows in the training graph

`python -m trainer.export.golden DIRECTORY` loads and checks a model in a new process. It exits
with status 0, or prints an error and exits with status 1.
"""

import json
import math
import os
import sys
from typing import Any

import numpy as np

GOLDEN = 'golden.json'
_KINDS = {'float32': 'float', 'float64': 'double'}
TOLERANCE = 1e-5


def write_golden(directory: str, inputs: dict[str, np.ndarray], scores: np.ndarray) -> None:
    """Writes `golden.json`.

    Args:
        directory: Directory of the SavedModel.
        inputs: Raw values by input name: text [rows] or [rows, n], numbers [rows].
        scores: Scores of the training graph, [rows].
    """
    scores = np.asarray(scores)
    if not len(scores) or any(len(values) != len(scores) for values in inputs.values()):
        raise ValueError('A golden batch needs rows, and a score for every row.')
    kinds = {
        name: _KINDS.get(np.asarray(values).dtype.name, 'string')
        for name, values in inputs.items()
    }
    golden = {
        'inputs': {name: _plain(values) for name, values in inputs.items()},
        'kinds': kinds,
        'scores': [float(score) for score in scores],
    }
    with open(os.path.join(directory, GOLDEN), 'w', encoding='utf-8') as file:
        json.dump(golden, file, ensure_ascii=False, allow_nan=False)


def read_golden(directory: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Reads `golden.json`.

    Args:
        directory: Directory of the SavedModel.

    Returns:
        The inputs by name, text as objects and numbers as floats, and the scores.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not valid JSON.
        KeyError: An entry is missing.
    """
    with open(os.path.join(directory, GOLDEN), encoding='utf-8') as file:
        golden = json.load(file)
    inputs = {}
    for name, values in golden['inputs'].items():
        kind = golden['kinds'][name]
        if kind in _KINDS.values():
            inputs[name] = np.array(
                [math.nan if value is None else value for value in values], kind
            )
        else:
            inputs[name] = np.array(values, object)
            if values and isinstance(values[0], list):  # an empty sequence has a shape too
                inputs[name] = inputs[name].reshape(len(values), len(values[0]))
    return inputs, np.array(golden['scores'], np.float64)


def check_golden(directory: str) -> str | None:
    """Loads a SavedModel and scores its golden batch with `serving_default`.

    Args:
        directory: Directory of the SavedModel.

    Returns:
        None if every score is within `TOLERANCE` of that of training; otherwise an error.
    """
    try:
        inputs, expected = read_golden(directory)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f'{os.path.join(directory, GOLDEN)} cannot be read ({error})'
    import tensorflow as tf

    try:
        model = tf.saved_model.load(directory)
        serve = model.signatures['serving_default']
        signature = serve.structured_input_signature[1]
        scores = serve(
            **{
                name: tf.constant(values, signature[name].dtype)
                for name, values in inputs.items()
            }
        )['score'].numpy()
    except Exception as error:  # TensorFlow raises many types for a damaged model
        reason = _first_line(error)
        return f'the model in {directory} does not score its golden batch ({reason})'
    if scores.shape != expected.shape:
        return (
            f'the model gives scores of the shape {scores.shape} for a golden batch of '
            f'{expected.shape}'
        )
    difference = np.abs(scores - expected)
    if not np.all(difference <= TOLERANCE):  # also where a score is NaN
        worst = int(np.argmax(np.where(np.isnan(difference), np.inf, difference)))
        return (
            f'the loaded model scores row {worst} of the golden batch {scores[worst]:.6f}, '
            f'and training scored it {expected[worst]:.6f}'
        )
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


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f'{type(error).__name__}: {lines[0][:200]}' if lines else type(error).__name__


if __name__ == '__main__':
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    if len(sys.argv) != 2:
        sys.exit('usage: python -m trainer.export.golden DIRECTORY')
    problem = check_golden(sys.argv[1])
    if problem:
        print(problem)
        sys.exit(1)
