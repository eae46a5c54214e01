"""Runs the steps of a local pipeline in this process, which saves most of their time."""

import pathlib
import sys

import pytest
from kfp.dsl import executor_main
from kfp.local import subprocess_task_handler

from trainer.export import push
from trainer.export.golden import check_golden


def run_steps_here(patch: pytest.MonkeyPatch, folder: pathlib.Path) -> None:
    """Lets steps and pushes start no processes, so that TensorFlow is imported only once.

    Args:
        patch: Decides how long that holds.
        folder: Directory for the code of the steps.
    """

    def run(full_command: list[str]) -> int:
        shell, options, _, source, *arguments = full_command
        assert (shell, options) == ('sh', '-ec')
        path = folder / 'step.py'
        path.write_text(source)
        with patch.context() as inner:
            inner.setattr(sys, 'argv', ['', '--component_module_path', str(path), *arguments])
            try:
                executor_main.executor_main()
            except SystemExit as error:
                print(error)
                return 1
        return 0

    def check(model: str) -> None:
        assert check_golden(model) is None

    patch.setattr(subprocess_task_handler, 'run_local_subprocess', run)
    patch.setattr(push, '_check_golden', check)
