"""Filters the output of a local run: leaves out the log messages of Kubeflow's executor."""

import io
import re
from typing import TextIO

_PREFIX = re.compile(r'\[KFP Executor \S+ ([\d:]+),\d+ \w+\]: ')
_COLOR = re.compile(r'\x1b?\[\d+m')
_NOISE = ('Looking for component `', 'Loading KFP component "')


class StepOutput(io.TextIOBase):
    """Writes lines to a stream, without the executor's echo of its input (pages of JSON).

    The executor's time stamps are shortened, and color codes are removed unless the stream is a
    terminal.

    Args:
        target: Stream that the lines are written to.
    """

    def __init__(self, target: TextIO):
        self._target = target
        self._line = ''
        self._echo: str | None = None  # indentation of the JSON that is skipped

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split('\n')
        for line in lines:
            self._write_line(line)
        return len(text)

    def flush(self) -> None:
        self._target.flush()

    def close(self) -> None:
        """Writes the incomplete last line; the stream stays open."""
        if self._line:
            self._write_line(self._line)
        self._line = ''

    def _write_line(self, line: str) -> None:
        if self._echo is not None:
            if line.rstrip() == self._echo + '}':
                self._echo = None
        elif 'Got executor_input:' in line:
            self._echo = line[: len(line) - len(line.lstrip())]
        elif not any(noise in line for noise in _NOISE):
            line = _PREFIX.sub(r'\1  ', line)
            if not self._target.isatty():
                line = _COLOR.sub('', line)
            self._target.write(line + '\n')
            self._target.flush()
