"""From a sorted bucket to its examples: which rows stay, their negatives, ids, files."""

import json
import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.atomic import write_arrow, write_text
from beam_jobs.bucket import codes, numbers, values
from beam_jobs.config import DatasetConfig
from beam_jobs.dataset import split_directory
from beam_jobs.draws import Purpose, mix, uniform
from beam_jobs.encode import Encoder, Ids, record_batch, stack, take
from beam_jobs.examples import ExampleFile, Pieces, encode_features
from beam_jobs.past_counts import combinations, past_path
from beam_jobs.plan import Domains, Plan, first_numbers, lookup_path, read_catalogue
from beam_jobs.sampling import NONE, draw_keys, kept, quota
from beam_jobs.statistics import sample_rows
from beam_jobs.vocabulary import Lookup

_ROWS_AT_ONCE = 1 << 16


class Examples(NamedTuple):
    """What the examples of a bucket are made of, each a number into something encoded once.

    Attributes:
        row: the row that an example is, or whose negative it is.
        item: the row whose item it has, or rows + the place in the drawn items.
        click: 0 or 1.
        key: 64 bits of its identity.
        drawn: the distinct item numbers that negatives have.
    """

    row: np.ndarray
    item: np.ndarray
    click: np.ndarray
    key: np.ndarray
    drawn: np.ndarray


