"""TensorFlow Data Validation, without its note that this is no notebook."""

import contextlib
import io
import os

os.environ.setdefault('TF_USE_LEGACY_KERAS', '1')  # importing Keras 3 takes half a second

with contextlib.redirect_stderr(io.StringIO()):
    import tensorflow_data_validation as tfdv
    from tensorflow_data_validation.statistics import stats_impl
    from tensorflow_data_validation.statistics.generators import basic_stats_generator
    from tensorflow_data_validation.statistics.generators import (
        top_k_uniques_sketch_stats_generator as top_k,
    )

__all__ = ['basic_stats_generator', 'stats_impl', 'tfdv', 'top_k']
