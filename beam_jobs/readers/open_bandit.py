"""Open Bandit Dataset: real impressions and clicks of three campaigns of a fashion shop.

Saito et al., Open Bandit Dataset and Pipeline, 2021. The layout is the published one, full or
small: `<policy>/<campaign>/<campaign>.csv` and `<policy>/<campaign>/item_context.csv`, for the
policies `random` and `bts` and the campaigns `all`, `men` and `women`. The campaign is the
domain.

The data does not identify users: `user_id` is the combination of the four user features, so a
"user" is everyone who shares them. An item has another number in every campaign: `item_id` is
`<campaign>/<item>`. The hashed properties of an item differ between the two policies' files
though the items are the same, so those of `bts` are used for both. The probability with which
the policy showed the item is not a property of the impression, and is not read.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from beam_jobs.readers.base import RawBatch, Reader, Shard, raw_batch, text_shards
from beam_jobs.readers.delimited import Dialect, read_delimited, read_small
from beam_jobs.readers.fetch import fetch
from beam_jobs.readers.raw_files import expand, matches
from beam_jobs.readers.tables import KeyedTable
from beam_jobs.readers.values import constant, prefixed, whole_numbers
from beam_jobs.rows.cells import join_columns
from mdctr.errors import UserError
from mdctr.settings import Settings

CAMPAIGNS = ('all', 'men', 'women')
_USER = tuple(f'user_feature_{n}' for n in range(4))
_AFFINITY = 'user-item_affinity_'


class OpenBanditOptions(Settings):
    """Options of the reader `open-bandit`."""

    policies: list[Literal['bts', 'random']] = Field(
        default=['bts', 'random'],
        min_length=1,
        description='Policies whose impressions are read.',
    )


class OpenBanditReader(Reader):
    """Columns: user_id, item_id, timestamp, click, campaign, policy, position,
    user_feature_0 to 3, item_feature_0 (a number) to 3, and affinity, the number that
    stands for the user's past clicks on the shown item.

    Without `inputs`, the small version is fetched. With them, they are the directory that
    holds `bts` and `random`.
    """

    name = 'open-bandit'
    Options = OpenBanditOptions

    def __init__(
        self,
        inputs: Sequence[str] | None,
        options: OpenBanditOptions,
        cache: str,
        columns: Iterable[str] | None = None,
    ):
        super().__init__(inputs, options, cache, columns)
        self._policies = sorted(options.policies)

    def files(self) -> list[str]:
        return [*self._logs, *self._contexts.values()]

    def shards(self) -> list[Shard]:
        return text_shards(self._logs)

    def read(self, shard: Shard) -> Iterator[RawBatch]:
        policy, campaign, _ = shard.path.split('/')[-3:]
        source = '/'.join(shard.path.split('/')[-3:])  # every policy has files of these names
        path = self._contexts[campaign]
        items = self.table(path, _load_items)
        for block in read_delimited(shard, Dialect(), source=source):
            raw, rows = block.columns, len(block.lines)
            missing = {'timestamp', 'item_id', 'click', *_USER} - set(raw)
            if missing:
                raise UserError(
                    f'{shard.path} has no field {min(missing)}: it is not a log of '
                    'the Open Bandit Dataset.'
                )
            columns = {
                name: raw[name]
                for name in ('timestamp', 'click', 'position', *_USER)
                if name in raw
            }
            columns['user_id'] = join_columns([raw[name] for name in _USER])
            columns['campaign'] = constant(campaign, rows)
            columns['policy'] = constant(policy, rows)
            columns['item_id'] = prefixed(campaign, raw['item_id'])
            columns['affinity'] = _affinity(raw)
            columns |= items.join(raw['item_id'], lambda name: True)
            yield raw_batch(source, block.lines, columns, block.rejected)

    @functools.cached_property
    def _root(self) -> str:
        roots = self.inputs or [fetch('open-bandit', self.cache)]
        if len(roots) != 1:
            raise UserError(
                'The reader open-bandit takes one directory, the one that holds bts and random.'
            )
        return roots[0].rstrip('/')

    @functools.cached_property
    def _logs(self) -> list[str]:
        return [
            _one(self._root, policy, campaign, campaign)
            for policy in self._policies
            for campaign in CAMPAIGNS
        ]

    @functools.cached_property
    def _contexts(self) -> dict[str, str]:
        """The files of the items' properties, by campaign."""
        return {
            campaign: _one(self._root, 'bts', campaign, 'item_context')
            for campaign in CAMPAIGNS
        }


def _one(root: str, policy: str, campaign: str, name: str) -> str:
    path = f'{root}/{policy}/{campaign}/{name}.csv'
    if matches(path + '.gz') and not matches(path):
        path += '.gz'
    return expand([path])[0]


def _load_items(path: str) -> KeyedTable:
    table = read_small(path, Dialect())
    names = ['item_id', *(f'item_feature_{n}' for n in range(4))]
    missing = set(names) - set(table.column_names)
    if missing:
        raise UserError(
            f'{path} has no field {min(missing)}: it is not an item context of the '
            'Open Bandit Dataset.'
        )
    return KeyedTable(table.select(names), 'item_id')


def _affinity(raw: dict[str, pa.Array]) -> pa.Array:
    """In each row the affinity to the item of the row, as it is written there."""
    names = [name for name in raw if name.startswith(_AFFINITY)]
    place = {
        int(name.removeprefix(_AFFINITY)): n
        for n, name in enumerate(names)
        if name.removeprefix(_AFFINITY).isdigit()
    }
    item = whole_numbers(raw['item_id'])
    rows = len(item)
    column_of = np.full(max(place, default=0) + 2, -1)
    column_of[list(place)] = list(place.values())
    items = np.clip(pc.fill_null(item, -1).to_numpy(), -1, len(column_of) - 1)
    columns = column_of[items]
    if not place:
        return pa.nulls(rows, pa.string())
    flat = pa.concat_arrays([raw[name] for name in names])
    return flat.take(pa.array(columns * rows + np.arange(rows), mask=columns < 0))
