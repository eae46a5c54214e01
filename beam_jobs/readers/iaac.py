"""IJCAI-18 Alimama advertising (IAAC): search advertisements that users clicked, and whether a
purchase followed, which is the label here as in AdaSparse 4.1.1.

The competition's training file, of either round, is text with a header, its fields separated
by single spaces: instance_id, item_*, user_*, context_*, predict_category_property, shop_*,
is_trade. Lists are joined by `;`, a predicted category and its properties by `:` and `,`, and
a missing value is -1.

The domain is the combination of user_gender_id, user_age_level and user_star_level.
"""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.readers.base import (
    RawBatch,
    Reader,
    Shard,
    need_inputs,
    raw_batch,
    text_shards,
)
from beam_jobs.readers.delimited import Dialect, read_delimited
from beam_jobs.readers.raw_files import base_name, expand
from beam_jobs.readers.values import split_lists
from mdctr.errors import UserError

_DIALECT = Dialect(' ', None)
_NAMES = {'context_timestamp': 'timestamp', 'is_trade': 'click'}
_LISTS = ('item_category_list', 'item_property_list')
_NUMBERS = (
    'shop_review_positive_rate',
    'shop_score_service',
    'shop_score_delivery',
    'shop_score_description',
)


class IaacReader(Reader):
    """Columns: timestamp (context_timestamp), click (is_trade), predict_category (list),
    and the published fields by their names, item_category_list and item_property_list as
    lists. A missing rate or score is null; other missing values stay -1, a value of its own.
    """

    name = 'iaac'

    def files(self) -> list[str]:
        return expand(need_inputs(self.inputs, self.name, 'the training file'))

    def shards(self) -> list[Shard]:
        return text_shards(self.files())

    def read(self, shard: Shard) -> Iterator[RawBatch]:
        for block in read_delimited(shard, _DIALECT):
            missing = {*_NAMES, 'user_id', 'item_id'} - set(block.columns)
            if missing:
                raise UserError(
                    f'{shard.path} has no field {min(missing)}: it is not a training '
                    'file of IJCAI-18.'
                )
            columns = {
                _NAMES.get(name, name): _known(name, column)
                for name, column in block.columns.items()
            }
            predicted = columns.pop('predict_category_property', None)
            if predicted is not None:
                columns['predict_category'] = _categories(predicted)
            yield raw_batch(base_name(shard.path), block.lines, columns, block.rejected)


def _known(name: str, column: pa.Array) -> pa.Array:
    if name in _LISTS:
        return split_lists(_not_missing(column), ';')
    return _not_missing(column) if name in _NUMBERS else column


def _not_missing(column: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(column, '-1'), pa.scalar(None, pa.string()), column)


def _categories(predicted: pa.Array) -> pa.Array:
    """The predicted categories, without their properties."""
    return split_lists(pc.replace_substring_regex(_not_missing(predicted), ':[^;]*', ''), ';')
