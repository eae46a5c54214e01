"""Logging of every process of the project."""

import os
import sys

# Environment variable with the path of the file in which a step reports a `UserError` to the
# command that started it.
ERROR_FILE = 'MDCTR_ERROR_FILE'


def quiet_libraries() -> None:
    """Logs the progress and warnings of this project, and only the errors of libraries."""
    import logging
    import warnings

    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    warnings.simplefilter('ignore')
    handler = logging.StreamHandler(sys.stdout)
    # TensorFlow sets the level of absl's logger when it exports a model.
    handler.addFilter(lambda record: record.name != 'absl' or record.levelno >= logging.ERROR)
    logging.basicConfig(
        format='%(asctime)s  %(message)s', datefmt='%H:%M:%S', handlers=[handler]
    )
    logging.getLogger().setLevel(logging.ERROR)
    for name in ('mdctr', 'beam_jobs', 'trainer', 'components', 'pipeline'):
        logging.getLogger(name).setLevel(logging.INFO)
