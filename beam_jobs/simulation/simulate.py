"""Writes a simulated log, and next to it the truth, which no model can beat.

log/part-*.parquet       the log, in the format of the reader `generic`
truth/part-*.parquet     `probability` of a click, row by row as in the log's files
truth/ceiling.json       AUC, GAUC, log loss and PCOC of the true probabilities, per domain;
                         written last
simulation.json          what was simulated: preset, rows and seed; written first
"""

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs.simulation.impressions import Impressions, calibrate, draw
from beam_jobs.simulation.presets import find_preset
from beam_jobs.simulation.world import World, generator, make_world
from mdctr import storage
from mdctr.days import SECONDS_PER_DAY
from mdctr.errors import UserError
from mdctr.metrics import domain_metrics

logger = logging.getLogger(__name__)

GROUP_ROWS = 1 << 18
_GROUPS_PER_FILE = 8
_SEED_ROWS = 2
_LOW_CARDINALITY = [
    'click',
    'position',
    'domain',
    'user_group',
    'user_city',
    'user_gender',
    'item_category',
    'item_brand',
    'user_gender_id',
    'user_age_level',
    'user_star_level',
]


class Outcomes(NamedTuple):
    """The columns that the ceiling is computed from, `[rows]`."""

    domain: np.ndarray
    user: np.ndarray
    click: np.ndarray
    probability: np.ndarray
    day: np.ndarray


def simulate(
    preset: str, rows: int, directory: str, seed: int = 1, ceiling: bool = True
) -> dict[str, Any]:
    """Writes a log of impressions, ordered by time.

    The same preset, rows and seed give the same bytes, so that a simulation that was killed is
    completed by repeating it. A simulation that is complete is left as it is.

    Args:
        preset: Name of one of `beam_jobs.simulation.presets.PRESETS`.
        rows: Number of impressions.
        directory: Directory in which `log` and `truth` are created, in a workspace.
        seed: Random seed of the world and of the rows.
        ceiling: Whether to compute `truth/ceiling.json`, which needs every row's user, click
            and probability in memory.

    Returns:
        The contents of `ceiling.json`: the metrics of the whole log (`all`) and of its last
        day (`last_day`); empty without it.

    Raises:
        UserError: Unknown preset, too few rows, or a directory that has another log or cannot
            be written.
    """
    if rows < 1000:
        raise UserError(f'A log of {rows} rows is too small to simulate: ask for 1000 or more.')
    settings = {'preset': find_preset(preset).name, 'rows': rows, 'seed': seed}
    truth = storage.join(directory, 'truth', 'ceiling.json')
    with storage.reporting_errors(directory):
        _claim(directory, settings)
        if ceiling and storage.is_file(truth):
            logger.info('%s is up to date', directory)
            complete: dict[str, Any] = storage.read_json(truth)
            return complete
        world = calibrate(make_world(find_preset(preset), rows, seed), seed)
        outcomes = list(_write(world, rows, directory, seed, ceiling))
        if not ceiling:
            return {}
        metrics = _ceiling(world, outcomes)
        storage.write_json(truth, metrics)
    return metrics


def _claim(directory: str, settings: dict[str, Any]) -> None:
    """Records the settings of the simulation; refuses a directory that has another log."""
    path = storage.join(directory, 'simulation.json')
    if not storage.is_file(path) and not storage.exists(storage.join(directory, 'log')):
        storage.create(path, json.dumps(settings).encode())
    if not storage.is_file(path) or storage.read_json(path) != settings:
        raise UserError(
            f'{directory} already contains another log: remove it, or use another directory.'
        )


def _write(
    world: World, rows: int, directory: str, seed: int, outcomes: bool
) -> Iterator[Outcomes]:
    """Writes the files, one row group at a time.

    Yields:
        The outcomes of each row group, if they are wanted.
    """
    groups = -(-rows // GROUP_ROWS)
    texts = _texts(world)
    start = np.datetime64(world.preset.first_day).astype('datetime64[s]').astype(np.int64)
    for first in range(0, groups, _GROUPS_PER_FILE):
        name = f'part-{first // _GROUPS_PER_FILE:05d}.parquet'
        with (
            _parquet_file(storage.join(directory, 'log', name), _LOW_CARDINALITY) as log,
            _parquet_file(storage.join(directory, 'truth', name), []) as truth,
        ):
            for group in range(first, min(first + _GROUPS_PER_FILE, groups)):
                begin, end = group * GROUP_ROWS, min((group + 1) * GROUP_ROWS, rows)
                rng = generator(seed, _SEED_ROWS, group)
                # Each group has its own interval of time, so that the log is ordered.
                times = (begin + np.sort(rng.random(end - begin)) * (end - begin)) / rows
                drawn = draw(world, rng, times)
                click = (rng.random(end - begin) < drawn.probability).astype(np.int8)
                log(_columns(world, texts, drawn, click, start))
                truth(pa.table({'probability': drawn.probability}))
                if outcomes:
                    yield Outcomes(
                        drawn.domain.astype(np.int16),
                        drawn.user,
                        click,
                        drawn.probability,
                        drawn.day.astype(np.int16),
                    )


@contextlib.contextmanager
def _parquet_file(path: str, dictionary: list[str]) -> Iterator[Callable[[pa.Table], None]]:
    """Context of a function that writes a table as a row group of a Parquet file.

    Args:
        path: Path of the file, which appears when the context is left.
        dictionary: Names of the columns that are dictionary-encoded.
    """
    with storage.atomic_file(path) as file, contextlib.ExitStack() as stack:
        writer: pq.ParquetWriter | None = None

        def write(rows: pa.Table) -> None:
            nonlocal writer
            if writer is None:
                writer = stack.enter_context(
                    pq.ParquetWriter(file, rows.schema, use_dictionary=dictionary)
                )
            writer.write_table(rows)

        yield write


def _texts(world: World) -> dict[str, tuple[pa.Array, np.ndarray]]:
    """The distinct values of each user property that is text, and each user's code."""
    texts = {}
    for name, column in world.user_properties.items():
        if column.dtype.kind == 'U':
            values, codes = np.unique(column, return_inverse=True)
            texts[name] = pa.array(values), codes.astype(np.int32)
    return texts


def _columns(
    world: World,
    texts: dict[str, tuple[pa.Array, np.ndarray]],
    drawn: Impressions,
    click: np.ndarray,
    start: int,
) -> pa.Table:
    columns = {
        'user_id': drawn.user,
        'item_id': drawn.item,
        'timestamp': start + (drawn.day * SECONDS_PER_DAY).astype(np.int64),
        'click': click,
    }
    if not world.preset.columns:
        columns['domain'] = _dictionary(drawn.domain, pa.array(world.domains))
    for name, values in world.user_properties.items():
        columns[name] = (
            values[drawn.user]
            if name not in texts
            else _dictionary(texts[name][1][drawn.user], texts[name][0])
        )
    columns |= {name: values[drawn.item] for name, values in world.item_properties.items()}
    columns['position'] = drawn.position
    return pa.table(columns)


def _dictionary(codes: np.ndarray, values: pa.Array) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes), values)


def _ceiling(world: World, outcomes: list[Outcomes]) -> dict[str, Any]:
    rows = Outcomes(*(np.concatenate(parts) for parts in zip(*outcomes, strict=True)))
    names = dict(enumerate(world.domains))
    last = rows.day == rows.day.max()
    return {
        'all': domain_metrics(rows.domain, rows.user, rows.click, rows.probability, names),
        'last_day': domain_metrics(
            rows.domain[last], rows.user[last], rows.click[last], rows.probability[last], names
        ),
    }
