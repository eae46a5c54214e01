"""What a command logs."""

import subprocess
import sys

LOGS = """
import logging
from mdctr.console import quiet_libraries

quiet_libraries()
library, ours = logging.getLogger('absl'), logging.getLogger('trainer.train')
library.setLevel(logging.WARNING)  # as TensorFlow does when it exports a model
library.warning('a warning of a library')
library.error('an error of a library')
ours.info('progress')
"""


def test_progress_and_errors_but_no_warnings_of_libraries():
    found = subprocess.run([sys.executable, '-c', LOGS], capture_output=True, text=True)
    lines = [line.split('  ', 1)[1] for line in found.stdout.splitlines()]
    assert lines == ['an error of a library', 'progress']
    assert not found.stderr
