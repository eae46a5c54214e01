"""Rows go through the window once each, in the order of time but for its shuffling."""

import collections
import itertools
import os

import numpy as np
import pytest

from mdctr.dataset import open_dataset
from mdctr.errors import UserError
from mdctr.manifest import Split, write_manifest
from tests.trainer.data.test_examples import row_keys, written_keys
from tests.trainer.trainer_dataset import make_manifest, make_rows, write_split
from trainer.data.batching import batch_boundaries
from trainer.data.examples import Examples
from trainer.data.stream import Stream
from trainer.data.time_order import TimeOrder

DAY = 86400
KINDS = ('domain', 'mixed')


def write_days(directory, days, seed=0, flat=False):
    """A split for each of `days`, {domain: rows}, whose rows have times of their day.

    Unless `flat`, shares of domains change within a day: the first comes early, the last late.
    """
    rng = np.random.default_rng(seed)
    splits, written = {}, {}
    for number, of in enumerate(days):
        name, first = f'day-{number + 1}', 1_700_006_400 + number * DAY
        rows = {domain: make_rows(count, domain, rng) for domain, count in of.items()}
        for domain, columns in rows.items():
            shape = (1, 1) if flat else (domain, 4 - domain)
            columns['timestamp'] = first + (
                rng.beta(*shape, len(columns['click'])) * DAY
            ).astype(np.int64)
        write_split(str(directory), name, rows, files=3)
        day = str(np.datetime64(first, 's'))[:10]
        splits[name] = Split((day, day), {f'd{d}': n for d, n in of.items()}, {})
        written[name] = rows
    manifest = make_manifest(3, splits=splits)
    os.makedirs(directory / 'vocabulary')
    for name, size in {f.vocabulary: f.size for f in manifest.features if f.vocabulary}.items():
        lines = ''.join(f'{name}-{n}\n' for n in range(1, size))
        (directory / 'vocabulary' / f'{name}.txt').write_text(lines)
    write_manifest(str(directory), manifest)
    return written


@pytest.fixture(scope='module')
def days(tmp_path_factory):
    directory = tmp_path_factory.mktemp('data')
    return str(directory), write_days(
        directory,
        [{1: 700, 2: 250, 3: 50}, {1: 500, 2: 300}, {2: 200, 3: 10}, {1: 600, 2: 200, 3: 100}],
    )


SPLITS = ['day-1', 'day-2', 'day-3', 'day-4']


def time_of(written):
    """For each row key, its timestamps."""
    found = collections.defaultdict(list)
    for split in written.values():
        for domain, columns in split.items():
            for key, time in zip(
                written_keys({domain: columns}), columns['timestamp'].tolist(), strict=True
            ):
                found[key].append(time)
    return found


def stream(dataset, rows, seed=0, splits=SPLITS, **options):
    return Stream(Examples(open_dataset(dataset), splits, **options), rows, seed)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(('rows', 'memory'), [(40, 1 << 30), (300, 30_000), (10_000, 3000)])
def test_every_row_leaves_once(days, kind, rows, memory):
    batches = list(stream(days[0], rows, memory=memory).batches(32, kind))
    expected = [key for split in days[1].values() for key in written_keys(split)]
    assert collections.Counter(row_keys(batches)) == collections.Counter(expected)
    assert all(0 < len(batch['click']) <= 32 for batch in batches)
    if kind == 'mixed':
        assert {len(batch['click']) for batch in batches} == {31, 32}  # 2910 rows in 91 batches
        assert batches[0]['domain'].shape == batches[0]['click'].shape
    else:
        assert all(batch['domain'].shape == () for batch in batches)
    assert batches[0]['history'].dtype == np.int32 and batches[0]['click'].dtype == np.float32


def test_rows_are_found_in_the_order_of_time(days):
    order = TimeOrder(Examples(open_dataset(days[0]), 'day-1'), 'day-1', seed=3)
    expected = np.sort(np.concatenate([c['timestamp'] for c in days[1]['day-1'].values()]))
    assert order.timestamp.tolist() == expected.tolist()
    wanted = np.random.default_rng(0).permutation(len(order))[:200]
    columns = order.take(wanted)
    times = time_of({'day-1': days[1]['day-1']})
    batch = Examples(open_dataset(days[0]), 'day-1').batch(columns, order.domain[wanted])
    for key, time in zip(row_keys([batch]), order.timestamp[wanted].tolist(), strict=True):
        assert time in times[key]


