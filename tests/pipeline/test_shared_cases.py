"""The failing inputs of `../shared/cases`, read as the build reads them."""

import os
import pathlib

import pytest

from beam_jobs.config import DatasetConfig
from pipeline.config import load_config
from tests.beam_jobs.reading import read_and_validate

CASES = pathlib.Path(__file__).parents[2] / '..' / 'shared' / 'cases'
IDS = [f'u{n}' for n in range(7)]


def _config(case: str, directory: pathlib.Path, **options) -> DatasetConfig:
    given = CASES / case / 'config.yaml'
    if not given.exists():
        pytest.skip('../shared is not here')
    # The cases were written before these keys were renamed.
    text = given.read_text()
    for old, new in (('options', 'reader_options'), ('domain', 'domain_columns')):
        text = text.replace(f'  {old}: ', f'  {new}: ')
    path = directory / 'config.yaml'
    path.write_text(text)
    config = load_config(str(path)).dataset
    if options:
        config = config.replace(reader_options=options)
    os.chdir(CASES)
    return config


@pytest.fixture(autouse=True)
def _working_directory(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # and back to the directory before the test, after it


@pytest.mark.parametrize(
    ('case', 'users', 'rejected'),
    [
        ('empty-part', IDS, 0),
        ('epoch-numeric', IDS, 0),
        ('join-float-keys', IDS, 0),
        ('json-float-ids', ['10', '11', '12', '13', 'guest'], 0),
        ('nan-text-alone', IDS, 0),
        ('nan-text-and-empty', IDS, 0),
        ('parquet-decimal-id', [str(n) for n in range(7)], 0),
        ('parquet-nanoseconds', IDS, 0),
        ('plus-sign', IDS, 0),
        ('yaml-exponent', IDS, 0),
        ('yaml-on', IDS, 0),
    ],
)
def test_a_case_is_read(tmp_path, case, users, rejected):
    rows, reasons = read_and_validate(_config(case, tmp_path))
    assert sorted({row['user'] for row in rows}) == users
    assert len(reasons) == rejected
    if case == 'plus-sign':
        assert 5.0 in {row['feature.price'] for row in rows}
    if case.startswith('nan-text'):
        assert None in {row['feature.price'] for row in rows}


@pytest.mark.parametrize(
    ('case', 'reason', 'time_format', 'days'),
    [
        ('avazu-hour', 'ISO 8601', '%y%m%d%H', {16364}),  # 2014-10-21
        ('day-month-year', 'ISO 8601', '%d/%m/%Y %H:%M', set(range(20736, 20742))),
    ],
)
def test_a_case_needs_a_format_of_its_timestamps(tmp_path, case, reason, time_format, days):
    rows, reasons = read_and_validate(_config(case, tmp_path))
    assert not rows and all(reason in each for each in reasons.values())
    rows, reasons = read_and_validate(_config(case, tmp_path, timestamp_format=time_format))
    assert not reasons
    assert {row['timestamp'] // 86400 for row in rows} == days
