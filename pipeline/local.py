"""Runs the pipeline on this machine, through kfp.local."""

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator

from beam_jobs.errors import UserError
from components.steps import ERROR_FILE
from pipeline.config import RunConfig
from pipeline.output import StepOutput


@contextlib.contextmanager
def _shown() -> Iterator[None]:
    output = StepOutput(sys.stdout)
    try:
        with contextlib.redirect_stdout(output):
            yield
    finally:
        output.close()


class StepFailed(Exception):
    """A step ended with an error that is no input's fault; its own output tells it."""


def run_local(config: RunConfig, workspace: str, beam_args: list[str]) -> dict:
    """Runs every step of the pipeline as a process of this machine, one after another.

    Args:
        config: the configuration.
        workspace: the directory that the steps share, made if absent.
        beam_args: ordinary Beam options; empty runs the Beam jobs in memory.

    Returns:
        The pipeline's output artifacts by name (`pipeline.pipeline.Outputs`).

    Raises:
        UserError: a step ended with an error of the user's input: its own sentence.
        StepFailed: a step failed otherwise; its output has the traceback.
    """
    from pipeline.pipeline import training_pipeline

    workspace = os.path.abspath(workspace)
    return _run(training_pipeline(config, workspace, beam_args), workspace)


def walk_local(config: RunConfig, workspace: str, beam_args: list[str]) -> int:
    """Runs the continual pipeline once for each period that waits, until none does.

    Each period is a run of its own, since which ones there are is known only when the data of
    the period before is built, and since a walk that is killed then has nothing to remember:
    the pipeline finds where it stands from what is pushed, as on a cluster.

    Args:
        config: with a section `continual`.
        workspace, beam_args: as of `run_local`.

    Returns:
        How many periods there were.

    Raises:
        UserError, StepFailed: as `run_local`; the periods before are done.
    """
    from components.continual.context import Context
    from components.continual.extend import more
    from pipeline.continual import continual_pipeline

    workspace = os.path.abspath(workspace)
    context = Context(config.name, config.continual, workspace)
    pipeline = continual_pipeline(config, workspace, beam_args, conditional=False)
    done, last = 0, ''
    # Once in any case: what is said of a late day, or of another dataset, is said there.
    while not last or more(context, config.dataset, config.evaluate):
        period = _run(pipeline, workspace)['period']
        if not period:
            break
        if period == last:
            raise UserError(f'Period {period} was trained twice and its model is not pushed: '
                            'see what the runs above say of it.')
        done, last = done + 1, period
    return done


def _run(pipeline: Callable, workspace: str) -> dict:
    from kfp import local

    os.makedirs(workspace, exist_ok=True)
    error_file = os.path.join(workspace, 'error.txt')
    if os.path.exists(error_file):
        os.remove(error_file)
    os.environ[ERROR_FILE] = error_file
    # What a step prints is shown as it comes, not when its buffer is full.
    os.environ.setdefault('PYTHONUNBUFFERED', '1')
    os.environ.setdefault('PYTHONWARNINGS', 'ignore')
    local.init(runner=local.SubprocessRunner(use_venv=False),
               pipeline_root=os.path.join(workspace, 'pipelines'))
    with warnings.catch_warnings(), _shown():
        # The steps run in this environment, whatever the image is called.
        warnings.simplefilter('ignore', RuntimeWarning)
        try:
            return pipeline().outputs
        except RuntimeError as error:
            if os.path.exists(error_file):
                with open(error_file, encoding='utf-8') as file:
                    raise UserError(file.read()) from None
            raise StepFailed('A step of the pipeline failed; what it printed above says '
                             'where.') from error