class Assembler:
    """Makes the examples of one bucket after another."""

    def __init__(self, config: DatasetConfig, directory: str, staging: str):
        """Args:
            config: the `dataset` section.
            directory: of the dataset that is being built.
            staging: where the plan is.
        """
        self._config, self._directory, self._staging = config, directory, staging
        self._plan, self._domains = Plan.read(staging), Domains.read(staging)
        lookups = {f.vocabulary: lookup_path(staging, f.vocabulary)
                   for f in self._plan.features if f.vocabulary}
        self._encoder = Encoder(
            config, self._plan.features,
            lookups | {'domain': lookup_path(staging, 'domain')},
            {name: past_path(staging, name) for name in combinations(config)})

    def write(self, bucket: int, table: pa.Table) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Writes the example files of a bucket, and the report that accounts for its rows.

        Args:
            bucket: its number.
            table: its rows, sorted, with `split` and `key`.

        Yields:
            (split, batch of ids as `list<int64>` columns): about twice as many rows as the
            statistics are made of, or all, drawn by key from the whole split.
        """
        domain = self._domain_numbers(table)
        examples, report = self._choose(bucket, table, domain)
        shared = self._encoder.rows(table)
        of_items, drawn = self._encoder.items(table), None
        if len(examples.drawn):
            drawn = _coded(read_catalogue(self._staging)[1].take(pa.array(examples.drawn)))
            of_items = stack(of_items, self._encoder.items(drawn))
        past = self._encoder.statistics(table, examples.row, drawn, examples.item)
        pieces = [encode_features(ids) for ids in (
            shared, of_items, {'click': np.array([0, 1])}, past) if ids]
        split = codes_of_split(table)[examples.row]
        order = self._order(split, shared['domain'][examples.row], examples.key)
        begins = np.searchsorted(split[order], np.arange(len(self._plan.splits) + 1))
        for number, name in enumerate(self._plan.splits):
            chosen = order[begins[number]:begins[number + 1]]
            rows = examples.row[chosen]
            if len(rows):
                yield from self._write_split(bucket, name, examples, chosen, pieces,
                                             (shared, of_items, past))
            report['splits'][name] = {
                'examples': self._by_domain(domain[rows]),
                'clicks': self._by_domain(domain[rows][examples.click[chosen] > 0])}
        write_text(report_path(self._staging, bucket), json.dumps(report))

    def _choose(self, bucket: int, table: pa.Table,
                domain: np.ndarray) -> tuple[Examples, dict]:
        """Picks the rows that become examples and draws the negatives beside them."""
        split, click, keys = (codes_of_split(table), numbers(table, 'click'),
                              numbers(table, 'key'))
        inside = split >= 0
        stays = inside & kept(self._config.sampling, self._config.seed, click, keys)
        rows = np.flatnonzero(stays)
        none = np.zeros(0, np.int64)
        examples = Examples(rows, rows, click[rows].astype(np.int64), keys[rows], none)
        report = {'kept': len(rows), 'down_sampled': int((inside & ~stays).sum()),
                  'sampled_negatives': 0, 'shortfall': 0, 'splits': {}}
        if self._config.sampling.ctr_ratio is None:
            return examples, report
        beside, item, draws = self._negatives(bucket, table, rows, domain, split)
        found = item != NONE
        drawn, place = np.unique(item[found], return_inverse=True)
        report |= {'sampled_negatives': int(found.sum()), 'shortfall': int((~found).sum())}
        return Examples(
            np.concatenate([rows, beside[found]]),
            np.concatenate([rows, table.num_rows + place]),
            np.concatenate([examples.click, np.zeros(found.sum(), np.int64)]),
            np.concatenate([examples.key, draws[found]]), drawn), report

    def _negatives(self, bucket: int, table: pa.Table, positives: np.ndarray,
                   domain: np.ndarray, split: np.ndarray
                   ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The row beside which each negative stands, its item, and its key."""
        catalogue, _ = read_catalogue(self._staging)
        first = first_numbers(self._staging, bucket, len(self._plan.splits),
                              len(self._domains.names))
        group = split[positives].astype(np.int64) * len(self._domains.names) + domain[positives]
        number = first.ravel()[group] + _rank_within(group)
        counts = quota(number, self._domains.positives[domain[positives]],
                       self._domains.negatives[domain[positives]])
        beside = np.repeat(positives, counts)
        draws = draw_keys(numbers(table, 'key')[positives], counts)
        user = codes(table, 'user').astype(np.int64)
        item = Lookup(lookup_path(self._staging, 'items')).ids(values(table, 'item')) - 1
        interactions = np.unique(user * catalogue.num_items + item[codes(table, 'item')])
        drawn = catalogue.sample(self._config.seed, domain[beside], user[beside], draws,
                                 interactions)
        return beside, drawn, draws

    def _order(self, split: np.ndarray, domain: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """By split and domain, and at random within them."""
        group = split.astype(np.uint64) * np.uint64(len(self._domains.names) + 1)
        group += domain.astype(np.uint64)
        shuffled = mix(self._config.seed, int(Purpose.ORDER), keys) >> np.uint64(24)
        return np.argsort((group << np.uint64(40)) | shuffled, kind='stable')

    def _write_split(self, bucket: int, split: str, examples: Examples, chosen: np.ndarray,
                     pieces: list[Pieces], ids: tuple[Ids, Ids, Ids]
                     ) -> Iterator[tuple[str, pa.RecordBatch]]:
        name = f'part-{bucket:05d}-of-{self._config.buckets:05d}.tfrecord'
        with ExampleFile(os.path.join(split_directory(self._directory, split), name)) as file:
            for begin in range(0, len(chosen), _ROWS_AT_ONCE):
                some = chosen[begin:begin + _ROWS_AT_ONCE]
                which = examples.row[some], examples.item[some], examples.click[some], some
                file.write([piece.take(rows) for piece, rows in zip(
                    pieces, which[:len(pieces)], strict=True)])
                sample = self._for_statistics(split, examples.key[some])
                if len(sample):
                    yield split, record_batch(take(ids[0], which[0][sample])
                                              | take(ids[1], which[1][sample])
                                              | take(ids[2], some[sample])
                                              | {'click': which[2][sample]})
            index = file.index(ids[0]['domain'][examples.row[chosen]])
        write_arrow(index_path(self._staging, split, bucket), index)

    def _for_statistics(self, split: str, keys: np.ndarray) -> np.ndarray:
        """Which examples the statistics may use; they take a sample, so few need be made."""
        share = 2 * sample_rows(self._config.split) / max(self._plan.examples[split], 1)
        return np.flatnonzero(
            uniform(self._config.seed, Purpose.STATISTICS, keys) < share)

    def _domain_numbers(self, table: pa.Table) -> np.ndarray:
        """Each row's domain, as its place in `Domains`."""
        places = pc.index_in(values(table, 'domain'), self._domains.names).to_numpy()
        return places.astype(np.int64)[codes(table, 'domain')]

    def _by_domain(self, domain: np.ndarray) -> dict[str, int]:
        counts = np.bincount(domain, minlength=len(self._domains.names))
        there = np.flatnonzero(counts)
        names = self._domains.names.take(pa.array(there)).to_pylist()
        return dict(zip(names, counts[there].tolist(), strict=True))


def report_path(staging: str, bucket: int) -> str:
    """Where a bucket's account of its rows is."""
    return os.path.join(staging, 'report', f'{bucket}.json')


def index_path(staging: str, split: str, bucket: int) -> str:
    """Where the domains' places in a bucket's example file are."""
    return os.path.join(staging, 'index', split, f'{bucket}.arrow')


def codes_of_split(table: pa.Table) -> np.ndarray:
    """The number of each row's split, `int8`."""
    return numbers(table, 'split')


def _rank_within(group: np.ndarray) -> np.ndarray:
    """The number of rows of the same group before each row."""
    order = np.argsort(group, kind='stable')
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - np.searchsorted(group[order], group[order])
    return rank


def _coded(items: pa.Table) -> pa.Table:
    """Items with their texts dictionary-encoded, as the rows of a bucket are."""
    columns = {}
    for name in items.column_names:
        column = pa.concat_arrays(items[name].chunks)
        text = pa.types.is_string(column.type)
        columns[name] = column.dictionary_encode() if text else column
    return pa.table(columns)
