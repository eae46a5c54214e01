"""Runs the pipeline on this machine, through kfp.local."""

import atexit
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from mdctr import storage
from mdctr.child_process import child_processes
from mdctr.console import ERROR_FILE
from mdctr.errors import UserError
from pipeline.config import RunConfig
from pipeline.step_output import StepOutput


@contextlib.contextmanager
def _filtered_output() -> Iterator[None]:
    """Context in which standard output goes through `StepOutput`."""
    output = StepOutput(sys.stdout)
    try:
        with contextlib.redirect_stdout(output):
            yield
    finally:
        output.close()


class StepFailed(Exception):
    """A step failed for a reason other than user input; see its output."""


class Stopped(SystemExit):
    """SIGTERM stopped the run, and its steps have ended."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


def run_local(
    config: RunConfig, workspace: str, beam_args: list[str], again: bool = False
) -> dict[str, Any]:
    """Runs the steps of the pipeline one after another, each as a process on this machine.

    Args:
        config: Configuration of the pipeline.
        workspace: Directory or URL that the steps share.
        beam_args: Beam options; if empty, the Beam jobs run in memory.
        again: Whether to train even if there is a finished run of the same dataset and
            settings.

    Returns:
        The output artifacts of the pipeline, by name (`pipeline.training_pipeline.Outputs`).

    Raises:
        UserError: A step reported an error in the user's input.
        StepFailed: A step failed for another reason; its output has the traceback.
        Stopped: This process received SIGTERM.
    """
    from pipeline.training_pipeline import training_pipeline

    workspace = storage.resolve(workspace)
    return _run(training_pipeline(config, workspace, beam_args, again), workspace)


def run_pending_periods(config: RunConfig, workspace: str, beam_args: list[str]) -> int:
    """Runs the continual pipeline once for each pending period.

    Each period is a run of its own: the next one is known only after the data of this one has
    been built. A killed process loses nothing, because each run determines its period from the
    pushed models, as on a cluster.

    Args:
        config: Configuration with a section `continual`.
        workspace: Directory or URL that the steps share.
        beam_args: Beam options; if empty, the Beam jobs run in memory.

    Returns:
        The number of periods that ran.

    Raises:
        UserError: As for `run_local`, or no model of a period was pushed in two runs.
        StepFailed: As for `run_local`.
        Stopped: As for `run_local`.
    """
    from components.continual.context import ContinualContext
    from components.continual.extend import more
    from pipeline.continual_pipeline import continual_pipeline

    assert config.continual is not None
    workspace = storage.resolve(workspace)
    context = ContinualContext(config.name, config.continual, workspace)
    pipeline = continual_pipeline(config, workspace, beam_args, conditional=False)
    done, last = 0, ''
    # The first run always takes place: it reports late days and a changed dataset.
    while not last or more(context, config.dataset, config.evaluate):
        period = _run(pipeline, workspace)['period']
        if not period:
            break
        if period == last:
            raise UserError(
                f'Period {period} was trained twice, but its model was not pushed: see the '
                'output of the runs above for the reason.'
            )
        done, last = done + 1, period
    return done


def _local_root(workspace: str) -> str:
    """The local directory of the artifacts that KFP passes between steps.

    It is the workspace, or, if that is on an object store, one that this process removes when
    it ends.
    """
    if not storage.is_url(workspace):
        with storage.reporting_errors(workspace):
            os.makedirs(workspace, exist_ok=True)
        return workspace
    root = tempfile.mkdtemp(prefix='mdctr-run-')
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


def _run(pipeline: Callable[..., Any], workspace: str) -> dict[str, Any]:
    from kfp import local

    root = _local_root(workspace)
    error_file = os.path.join(root, 'error.txt')
    with contextlib.suppress(FileNotFoundError):
        os.remove(error_file)
    os.environ[ERROR_FILE] = error_file
    # Show the output of a step at once, not when its buffer is full.
    os.environ.setdefault('PYTHONUNBUFFERED', '1')
    os.environ.setdefault('PYTHONWARNINGS', 'ignore')
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=os.path.join(root, 'pipelines'),
    )
    with warnings.catch_warnings(), _filtered_output(), child_processes() as steps:
        # KFP warns that the image is ignored: the steps run in this environment.
        warnings.simplefilter('ignore', RuntimeWarning)
        try:
            return pipeline().outputs
        except RuntimeError as error:
            if steps.stopping:
                raise Stopped from None
            if os.path.exists(error_file):
                with open(error_file, encoding='utf-8') as file:
                    raise UserError(file.read()) from None
            raise StepFailed(
                'A step of the pipeline failed; its output above has the traceback.'
            ) from error
