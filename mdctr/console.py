"""Logging of every process of the project."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from logging import LogRecord

# Environment variable with the path of the file in which a step reports a `UserError` to the
# command that started it.
ERROR_FILE = 'MDCTR_ERROR_FILE'


_PACKAGES = ('mdctr', 'beam_jobs', 'trainer', 'components', 'pipeline')


def quiet_libraries() -> None:
    """Logs the progress and warnings of this project, and only the errors of libraries."""
    import logging
    import warnings

    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    warnings.simplefilter('ignore')
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(_is_wanted)  # libraries change the levels of their loggers
    logging.basicConfig(
        format='%(asctime)s  %(message)s', datefmt='%H:%M:%S', handlers=[handler]
    )
    logging.getLogger().setLevel(logging.ERROR)
    for name in _PACKAGES:
        logging.getLogger(name).setLevel(logging.INFO)


def _is_wanted(record: LogRecord) -> bool:
    return record.levelname in ('ERROR', 'CRITICAL') or record.name.split('.')[0] in _PACKAGES
