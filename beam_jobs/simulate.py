"""Writes a simulated log, and beside it the truth that no model can pass.

    log/part-*.parquet       the log, in the layout of the reader `generic`
    truth/part-*.parquet     `probability`: of a click, row for row with the log's files
    truth/ceiling.json       AUC, GAUC, log loss and PCOC of the true probabilities, per domain
"""

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs.errors import UserError
from beam_jobs.metrics import domain_metrics
from beam_jobs.simulation.impressions import Impressions, calibrate, draw
from beam_jobs.simulation.presets import find_preset
from beam_jobs.simulation.world import World, generator, make_world

GROUP_ROWS = 1 << 18
_GROUPS_A_FILE = 8
_SEED_ROWS = 2
_DAY = 86400
_FEW_VALUES = ['click', 'position', 'domain', 'user_group', 'user_city', 'user_gender',
               'item_category', 'item_brand', 'user_gender_id', 'user_age_level',
               'user_star_level']


def simulate(preset: str, rows: int, directory: str, seed: int = 1,
             ceiling: bool = True) -> dict:
    """Writes a log of `rows` impressions, ordered by time.

    The same preset, rows and seed give the same bytes.

    Args:
        preset: a name of `beam_jobs.simulation.presets.PRESETS`.
        rows: how many impressions.
        directory: where `log` and `truth` go; there may be none yet.
        seed: of the world and of the rows.
        ceiling: whether `truth/ceiling.json` is computed, for which memory holds every row's
            user, click and probability.

    Returns:
        What `ceiling.json` holds: `all`, the metrics of the whole log, and `last_day`, those of
        its last day; empty without it.

    Raises:
        UserError: no such preset, too few rows, or the directory is in use or cannot be
            written.
    """
    if rows < 1000:
        raise UserError(f'A log of {rows} rows is too small to simulate: ask for 1000 or more.')
    world = calibrate(make_world(find_preset(preset), rows, seed), seed)
    try:
        for name in ('log', 'truth'):
            os.makedirs(os.path.join(directory, name))
        kept = _write(world, rows, directory, seed)
        if not ceiling:
            return {}
        found = _ceiling(world, kept)
        with open(os.path.join(directory, 'truth', 'ceiling.json'), 'w',
                  encoding='utf-8') as file:
            json.dump(found, file, indent=1)
    except FileExistsError:
        raise UserError(f'{directory} holds a simulated log already: remove it, or name '
                        'another directory.') from None
    except OSError as error:
        raise UserError(f'{directory} cannot be written: {error.strerror or error}.') from None
    return found


def _write(world: World, rows: int, directory: str, seed: int) -> list[tuple]:
    """Writes the files, a row group at a time; returns what the ceiling is computed from."""
    groups = -(-rows // GROUP_ROWS)
    texts = _texts(world)
    start = np.datetime64(world.preset.first_day).astype('datetime64[s]').astype(np.int64)
    kept = []
    for first in range(0, groups, _GROUPS_A_FILE):
        name = f'part-{first // _GROUPS_A_FILE:05d}.parquet'
        log = truth = None
        try:
            for group in range(first, min(first + _GROUPS_A_FILE, groups)):
                begin, end = group * GROUP_ROWS, min((group + 1) * GROUP_ROWS, rows)
                rng = generator(seed, _SEED_ROWS, group)
                # Each group has its own stretch of time, so the log is in order.
                times = (begin + np.sort(rng.random(end - begin)) * (end - begin)) / rows
                made = draw(world, rng, times)
                click = (rng.random(end - begin) < made.probability).astype(np.int8)
                made_rows = _columns(world, texts, made, click, start)
                probability = pa.table({'probability': made.probability})
                if log is None:
                    log = pq.ParquetWriter(os.path.join(directory, 'log', name),
                                           made_rows.schema, use_dictionary=_FEW_VALUES)
                    truth = pq.ParquetWriter(os.path.join(directory, 'truth', name),
                                             probability.schema, use_dictionary=False)
                log.write_table(made_rows)
                truth.write_table(probability)
                kept.append((made.domain.astype(np.int16), made.user, click, made.probability,
                             made.day.astype(np.int16)))
        finally:
            for writer in (log, truth):
                if writer is not None:
                    writer.close()
    return kept


def _texts(world: World) -> dict[str, tuple[pa.Array, np.ndarray]]:
    """Of each property of users that is a text its values, and the place of each user's."""
    made = {}
    for name, column in world.user_properties.items():
        if column.dtype.kind == 'U':
            values, places = np.unique(column, return_inverse=True)
            made[name] = pa.array(values), places.astype(np.int32)
    return made


def _columns(world: World, texts: dict[str, tuple[pa.Array, np.ndarray]], made: Impressions,
             click: np.ndarray, start: int) -> pa.Table:
    columns = {'user_id': made.user, 'item_id': made.item,
               'timestamp': start + (made.day * _DAY).astype(np.int64), 'click': click}
    if not world.preset.columns:
        columns['domain'] = _dictionary(made.domain, pa.array(world.domains))
    for name, values in world.user_properties.items():
        columns[name] = values[made.user] if name not in texts else _dictionary(
            texts[name][1][made.user], texts[name][0])
    columns |= {name: values[made.item] for name, values in world.item_properties.items()}
    columns['position'] = made.position
    return pa.table(columns)


def _dictionary(places: np.ndarray, values: pa.Array) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(places), values)


def _ceiling(world: World, kept: list[tuple]) -> dict:
    domain, user, click, probability, day = (np.concatenate(parts)
                                             for parts in zip(*kept, strict=True))
    names = dict(enumerate(world.domains))
    last = day == day.max()
    return {'all': domain_metrics(domain, user, click, probability, names),
            'last_day': domain_metrics(domain[last], user[last], click[last],
                                       probability[last], names)}