def test_rows_of_one_time_are_in_random_order(tmp_path):
    from tests.trainer.trainer_dataset import write_dataset

    write_dataset(tmp_path / 'same')  # every timestamp is equal
    domain = TimeOrder(
        Examples(open_dataset(str(tmp_path / 'same')), 'train'), 'train', seed=0
    ).domain
    assert 0.6 < np.mean(domain[:300] == 1) < 0.76  # 700 of 1033 rows


@pytest.mark.parametrize('kind', KINDS)
def test_a_seed_is_repeatable_and_any_position_continues(days, kind):
    first = [row_keys([batch]) for batch in stream(days[0], 200, seed=5).batches(32, kind)]
    again = [row_keys([batch]) for batch in stream(days[0], 200, seed=5).batches(32, kind)]
    assert again == first
    for start in range(0, len(first) + 1, 7):
        rest = [
            row_keys([batch]) for batch in stream(days[0], 200, seed=5).batches(32, kind, start)
        ]
        assert rest == first[start:]
    other = [row_keys([batch]) for batch in stream(days[0], 200, seed=6).batches(32, kind)]
    assert other != first


def test_splits_are_taken_in_the_order_of_their_days(days):
    mixed = stream(days[0], 100, splits=['day-3', 'day-1', 'day-2'])
    assert mixed.splits == ['day-1', 'day-2', 'day-3']
    ordered = stream(days[0], 100, splits=['day-1', 'day-2', 'day-3'])
    for one, other in zip(mixed.batches(32), ordered.batches(32), strict=True):
        assert row_keys([one]) == row_keys([other])


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('rows', [10, 64, 300])
def test_the_window_never_holds_more(days, kind, rows):
    """No row leaves before its turn, and those that have entered and not left are few."""
    one = stream(days[0], rows)
    starts = dict(zip(range(4), np.cumsum([0, 1000, 800, 210]), strict=True))
    left = np.zeros(0, np.int64)
    for batch in one.references(32, kind):
        assert one.held <= rows
        left = np.concatenate(
            [
                left,
                [
                    starts[s] + r
                    for s, r in zip(batch.split.tolist(), batch.row.tolist(), strict=True)
                ],
            ]
        )
        # Rows enter in the order of time: all up to the last that left have entered.
        assert left.max() + 1 - len(left) <= rows
    assert np.sort(left).tolist() == list(range(2910))


@pytest.mark.parametrize('kind', KINDS)
def test_only_the_split_whose_rows_enter_is_indexed(tmp_path, kind):
    write_days(tmp_path, [{1: 800, 2: 200}] * 4)
    one = stream(str(tmp_path), 60)
    indexed = []
    for _ in one.batches(16, kind):
        indexed.append(tuple(sorted(one._orders)))
    assert [number for number, _ in itertools.groupby(indexed)] == [
        (0,),
        (0, 1),
        (1,),
        (1, 2),
        (2,),
        (2, 3),
        (3,),
    ]


@pytest.mark.parametrize('kind', KINDS)
def test_the_window_mixes_and_no_more_than_the_window(tmp_path, kind):
    """A row's place against its place in time: at random over a window, in order beyond."""
    write_days(tmp_path, [{1: 6000, 2: 3000, 3: 1000}] * 2)
    window = 1000
    place = np.concatenate(
        [
            r.split * 10_000 + r.row
            for r in stream(str(tmp_path), window, splits=['day-1', 'day-2']).references(
                50, kind
            )
        ]
    )
    distance = np.arange(20_000) - place
    middle = distance[2000:18_000]
    # A row waits for a geometric number of draws of 50 in 1000: 20 batches in the mean, a
    # window's rows, with a standard deviation that is as large.
    assert middle.min() >= -window and abs(np.mean(middle)) < 0.1 * window
    assert 0.6 * window < np.std(middle) < 1.2 * window
    assert np.mean(np.abs(middle) > 6 * window) < 0.01
    assert np.corrcoef(place[:-1], place[1:])[0, 1] < 0.99  # neighbours are not of one time
    # Within one window the order is none: its rows' places say nothing about their times.
    near = place[9000 : 9000 + window]
    inner = near[(near > np.quantile(near, 0.3)) & (near < np.quantile(near, 0.7))]
    assert abs(np.corrcoef(np.arange(len(inner)), inner)[0, 1]) < 0.2


