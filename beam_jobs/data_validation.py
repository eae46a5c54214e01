"""TensorFlow Data Validation, `tfdv`, without its note that this is no notebook."""

import contextlib
import io

with contextlib.redirect_stderr(io.StringIO()):
    import tensorflow_data_validation as tfdv

__all__ = ['tfdv']
