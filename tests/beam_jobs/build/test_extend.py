"""A dataset extended by a day is what it had been with that day from the start."""

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from beam_jobs.build.extend import extend_dataset
from beam_jobs.build.pipeline import build_dataset
from beam_jobs.config import SamplingConfig, SplitConfig
from mdctr.dataset import open_dataset
from mdctr.errors import UserError
from tests.beam_jobs.build.test_build import DAYS, START, config, impressions, random_log
from tests.beam_jobs.build.test_build_runners import checksums
from tests.beam_jobs.examples_by_hand import read_examples
from tests.beam_jobs.log_in_memory import TableReader

DAY = 86400
NEXT = ('2022-04-24', '2022-04-24')  # the seventh day of the random log


def parts():
    """The random log's first six days, and its last."""
    table = random_log(2000)
    last = table['timestamp'].to_numpy() >= START + 6 * DAY
    return table.filter(~last), table.filter(last)


def build(directory, table, **changes):
    return build_dataset(
        config(extendable=True, **changes),
        'test',
        str(directory),
        '',
        progress=False,
        reader=TableReader(table),
    ).manifest


def extend(base, directory, table, split='next', days=NEXT):
    if directory != base:
        shutil.copytree(base, directory)
    return extend_dataset(
        str(directory),
        split,
        days,
        None,
        '',
        progress=False,
        reader=TableReader(table),
    ).manifest


def test_extended_dataset_equals_one_that_had_the_day_from_the_start(tmp_path):
    first, last = parts()
    days = SplitConfig(by='days', days=DAYS.days | {'next': NEXT})
    whole = build(tmp_path / 'whole', random_log(2000), split=days)
    before = build(tmp_path / 'base', first)
    files = checksums(str(tmp_path / 'base'))
    manifest = extend(tmp_path / 'base', tmp_path / 'extended', last)
    expected, found = (checksums(str(tmp_path / name)) for name in ('whole', 'extended'))
    kinds = ('examples', 'vocabulary', 'statistics')
    for name in expected:
        if name.startswith(kinds):
            assert found[name] == expected[name], name
    assert checksums(str(tmp_path / 'base')) == files  # left as it was
    assert manifest.splits == whole.splits
    assert manifest.rows == whole.rows
    assert manifest.features == before.features
    assert manifest.fingerprint not in (before.fingerprint, whole.fingerprint)
    assert open_dataset(str(tmp_path / 'extended')).manifest == manifest


def test_files_of_earlier_days_are_those_of_the_earlier_version(tmp_path):
    first, last = parts()
    build(tmp_path / 'base', first)
    base = open_dataset(str(tmp_path / 'base'))
    extend(tmp_path / 'base', tmp_path / 'base', last)
    extended = open_dataset(str(tmp_path / 'base'))
    for split in ('train', 'validation', 'test'):
        assert extended.example_files(split) == base.example_files(split)
    assert extended.path('vocabulary/item_id.txt') == base.path('vocabulary/item_id.txt')
    added = {name.split('/')[0] for name in os.listdir(extended.directory)}
    assert added == {'examples', 'log', 'manifest.json', 'statistics'}
    assert base.verify() < extended.verify()


def test_the_rows_that_are_kept_are_compressed(tmp_path):
    kept = build(tmp_path / 'base', parts()[0])
    base = open_dataset(str(tmp_path / 'base'))
    tables = {
        name: pa.ipc.open_file(base.path(name)).read_all()
        for name in kept.files
        if name.startswith('log/')
    }
    stored = sum(kept.files[name].size for name in tables)
    assert stored < 0.7 * sum(table.nbytes for table in tables.values())


