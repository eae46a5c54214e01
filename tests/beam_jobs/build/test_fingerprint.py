"""The source of a dataset, which is the same wherever the raw log is."""

import pytest

from beam_jobs.build.fingerprint import describe_source
from beam_jobs.config import CategoricalFeature, DatasetConfig, SplitConfig
from beam_jobs.readers import make_reader
from mdctr import storage

LOG = 'user_id,item_id,shop,timestamp,click\nu,i,s,1,{}\n'


@pytest.fixture(params=['local', 's3'])
def directory(request, tmp_path):
    """A directory for logs, on a disk and on an object store."""
    return str(tmp_path) if request.param == 'local' else request.getfixturevalue('bucket')


def _source(directory: str) -> dict:
    config = DatasetConfig(
        reader='generic',
        domain_columns=['shop'],
        features=[
            CategoricalFeature(name='user_id', owner='user'),
            CategoricalFeature(name='item_id', owner='item'),
        ],
        split=SplitConfig(by='time', fractions=(0.8, 0.1, 0.1)),
        inputs=[f'{directory}/log'],
    )
    return describe_source(config, make_reader(config, ''))


def test_a_changed_byte_changes_the_source_and_another_place_does_not(directory):
    for place, click in (('a', 0), ('b', 0), ('c', 1)):
        storage.write_text(f'{directory}/{place}/log/part.csv', LOG.format(click))
    original, copied, changed = (_source(f'{directory}/{place}') for place in 'abc')
    assert original == copied
    assert changed['inputs'][0]['size'] == original['inputs'][0]['size']
    assert changed != original


def test_the_ceiling_next_to_a_log_is_kept(directory):
    storage.write_text(f'{directory}/log/part.csv', LOG.format(0))
    storage.write_json(f'{directory}/truth/ceiling.json', {'all': 1})
    assert _source(directory)['ceiling'] == {'all': 1}
