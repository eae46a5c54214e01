"""Which lines of a step's output a local run leaves out."""

import io

from pipeline.step_output import StepOutput

GIVEN = """12:00:00.000 - INFO - Executing task \x1b[96m'train'\x1b[0m
    [KFP Executor 2026-11-21 12:03:59,237 INFO]: Looking for component `train` in `/tmp/x`
    [KFP Executor 2026-11-21 12:03:59,237 INFO]: Got executor_input:
    {
        "inputs": {
            "a": "}"
        }
    }
    [KFP Executor 2026-11-21 12:04:01,237 INFO]: epoch 1, step 1: loss 0.6957
    a list [1, 2] and {
    }
unfinished"""
KEPT = """12:00:00.000 - INFO - Executing task 'train'
    12:04:01  epoch 1, step 1: loss 0.6957
    a list [1, 2] and {
    }
unfinished
"""


def test_leaves_out_the_echo_alone():
    for size in (1, 7, len(GIVEN)):
        target = io.StringIO()
        output = StepOutput(target)
        for first in range(0, len(GIVEN), size):
            assert output.write(GIVEN[first : first + size]) == len(GIVEN[first : first + size])
        output.close()
        assert target.getvalue() == KEPT
        target.write('still open')
