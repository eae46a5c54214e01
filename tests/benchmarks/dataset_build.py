"""Measures the speed and the memory of a dataset build.

    python -m tests.benchmarks.dataset_build --rows 2000000 [--sample 20000] [--in-memory]

builds a dataset of simulated positives (four sampled negatives each, two histories, encoding,
statistics), then the same of a sample with a plain element-by-element Beam pipeline, compares
the examples of the two, and prints rows in and examples out per second, CPU seconds, and the
peak memory of all processes of a build. Each build runs in a process of its own, whose time
includes imports.

docs/results/performance.md has the figures.

Where the time goes, in CPU seconds, of 1.25 million examples (250,000 positives) in one process
on a busy machine: 13 in all, most of them imports and statistics, which do not depend on the
size, and of these

    drawing negatives                      0.48
    ids, histories                         0.13
    shuffling                              0.12
    taking columns, writing Parquet        0.91

Findings:

- On ids, dictionary encoding and zstd at level 1 write 2.7 million examples in a CPU second
  and read 8.9, in row groups of 32,768; at level 3, 2.3 and 9.0, 3 % smaller. In row groups of
  8,192 rows it is 1.8 and 5.9, and a third larger.
- TFDV takes at least ten microseconds per example: it gets a sample, drawn by key.
- Rows pass through Beam's shuffle as Arrow streams compressed by zstd, level 1: 38 bytes for a
  row of 108; lz4 takes as long and leaves 67. A pickled slice of a batch takes the whole batch.
- Python objects are created only for the distinct users, items and domains of a batch (to hash
  them).
"""

import argparse
import collections
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.beam_jobs.examples_by_hand import read_examples
from tests.benchmarks.element_by_element import build, count_examples
from tests.benchmarks.simulated_log import SimulatedLog, benchmark_config

_TWO_WORKERS = ['--direct_running_mode=multi_processing', '--direct_num_workers=2']


@dataclass(frozen=True)
class Figures:
    """Time and memory of one build."""

    name: str
    rows: int
    examples: int
    seconds: float
    cpu_seconds: float
    peak_megabytes: float

    def __str__(self) -> str:
        return (
            f'{self.name:<30}{self.rows:>12,}{self.rows / self.seconds:>12,.0f}'
            f'{self.examples:>13,}{self.examples / self.seconds:>14,.0f}'
            f'{self.seconds:>10.1f}{self.cpu_seconds:>9.1f}{self.peak_megabytes:>9,.0f}'
        )


_EXAMPLES = 'dataset/*/examples/*/*.parquet'
_HEADER = (
    f'{"":<30}{"rows in":>12}{"rows/s":>12}{"examples out":>13}{"examples/s":>14}'
    f'{"seconds":>10}{"CPU s":>9}{"peak MB":>9}'
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--rows', type=int, default=2_000_000, help='positives')
    parser.add_argument(
        '--sample',
        type=int,
        default=20_000,
        help='positives of the element-by-element pipeline; 0 leaves it out',
    )
    parser.add_argument(
        '--in-memory', action='store_true', help='in one process rather than with two workers'
    )
    parser.add_argument('--directory', help='where datasets are written, and kept')
    parser.add_argument('--build', choices=['vectorized', 'plain'], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    beam_args = [] if arguments.in_memory else _TWO_WORKERS
    if arguments.build:  # each build is measured in a process of its own
        _build(arguments.build, arguments.rows, arguments.directory, beam_args)
        return
    with tempfile.TemporaryDirectory() as temporary:
        directory = arguments.directory or temporary
        figures = [_measured('vectorized', arguments.rows, f'{directory}/dataset', beam_args)]
        if arguments.sample:
            figures.append(_measured('plain', arguments.sample, f'{directory}/plain', []))
            _build('vectorized', arguments.sample, f'{directory}/sample', [])
            _compare(f'{directory}/sample', f'{directory}/plain')
        written = sum(path.stat().st_size for path in Path(directory).glob(_EXAMPLES))
    print(f'{written / figures[0].examples:.1f} bytes an example')
    print(_HEADER)
    for some in figures:
        print(some)
    if arguments.sample:
        one, other = (some.examples / some.seconds for some in figures)
        print(f'The examples of the sample are the same; {one / other:.1f} times as fast.')


def _build(how: str, rows: int, directory: str, beam_args: list[str]) -> None:
    config, log = benchmark_config(rows), SimulatedLog(rows)
    if how == 'plain':
        os.makedirs(directory)
        build(log, config, directory)
    else:
        from beam_jobs.build.pipeline import build_dataset

        build_dataset(
            config, 'benchmark', directory, directory, beam_args, progress=False, reader=log
        )


def _measured(how: str, rows: int, directory: str, beam_args: list[str]) -> Figures:
    command = [
        sys.executable,
        '-W',
        'ignore',
        '-m',
        'tests.benchmarks.dataset_build',
        f'--build={how}',
        f'--rows={rows}',
        f'--directory={directory}',
    ]
    return Figures(how, rows, 5 * rows, *_run(command + ['--in-memory'] * (not beam_args)))


def _compare(ours: str, theirs: str) -> None:
    """Checks that two builds made the same examples, in any order."""
    for split in ('train', 'test'):
        one = collections.Counter(
            tuple(sorted((name, tuple(ids)) for name, ids in example.items()))
            for example in read_examples(ours, split)
        )
        other = count_examples(f'{theirs}/{split}-*.tfrecord')
        if one != other or not one:
            raise AssertionError(
                f'The examples of {split} differ: {sum(one.values())} and '
                f'{sum(other.values())}, {len(one - other)} not in both.'
            )


def _run(command: list[str]) -> tuple[float, float, float]:
    """Runs a process; returns seconds, CPU seconds and peak MB, with all its descendants."""
    peak, cpu, start = 0.0, _cpu_seconds(), time.perf_counter()
    process = subprocess.Popen(command)
    while process.poll() is None:
        time.sleep(0.2)
        peak = max(peak, _resident(process.pid) / 2**20)
    if process.returncode:
        raise SystemExit(f'{" ".join(command)} failed.')
    return time.perf_counter() - start, _cpu_seconds() - cpu, peak


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _resident(process: int) -> int:
    """Bytes of memory of a process and its descendants."""
    pages, parents = {}, {}
    for name in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{name}/stat', encoding='utf-8') as file:
                fields = file.read().rpartition(')')[2].split()
        except OSError:
            continue
        parents[int(name)], pages[int(name)] = int(fields[1]), int(fields[21])
    total, family = 0, {process}
    while family:
        total += sum(pages.get(one, 0) for one in family)
        family = {one for one, parent in parents.items() if parent in family}
    return total * os.sysconf('SC_PAGE_SIZE')


if __name__ == '__main__':
    main()
