"""Beam's local job service, with two workers for a pipeline; Beam's own has one."""

import signal
import sys
from typing import Any

from apache_beam.runners.portability import local_job_service_main
from apache_beam.runners.portability.fn_api_runner import fn_runner


class TwoWorkersRunner(fn_runner.FnApiRunner):
    """The runner of the job service: a pipeline does not reach its option for workers."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._num_workers = 2


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    fn_runner.FnApiRunner = TwoWorkersRunner
    local_job_service_main.run(sys.argv[1:])
