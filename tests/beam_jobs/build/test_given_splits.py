"""Logs without timestamps, and logs whose files are split already."""

import numpy as np
import pytest

from beam_jobs.build.fingerprint import describe_source
from beam_jobs.build.job import Job
from beam_jobs.build.pipeline import build_dataset
from beam_jobs.config import DatasetConfig
from beam_jobs.features.negative_sampling import catalogue_days
from beam_jobs.readers import make_reader
from mdctr.dataset import open_dataset
from mdctr.errors import UserError
from mdctr.settings import parse

FEATURES = [{'name': 'user_id', 'owner': 'user'}, {'name': 'item_id', 'owner': 'item'}]
SIZES = {'test': 30, 'train': 100, 'validation': 40}


def _config(directory, **changes) -> DatasetConfig:
    """A file for each split, with the same users and a row that is in all of them."""
    for split, rows in SIZES.items():
        lines = [f'u{n % 7},{split}{n % 5},s{n % 2},{n % 3 // 2}' for n in range(rows)]
        content = 'user_id,item_id,shop,click\n' + '\n'.join(lines) + '\nu0,same,s0,1\n'
        (directory / f'{split}.csv').write_text(content)
    settings = {
        'reader': 'generic',
        'inputs': {split: [str(directory / f'{split}.csv')] for split in SIZES},
        'reader_options': {'timestamp_unit': 'none'},
        'domain_columns': ['shop'],
        'features': FEATURES,
        'split': {'by': 'inputs'},
        'user_buckets': 2,
    }
    return parse(DatasetConfig, settings | changes, 'test')


def test_files_that_are_split_already(tmp_path):
    config = _config(tmp_path)
    manifest = build_dataset(
        config, 'test', str(tmp_path / 'data'), '', progress=False
    ).manifest
    assert list(manifest.splits) == ['train', 'test', 'validation']
    for split, rows in SIZES.items():
        # Without timestamps, equal rows are impressions of their own.
        assert sum(manifest.splits[split].examples.values()) == rows + 1
        clicks = sum(n % 3 // 2 for n in range(rows)) + 1
        assert sum(manifest.splits[split].clicks.values()) == clicks
    items = open_dataset(str(tmp_path / 'data')).vocabulary('item_id')
    assert sorted(items) == ['same', *(f'train{n}' for n in range(5))]
    assert manifest.rows.duplicates == 0


def test_a_log_without_timestamps_is_split_at_random(tmp_path):
    config = _config(tmp_path)
    config = config.replace(
        inputs=[str(tmp_path / 'train.csv')],
        split={'by': 'user', 'fractions': (0.6, 0.2, 0.2)},
    )
    manifest = build_dataset(
        config, 'test', str(tmp_path / 'data'), '', progress=False
    ).manifest
    examples = {name: sum(split.examples.values()) for name, split in manifest.splits.items()}
    assert sum(examples.values()) == 101 and abs(examples['train'] - 60) < 12


def test_moving_a_file_to_another_split_is_another_source(tmp_path):
    config = _config(tmp_path)
    inputs = dict(config.inputs)
    inputs['test'], inputs['validation'] = inputs['validation'], inputs['test']
    other = config.replace(inputs=inputs)
    sources = [describe_source(c, make_reader(c, '')) for c in (config, other)]
    assert sources[0]['inputs'] == sources[1]['inputs'] and sources[0] != sources[1]


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'inputs': ['log.csv']}, '`split.by: inputs` goes with inputs by split'),
        ({'inputs': {'test': ['log.csv']}}, 'inputs by split need the split train'),
        (
            {'split': {'by': 'user', 'fractions': [0.6, 0.2, 0.2]}},
            '`split.by: inputs` goes with inputs by split',
        ),
        ({'extendable': True}, '`extendable` excludes `split.by: inputs`'),
        (
            {'features': [*FEATURES, {'name': 'hour'}]},
            'The feature hour needs timestamps, which the log does not have',
        ),
        (
            {'features': [*FEATURES, {'name': 'h', 'kind': 'history', 'feature': 'item_id'}]},
            'The feature h needs timestamps',
        ),
        (
            {'domain_columns': ['weekday']},
            'The domain column weekday needs a log with timestamps',
        ),
        (
            {'inputs': ['log.csv'], 'split': {'by': 'time', 'fractions': [0.6, 0.2, 0.2]}},
            'dataset.split.by is time, but the log has no timestamps',
        ),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path, changes, sentence):
    with pytest.raises(UserError) as error:
        make_reader(_config(tmp_path, **changes), '')
    assert sentence in str(error.value)


def test_given_splits_are_treated_as_random_ones(tmp_path):
    job = Job(_config(tmp_path), '', '', None)
    assert job.visible(np.array([0, 1, 2, -1])).tolist() == [True, False, False, False]
    split = np.array([0, 1, 2], np.int8)
    assert catalogue_days(np.array([5, 6, 7]), split, 'inputs', 3).tolist() == [0, 0, 0]
