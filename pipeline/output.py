"""What a local run prints, without what Kubeflow's executor says to itself."""

import io
import re
from typing import TextIO

_PREFIX = re.compile(r'\[KFP Executor \S+ ([\d:]+),\d+ \w+\]: ')
_COLOR = re.compile(r'\x1b?\[\d+m')
_NOISE = ('Looking for component `', 'Loading KFP component "')


class StepOutput(io.TextIOBase):
    """Passes lines on, less the executor's echo of its input, which is pages of JSON.

    Its time stamps are shortened, and colours are left out where nobody sees them.

    Args:
        target: where the lines go.
    """

    def __init__(self, target: TextIO):
        self._target = target
        self._line = ''
        self._echo: str | None = None  # the indentation of the JSON that is being left out

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split('\n')
        for line in lines:
            self._pass_on(line)
        return len(text)

    def flush(self) -> None:
        self._target.flush()

    def close(self) -> None:
        """Passes on what is left of a line; the target stays open."""
        if self._line:
            self._pass_on(self._line)
        self._line = ''

    def _pass_on(self, line: str) -> None:
        if self._echo is not None:
            if line.rstrip() == self._echo + '}':
                self._echo = None
        elif 'Got executor_input:' in line:
            self._echo = line[:len(line) - len(line.lstrip())]
        elif not any(noise in line for noise in _NOISE):
            line = _PREFIX.sub(r'\1  ', line)
            if not self._target.isatty():
                line = _COLOR.sub('', line)
            self._target.write(line + '\n')
            self._target.flush()
