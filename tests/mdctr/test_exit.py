"""What a process of mdctr does when it exits."""

import subprocess
import sys


def test_the_last_collection_leaves_out_what_was_imported():
    # What was registered first runs last.
    code = (
        'import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 1000));'
        'import mdctr'
    )
    found = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert found.stdout == 'True\n'
