"""What the validation of a dataset finds, in Markdown: forty faulty logs and twenty sound ones.

Each log is simulated, encoded as in a build and validated with the defaults of the section
`data_validation`.
A fault is in the test day, in all rows or in those of a domain of a certain size. The sound
logs are small, and their rows independent.

    python -m tests.benchmarks.validation_faults
"""

import argparse
import os
import tempfile
from collections.abc import Iterator

import numpy as np
import pandas as pd

from beam_jobs.validation.config import DataValidationConfig
from beam_jobs.validation.result import Validation
from beam_jobs.validation.validate import validate_dataset
from tests.beam_jobs.validation.simulated_logs import (
    FAULTS,
    PLACES,
    LogDataset,
    is_test,
    make_log,
)

ROWS = 120_000


def validate(log: pd.DataFrame, directory: str, by: str = 'days') -> Validation:
    """Encodes a log and validates it."""
    dataset = LogDataset(log, by).write(os.path.join(directory, 'dataset'))
    return validate_dataset(dataset, os.path.join(directory, 'out'), DataValidationConfig())


def fault_rows(rows: int = ROWS) -> Iterator[list[str]]:
    """Cells of the table of faults: the kind, and what was found for each size of domain."""
    for kind, inject in FAULTS.items():
        cells = [kind]
        for number, domain in enumerate(PLACES):
            log = make_log(rows, seed=100)
            where = is_test(log) & ((domain is None) | (log['domain'] == domain))
            log = inject(log, np.asarray(where), np.random.default_rng(number))
            with tempfile.TemporaryDirectory() as directory:
                found = validate(log, directory)
            cells.append(_found(found))
        yield cells


def sound_rows() -> Iterator[list[str]]:
    """Cells of the table of sound logs."""
    for seed in range(20):
        rows = 200 + 400 * seed // 19
        with tempfile.TemporaryDirectory() as directory:
            found = validate(make_log(rows, seed, drift=0.0), directory)
        yield [str(seed + 1), f'{rows}', f'{found.comparisons:,}', _found(found)]


def _found(validation: Validation) -> str:
    checks = dict.fromkeys(change.check for change in validation.changes if change.failed)
    failed = ', '.join(f'`{check}`' for check in checks)
    if len(validation.anomalies) > sum(change.failed for change in validation.changes):
        failed = ', '.join([*([failed] if failed else []), 'schema'])
    return failed or ('warning' if validation.warnings else 'nothing')


def _print_table(header: list[str], rows: Iterator[list[str]]) -> None:
    print('| ' + ' | '.join(header) + ' |')
    print('|' + ' --- |' * len(header))
    for cells in rows:
        print('| ' + ' | '.join(cells) + ' |', flush=True)


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--rows', type=int, default=ROWS, help='rows of a log (%(default)s)')
    parser.add_argument('--sound-only', action='store_true', help='print the second table only')
    arguments = parser.parse_args()
    if not arguments.sound_only:
        _print_table(['fault in the test day', *PLACES.values()], fault_rows(arguments.rows))
        print()
    _print_table(['log', 'rows', 'comparisons', 'found'], sound_rows())


if __name__ == '__main__':
    main()
