"""What a command logs."""

import subprocess
import sys

LOGS = """
import logging
from mdctr.console import quiet_libraries

quiet_libraries()
absl, other = logging.getLogger('absl'), logging.getLogger('other')
absl.setLevel(logging.WARNING)  # as TensorFlow does when it exports a model
for logger in (absl, other):
    logger.warning('a warning of %s', logger.name)
    logger.error('an error of %s', logger.name)
logging.getLogger('trainer.train').info('progress')
theirs = logging.getLogger('their_reader')
theirs.setLevel(logging.INFO)
theirs.info('progress of a reader')
"""


def test_progress_and_errors_but_no_warnings_of_libraries():
    found = subprocess.run([sys.executable, '-c', LOGS], capture_output=True, text=True)
    lines = [line.split('  ', 1)[1] for line in found.stdout.splitlines()]
    assert lines == [
        'an error of absl',
        'an error of other',
        'progress',
        'progress of a reader',
    ]
    assert not found.stderr
