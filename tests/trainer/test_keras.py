"""Keras 2, whoever imported TensorFlow first."""

import subprocess
import sys


def run(code):
    return subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        check=False,
        env={'PATH': ''},
    )


def test_after_tensorflow_without_keras():
    done = run(
        'import tensorflow\nfrom trainer.keras import keras, tf\n'
        'assert tf.keras.layers.Dense is keras.layers.Dense'
    )
    assert done.returncode == 0, done.stderr


def test_after_keras_3_is_a_clear_error():
    done = run('import tensorflow\ntensorflow.keras.layers.Dense\nimport trainer.keras')
    assert done.returncode != 0
    assert 'the trainer needs Keras 2: import trainer.keras first' in done.stderr
