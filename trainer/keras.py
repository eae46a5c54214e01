"""TensorFlow with Keras 2: `from trainer.keras import keras, tf` in every module here.

TensorFlow Recommenders needs Keras 2, which TensorFlow uses only if this is set before
`tf.keras` is first used; this module tells it.
"""

import os

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # start-up notes of GPU libraries are errors
os.environ['TF_USE_LEGACY_KERAS'] = '1'

import tensorflow as tf
import tf_keras as keras

# `tf.keras` is loaded on its first use: this catches a process that used it before us.
if tf.keras.layers.Layer is not keras.layers.Layer:
    raise ImportError(
        'TensorFlow was imported with Keras 3 in this process and the trainer needs Keras 2: '
        'import trainer.keras first, or set TF_USE_LEGACY_KERAS=1.'
    )

__all__ = ['keras', 'tf']
