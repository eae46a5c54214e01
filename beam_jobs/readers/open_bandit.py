"""Open Bandit Dataset: real impressions and clicks of three campaigns of a fashion shop.

Saito et al., Open Bandit Dataset and Pipeline, 2021. The layout is the published one, full or
small: `<policy>/<campaign>/<campaign>.csv` and `<policy>/<campaign>/item_context.csv`, for the
policies `random` and `bts` and the campaigns `all`, `men` and `women`. The campaign is the
domain.

The data names no user: `user_id` is the combination of the four user features, so a "user"
is all that share them. An item has another number in every campaign: `item_id` is
`<campaign>/<item>`. The hashed properties of an item differ between the two policies' files
though the items are the same, so those of `bts` are taken for both. The probability with which
the policy showed the item is no property of the impression, and is not read.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.errors import UserError
from beam_jobs.fetch import fetch
from beam_jobs.files import expand
from beam_jobs.options import from_mapping, setting
from beam_jobs.readers.base import RawBatch, Reader, Shard, raw_batch, text_shards
from beam_jobs.readers.delimited import Dialect, read_delimited, read_small
from beam_jobs.readers.tables import KeyedTable
from beam_jobs.readers.values import constant, whole_numbers

CAMPAIGNS = ('all', 'men', 'women')
_USER = tuple(f'user_feature_{n}' for n in range(4))
_AFFINITY = 'user-item_affinity_'


@dataclass(frozen=True)
class Options:
    """Attributes: policies: whose impressions are read."""

    policies: list[str] = setting(['bts', 'random'])

    def __post_init__(self):
        if not self.policies or set(self.policies) - {'bts', 'random'}:
            raise ValueError('policies may hold bts and random, and needs one.')


class OpenBanditReader(Reader):
    """Columns: user_id, item_id, timestamp, click, campaign, policy, position,
    user_feature_0 to 3, item_feature_0 (a number) to 3, and affinity, the number that
    stands for the user's past clicks on the shown item.

    Without `inputs`, the small version is fetched. With them, they are the directory that
    holds `bts` and `random`.
    """

    name = 'open-bandit'

    def __init__(self, inputs, options, cache, columns=None):
        super().__init__(inputs, options, cache, columns)
        self._policies = sorted(from_mapping(Options, options, 'dataset.options').policies)
        self._logs = None
        self._contexts = None

    def files(self) -> list[str]:
        self._find()
        return [*self._logs, *self._contexts.values()]

    def shards(self) -> list[Shard]:
        self._find()
        return text_shards(self._logs)

    def read(self, shard: Shard) -> Iterator[RawBatch]:
        self._find()
        policy, campaign, _ = shard.path.split('/')[-3:]
        source = '/'.join(shard.path.split('/')[-3:])  # every policy has files of these names
        path = self._contexts[campaign]
        items = self.table(path, _load_items)
        for block in read_delimited(shard, Dialect(), source=source):
            raw, rows = block.columns, len(block.lines)
            missing = {'timestamp', 'item_id', 'click', *_USER} - set(raw)
            if missing:
                raise UserError(f'{shard.path} has no field {min(missing)}: it is no log of '
                                'the Open Bandit Dataset.')
            columns = {name: raw[name] for name in ('timestamp', 'click', 'position', *_USER)
                       if name in raw}
            columns['user_id'] = pc.binary_join_element_wise(*(raw[n] for n in _USER), '|')
            columns['campaign'] = constant(campaign, rows)
            columns['policy'] = constant(policy, rows)
            columns['item_id'] = pc.if_else(
                pc.equal(raw['item_id'], ''), '',
                pc.binary_join_element_wise(campaign, raw['item_id'], '/'))
            columns['affinity'] = _affinity(raw)
            columns |= items.join(raw['item_id'], lambda name: True)
            yield raw_batch(source, block.lines, columns, block.rejected)

    def _find(self) -> None:
        if self._logs is not None:
            return
        roots = self.inputs or [fetch('open-bandit', self.cache)]
        if len(roots) != 1:
            raise UserError('The reader open-bandit takes one directory, the one that holds '
                            'bts and random.')
        root = roots[0].rstrip('/')
        self._logs = [_one(root, policy, campaign, campaign)
                      for policy in self._policies for campaign in CAMPAIGNS]
        self._contexts = {campaign: _one(root, 'bts', campaign, 'item_context')
                          for campaign in CAMPAIGNS}


def _one(root: str, policy: str, campaign: str, name: str) -> str:
    path = f'{root}/{policy}/{campaign}/{name}.csv'
    if os.path.exists(path + '.gz') and not os.path.exists(path):
        path += '.gz'
    return expand([path])[0]


def _load_items(path: str) -> KeyedTable:
    table = read_small(path, Dialect())
    names = ['item_id', *(f'item_feature_{n}' for n in range(4))]
    missing = set(names) - set(table.column_names)
    if missing:
        raise UserError(f'{path} has no field {min(missing)}: it is no item context of the '
                        'Open Bandit Dataset.')
    return KeyedTable(table.select(names), 'item_id')


def _affinity(raw: dict[str, pa.Array]) -> pa.Array:
    """In each row the affinity to the item of the row, as it is written there."""
    names = [name for name in raw if name.startswith(_AFFINITY)]
    place = {int(name.removeprefix(_AFFINITY)): n for n, name in enumerate(names)
             if name.removeprefix(_AFFINITY).isdigit()}
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
