"""Amazon product reviews, 5-core: every review is a positive; the category is the domain.

Ni, Li and McAuley, Justifying Recommendations using Distantly-Labeled Reviews and Fine-Grained
Aspects, EMNLP 2019. The files are `<Category>_5.json.gz` of the 2018 edition, or
`reviews_<Category>_5.json.gz` of the 2014 one: a JSON object a line, of which `reviewerID`,
`asin`, `overall` and `unixReviewTime` are read. The benchmarks Amazon-6 and Amazon-13 are
MAMDR's (V-A, Tables II and III).
"""

import functools
import re
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
from pydantic import Field

from beam_jobs.readers.base import RawBatch, Reader, Shard, need_inputs, raw_batch, text_shards
from beam_jobs.readers.json_lines import read_json_lines
from beam_jobs.readers.raw_files import base_name, expand
from beam_jobs.readers.values import constant
from mdctr.errors import UserError
from mdctr.settings import Settings

_FIELDS = pa.schema(
    [
        ('reviewerID', pa.string()),
        ('asin', pa.string()),
        ('unixReviewTime', pa.int64()),
        ('overall', pa.float64()),
    ]
)
_NAMES = {
    'reviewerID': 'user_id',
    'asin': 'item_id',
    'unixReviewTime': 'timestamp',
    'overall': 'rating',
}
_FILE = re.compile(r'^(?:reviews_)?(?P<category>.+)_5\.json(?:\.gz)?$')


class AmazonOptions(Settings):
    """Options of the reader `amazon`."""

    categories: list[str] | None = Field(
        default=None,
        description='Categories whose files are read, such as `Video Games`; all if absent.',
    )


class AmazonReader(Reader):
    """Columns: user_id, item_id, timestamp, click (always 1), rating, category."""

    name = 'amazon'
    Options = AmazonOptions

    def __init__(
        self,
        inputs: Sequence[str] | None,
        options: AmazonOptions,
        cache: str,
        columns: Iterable[str] | None = None,
    ):
        super().__init__(inputs, options, cache, columns)
        self._wanted = options.categories

    def files(self) -> list[str]:
        return list(self._paths.values())

    @functools.cached_property
    def _paths(self) -> dict[str, str]:
        """The files by category, in the order of `categories`."""
        inputs = need_inputs(self.inputs, self.name, 'files named <Category>_5.json.gz')
        found = {
            category: path
            for path in expand(inputs)
            if (category := _category(path)) is not None
        }
        wanted = sorted(found) if self._wanted is None else self._wanted
        for category in wanted:
            if category not in found:
                raise UserError(
                    f'There is no {category.replace(" ", "_")}_5.json(.gz) in '
                    f'{", ".join(inputs)}.'
                )
        if not wanted:
            raise UserError(
                f'{", ".join(inputs)} contains no file named <Category>_5.json(.gz).'
            )
        return {category: found[category] for category in wanted}

    def shards(self) -> list[Shard]:
        return text_shards(self.files())

    def read(self, shard: Shard) -> Iterator[RawBatch]:
        category = next(name for name, path in self._paths.items() if path == shard.path)
        for block in read_json_lines(shard, schema=_FIELDS):
            rows = len(block.lines)
            columns = {
                name: block.columns.get(field, pa.nulls(rows, pa.string()))
                for field, name in _NAMES.items()
            }
            columns['click'] = constant(1, rows)
            columns['category'] = constant(category, rows)
            yield raw_batch(base_name(shard.path), block.lines, columns, block.rejected)


def _category(path: str) -> str | None:
    match = _FILE.match(base_name(path))
    return match['category'].replace('_', ' ') if match else None
