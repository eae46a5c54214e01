"""What every reader promises, asked of each of the registry."""

import pickle
from pathlib import Path

import pyarrow as pa
import pytest

from beam_jobs.config import DatasetConfig
from beam_jobs.readers import READERS, make_reader
from beam_jobs.readers.base import REJECTED
from beam_jobs.rows.validate_rows import validate_rows
from mdctr.errors import UserError
from mdctr.settings import parse
from tests.beam_jobs.layouts import BAD, GOOD, LAYOUTS, split_of


def _config(name: str, directory: Path, **changes) -> DatasetConfig:
    options, domain = LAYOUTS[name](directory)
    return parse(
        DatasetConfig,
        {
            'reader': name,
            'inputs': [str(directory)],
            'reader_options': options,
            'domain_columns': [domain],
            'features': [{'name': 'user_id'}, {'name': 'item_id'}],
            'split': split_of(name),
            **changes,
        },
        'test',
    )


def _read(reader) -> list:
    return [batch for shard in reader.shards() for batch in reader.read(shard)]


@pytest.mark.parametrize('name', READERS)
def test_a_reader_keeps_the_contract(tmp_path, name):
    config = _config(name, tmp_path)
    reader = make_reader(config, str(tmp_path / 'cache'))
    assert reader.name == name
    files = reader.files()
    assert all(Path(path).is_file() for path in files) and len(set(files)) == len(files)
    assert all(shard.path in files for shard in reader.shards())
    batches = _read(reader)
    places, good = [], 0
    for batch in batches:
        kinds = {field.name: field.type for field in batch.rows.schema}
        assert {'user_id', 'item_id', 'timestamp', 'click', *config.domain_columns} <= set(
            kinds
        )
        assert kinds['source'] == pa.string() and kinds['line'] == pa.int64()
        assert batch.rejected.schema.equals(REJECTED)
        assert None not in batch.rejected.column(2).to_pylist()
        for part in (batch.rows, batch.rejected):
            sources, lines = (
                part.column(part.schema.get_field_index(column)).to_pylist()
                for column in ('source', 'line')
            )
            places += zip(sources, lines, strict=True)
        accepted, refused = validate_rows(batch.rows, config)
        assert refused.num_rows == 0
        good += accepted.num_rows
    assert good == GOOD and len(places) == GOOD + BAD == len(set(places))


@pytest.mark.parametrize('name', READERS)
def test_a_worker_gets_a_small_reader_that_reads_the_same(tmp_path, name):
    reader = make_reader(_config(name, tmp_path), str(tmp_path / 'cache'))
    before = _read(reader)
    sent = pickle.dumps(reader)
    assert len(sent) < 20000
    after = _read(pickle.loads(sent))
    assert [batch.rows.to_pydict() for batch in before] == [
        batch.rows.to_pydict() for batch in after
    ]


@pytest.mark.parametrize('name', READERS)
def test_mistakes_are_one_sentence(tmp_path, name):
    config = _config(name, tmp_path)
    for changes in (
        {'reader_options': {'no such option': 1}},
        {'inputs': [str(tmp_path / 'none')]},
    ):
        wrong = parse(
            DatasetConfig,
            {
                'reader': name,
                'inputs': config.inputs,
                'reader_options': config.reader_options,
                'domain_columns': config.domain_columns,
                'features': [{'name': 'user_id'}, {'name': 'item_id'}],
                'split': split_of(name),
                **changes,
            },
            'test',
        )
        with pytest.raises(UserError) as error:
            make_reader(wrong, str(tmp_path / 'cache')).shards()
        assert '\n' not in str(error.value) and str(error.value).endswith('.')
