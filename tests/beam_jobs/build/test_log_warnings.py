"""What is probably not meant is said at the end of a build: joins, lists, repeats, rejects."""

import logging

import pytest

from beam_jobs.build.extend import extend_dataset
from beam_jobs.build.fingerprint import fingerprint_of
from beam_jobs.build.log_summary import LogSummary
from beam_jobs.build.pipeline import build_dataset
from beam_jobs.config import DatasetConfig
from beam_jobs.readers.base import JoinCount
from beam_jobs.runner import warn_if_large
from mdctr.errors import UserError
from mdctr.manifest import Manifest
from mdctr.settings import parse


def _config(directory, **changes) -> DatasetConfig:
    """A log of 200 rows in whole hours, a table with other keys, and unsplit lists."""
    lines = [f'u{n % 5},10{n % 3},s,{3600 * (n // 20)},{n % 2},a;b' for n in range(200)] + [
        'u1,101,s,-5,0,a;b'
    ]
    header = 'user_id,item_id,shop,timestamp,click,tags\n'
    (directory / 'log.csv').write_text(header + '\n'.join(lines) + '\n')
    (directory / 'items.csv').write_text('item_id,brand\n100.0,a\n101.0,b\n102.0,c\n')
    table = {'path': str(directory / 'items.csv'), 'on': 'item_id'}
    table |= changes.pop('table', {})
    return parse(
        DatasetConfig,
        {
            'reader': 'generic',
            'inputs': [str(directory / 'log.csv')],
            'reader_options': {'tables': [table]},
            'domain_columns': ['shop'],
            'features': [
                {'name': 'user_id', 'owner': 'user'},
                {'name': 'item_id', 'owner': 'item'},
                {'name': 'brand', 'owner': 'item'},
                {'name': 'tags', 'owner': 'item', 'kind': 'sequence', 'max_length': 3},
            ],
            'split': {'by': 'user', 'fractions': [0.6, 0.2, 0.2]},
            'user_buckets': 2,
            **changes,
        },
        'test',
    )


def _build(directory, config: DatasetConfig) -> Manifest:
    return build_dataset(config, 'test', str(directory / 'data'), '', progress=False).manifest


def test_a_build_says_what_is_probably_not_meant(tmp_path, caplog):
    caplog.set_level(logging.INFO, 'beam_jobs')
    manifest = _build(tmp_path, _config(tmp_path))
    impressions = {(n % 5, n % 3, n // 20) for n in range(200)}
    assert manifest.rows.duplicates == 200 - len(impressions) > 0
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    starts = [
        '201 of 201 rows of the log have no row in the table items.csv (joined on item_id): ',
        'The sequence tags is a single text with a separator (such as | ; ,) in 200 of 200 ',
        f'{manifest.rows.duplicates} of 200 rows were dropped, since another row has the same ',
    ]
    assert len(warnings) == 3 and all(map(str.startswith, warnings, starts)), warnings
    assert 'timestamp' in warnings[2] and '`duplicates: keep`' in warnings[2]
    assert 'Rejected: 1 rows, timestamp negative' in caplog.text
    assert (
        f'1 rejected, {manifest.rows.duplicates} repeated impressions, 0 outside' in caplog.text
    )


def test_rows_of_coarse_timestamps_can_be_kept(tmp_path, caplog):
    manifest = _build(tmp_path, _config(tmp_path, duplicates='keep'))
    assert (manifest.rows.duplicates, manifest.rows.kept) == (0, 200)
    assert 'duplicates: keep' not in caplog.text
    splits = {name: sum(split.examples.values()) for name, split in manifest.splits.items()}
    assert abs(splits['train'] - 120) < 20 and min(splits.values()) > 20
    clicks = {name: sum(split.clicks.values()) for name, split in manifest.splits.items()}
    assert sum(clicks.values()) == 100


def test_a_join_without_matches_can_fail_the_build(tmp_path):
    config = _config(tmp_path)
    LogSummary(valid=100, joins=(JoinCount('t', 100, 50, 0.5),)).require_usable(config)
    with pytest.raises(UserError) as error:
        LogSummary(valid=100, joins=(JoinCount('t', 100, 51, 0.5),)).require_usable(config)
    assert str(error.value) == (
        '51 of 100 rows of the log have no row in the table t, more than '
        'max_unmatched_fraction allows (50.00%): check that both write the key in the same way.'
    )


@pytest.mark.parametrize(('unmatched', 'warned'), [(89, False), (91, True)])
def test_joins_are_counted_over_the_whole_log(unmatched, warned):
    parts = [LogSummary(joins=(JoinCount('t', 50, n),)) for n in (50, unmatched - 50)]
    summary = LogSummary.merge(parts)
    assert summary.joins == (JoinCount('t', 100, unmatched),)
    assert bool(summary.warnings()) == warned


def test_a_log_that_is_large_for_one_process_names_the_engines(tmp_path, caplog):
    _build(tmp_path, _config(tmp_path, in_memory_gb=0))
    (warning,) = [r.getMessage() for r in caplog.records if '--runner' in r.getMessage()]
    assert warning.startswith('The log has 0.0 GB, and without --runner all of its rows are ')
    assert 'Flink (--runner=PortableRunner) or Dataflow (--runner=DataflowRunner)' in warning


@pytest.mark.parametrize(
    'size, beam_args', [(4_000_000_000, []), (5_000_000_000, ['--runner=DataflowRunner'])]
)
def test_a_log_that_fits_or_has_an_engine_gives_no_warning(caplog, size, beam_args):
    warn_if_large(size, 4.0, beam_args)
    assert not caplog.records


def test_the_limit_of_the_warning_is_no_part_of_the_dataset(tmp_path):
    one, other = (_config(tmp_path, in_memory_gb=limit) for limit in (1, 2))
    assert fingerprint_of(one, {}) == fingerprint_of(other, {})
    assert 'in_memory_gb' not in _build(tmp_path, one).config


def test_an_added_log_that_is_large_for_one_process_names_the_engines(tmp_path, caplog):
    config = _config(tmp_path, extendable=True)
    _build(tmp_path, config)
    later = tmp_path / 'later.csv'
    later.write_text('user_id,item_id,shop,timestamp,click,tags\nu1,101,s,172800,0,a;b\n')
    day = '1970-01-03'
    directory = str(tmp_path / 'data')
    extend_dataset(directory, day, (day, day), [str(later)], '', in_memory_gb=0.0)
    assert [r for r in caplog.records if '--runner' in r.getMessage()]