def test_batches_of_one_domain_come_in_proportion_within_the_window(tmp_path):
    """Through the window a sudden change of shares arrives smoothly."""
    write_days(tmp_path, [{1: 4000, 2: 400}, {1: 400, 2: 4000}], flat=True)
    size, window = 10, 1500
    examples = Examples(open_dataset(str(tmp_path)), ['day-1', 'day-2'])
    one = Stream(examples, window)
    domains, rows = [], []
    for batch in one.batches(size, 'domain'):
        domains.append(int(batch['domain']))
        rows.append(len(batch['click']))
    share = np.repeat(np.array(domains) == 2, rows)  # of each row that leaves
    assert np.mean(share[:2500]) < 0.2 and np.mean(share[-2500:]) > 0.8
    # In blocks of 200 rows: in time order the share jumps; through the window it glides.
    blocks = share[:8800].reshape(-1, 200).mean(axis=1)
    order = [TimeOrder(examples, split, 0).domain for split in ('day-1', 'day-2')]
    plain = (np.concatenate(order) == 2).reshape(-1, 200).mean(axis=1)
    assert np.abs(np.diff(plain)).max() > 0.7
    assert np.abs(np.diff(blocks)).max() < 0.35
    # Batches are whole but for a domain's last and those of a domain that is rare for long.
    assert np.mean(np.array(rows) == size) > 0.9


def test_a_rare_domain_waits_no_longer_than_a_window(tmp_path):
    write_days(tmp_path, [{1: 5000, 3: 12}])
    window, size = 400, 50
    one = stream(str(tmp_path), window, splits=['day-1'])
    order = TimeOrder(Examples(open_dataset(str(tmp_path)), 'day-1'), 'day-1', 0)
    left, rare = 0, []
    for rows in one.references(size, 'domain'):
        if order.domain[rows.row[0]] == 3:
            rare.append((left, rows.row.tolist()))
        left += len(rows)
    assert sum(len(rows) for _, rows in rare) == 12 and len(rare) > 1
    # In the window a while, then waiting no longer than a window of rows, and a batch.
    assert all(at - row < 8 * window for at, rows in rare for row in rows)


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('window', [150, 400, 4000])
def test_no_batch_has_a_single_row(tmp_path, window, seed):
    """A domain's last row, or the only one of a rare domain in a window, waits for another."""
    write_days(tmp_path, [{1: 1601, 2: 33, 3: 12}, {1: 800, 2: 1}])
    batches = stream(str(tmp_path), window, seed, ['day-1', 'day-2']).references(32, 'domain')
    sizes = [len(rows) for rows in batches]
    assert sum(sizes) == 1601 + 33 + 12 + 801
    assert min(sizes) >= 2 and max(sizes) <= 32


def test_the_only_row_of_a_domain_is_a_batch(tmp_path):
    write_days(tmp_path, [{1: 200, 3: 1}])
    batches = stream(str(tmp_path), 64, splits=['day-1']).references(16, 'domain')
    assert sorted(len(rows) for rows in batches) == [1, *[15] * 8, *[16] * 5]


def test_batches_of_a_domain_are_of_nearly_equal_size(tmp_path):
    """As those that are read from memory, if the domain is not rare for long."""
    write_days(tmp_path, [{1: 700, 2: 65}])
    sizes = collections.defaultdict(list)
    for batch in stream(str(tmp_path), 400, splits=['day-1']).batches(32):
        sizes[int(batch['domain'])].append(len(batch['click']))
    for domain, count in ((1, 700), (2, 65)):
        expected = np.diff(batch_boundaries(count, 32)).tolist()
        assert sorted(sizes[domain]) == sorted(expected)


@pytest.mark.parametrize('kind', KINDS)
def test_only_some_domains_and_features(days, kind):
    one = stream(days[0], 200, domains=['d1', 'd3'], exclude=['age', 'history'])
    batches = list(one.batches(32, kind))
    assert sum(len(batch['click']) for batch in batches) == 1800 + 160
    assert set(np.unique([d for b in batches for d in np.atleast_1d(b['domain'])])) == {1, 3}
    assert 'history' not in batches[0] and 'genres' in batches[0]


def test_a_split_without_rows_of_the_domains(days):
    one = stream(days[0], 100, domains=['d3'])
    assert sum(len(b['click']) for b in one.batches(16)) == 160
    assert list(stream(days[0], 100, splits=['day-2'], domains=['d3']).batches(16)) == []


def test_a_damaged_file_is_one_sentence(tmp_path):
    write_days(tmp_path, [{1: 90}])
    path = tmp_path / 'examples/day-1/part-00002-of-00003.parquet'
    os.truncate(path, os.path.getsize(path) - 3)
    with pytest.raises(UserError, match=r'part-00002.* is damaged'):
        next(stream(str(tmp_path), 50, splits=['day-1']).batches(16))


def test_reading_is_lazy(days):
    """A batch costs its rows: the first needs no more than the first split."""
    one = stream(days[0], 100)
    list(itertools.islice(one.batches(16, 'mixed'), 3))
    assert list(one._orders) == [0]