def test_kept_rows_with_a_changed_byte_are_not_used(tmp_path):
    first, last = parts()
    kept = build(tmp_path / 'base', first)
    base = open_dataset(str(tmp_path / 'base'))
    changed = Path(base.path(next(name for name in kept.files if name.startswith('log/'))))
    content = bytearray(changed.read_bytes())
    content[len(content) // 2] ^= 1
    changed.write_bytes(content)
    with pytest.raises(UserError, match=f'{changed.name} is damaged .its contents have'):
        extend(tmp_path / 'base', tmp_path / 'base', last)


def test_extending_in_place_day_after_day(tmp_path):
    table = random_log(2000)
    day = (table['timestamp'].to_numpy() - START) // DAY
    directory = tmp_path / 'dataset'
    build(
        directory,
        table.filter(day < 5),
        split=SplitConfig(
            by='days', days={'train': DAYS.days['train'], 'validation': DAYS.days['validation']}
        ),
    )
    extend(directory, directory, table.filter(day == 5), 'test', DAYS.days['test'])
    manifest = extend(directory, directory, table.filter(day == 6))
    once = build(
        tmp_path / 'once', table, split=SplitConfig(by='days', days=DAYS.days | {'next': NEXT})
    )
    assert manifest.splits == once.splits and manifest.rows == once.rows
    expected, found = checksums(str(tmp_path / 'once')), checksums(str(directory))
    assert all(
        found[name] == expected[name] for name in expected if name.startswith('examples')
    )


def test_negatives_avoid_what_was_done_in_the_days_before(tmp_path):
    first, last = (table.set_column(4, 'click', [[1] * table.num_rows]) for table in parts())
    sampling = SamplingConfig(ctr_ratio=0.5)
    base = build(tmp_path / 'base', first, sampling=sampling)
    manifest = extend(tmp_path / 'base', tmp_path / 'extended', last)
    users, items = (_names(tmp_path / 'base', name) for name in ('user_id', 'item_id'))
    known = {
        (row['user_id'], row['item_id']) for table in (first, last) for row in table.to_pylist()
    }
    examples = read_examples(str(tmp_path / 'extended'), 'next')
    negatives = [example for example in examples if example['click'] == [0]]
    assert len(negatives) > 300
    assert not any((users[e['user_id'][0]], items[e['item_id'][0]]) in known for e in negatives)
    added = manifest.rows.sampled_negatives - base.rows.sampled_negatives
    assert added == len(negatives)
    positives = manifest.splits['next'].clicks
    assert added + manifest.rows.shortfall - base.rows.shortfall == 2 * sum(positives.values())


def test_rows_of_other_days_and_repeats_are_counted_not_used(tmp_path):
    first, last = parts()
    base = build(tmp_path / 'base', first)
    again = first.slice(0, 50)
    late = first.slice(50, 1).set_column(0, 'user_id', [['late']])
    import pyarrow as pa

    manifest = extend(
        tmp_path / 'base', tmp_path / 'extended', pa.concat_tables([last, again, late])
    )
    kept = len(impressions(last))
    assert manifest.rows.kept - base.rows.kept == kept
    assert manifest.rows.outside_splits - base.rows.outside_splits == 1
    assert manifest.rows.duplicates - base.rows.duplicates == last.num_rows - kept + 50


def test_what_cannot_be_added_is_refused(tmp_path):
    first, last = parts()
    build_dataset(
        config(), 'test', str(tmp_path / 'fixed'), '', progress=False, reader=TableReader(first)
    )
    with pytest.raises(UserError, match='does not keep its rows.*extendable: true'):
        extend(tmp_path / 'fixed', tmp_path / 'fixed', last)
    before = build(tmp_path / 'base', first)
    with pytest.raises(UserError, match='already has a split test'):
        extend(tmp_path / 'base', tmp_path / 'base', last, 'test')
    with pytest.raises(UserError, match='begins on 2022-04-23.*ends on 2022-04-23'):
        extend(tmp_path / 'base', tmp_path / 'base', last, days=('2022-04-23', '2022-04-24'))
    with pytest.raises(UserError, match='split next .* has no rows'):
        extend(tmp_path / 'base', tmp_path / 'base', first)
    assert open_dataset(str(tmp_path / 'base')).manifest == before


def _names(directory, name: str) -> dict[int, str]:
    return dict(enumerate(open_dataset(str(directory)).vocabulary(name), start=1))
