"""Days that are empty, come late, or bring new domains and columns; nothing is trained."""

import json
import logging
import shutil
from pathlib import Path

import pytest

from components.continual.versions import Record
from mdctr.dataset import open_dataset
from tests.components.continual.daily_log import Home, settings, write_day
from tests.components.continual.pushed_versions import write_version


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """A dataset of two days whose models are pushed already, so that no period is pending."""
    root = tmp_path_factory.mktemp('built')
    for number in (1, 2):
        write_day(root / 'log', number, rows=100)
    home = Home(settings(root / 'log'), root / 'runs')
    for model, kind in (('source', 'source'), ('small', 'base')):
        record = Record(model, kind, '2020-01-01', '2020-01-31', ['period-1'], 'test')
        write_version(home.context, record)
    assert home.find() is None
    return root


@pytest.fixture
def log(built, tmp_path):
    """The log's directory, in a copy of that workspace."""
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    return tmp_path / 'log'


@pytest.fixture
def run(log, caplog):
    """Looks for the next period; returns the days of the dataset and what was reported."""

    def run(**continual):
        home = Home(settings(log, **continual), log.parent / 'runs')
        reported = []
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert home.find(reported.append) is None
        assert all(sentence in caplog.text for sentence in reported)
        manifest = open_dataset(home.context.dataset).manifest
        days = sorted(split.days[0][-2:] for split in manifest.splits.values())
        return ' '.join(days), reported

    return run


def test_an_empty_day_is_reported_and_passed_over_once_a_later_day_is_there(log, run):
    header = (log / '2020-01-02.csv').read_text().splitlines()[0]
    (log / '2020-01-03.csv').write_text(header + '\n')
    days, (sentence,) = run()
    assert days == '01 02'
    assert sentence.startswith('The log of 2020-01-03 has no rows of that day')
    write_day(log, 4, rows=100)
    days, (sentence,) = run()
    assert days == '01 02 04' and 'The log of 2020-01-03 has no rows' in sentence
    days, (sentence,) = run()  # nothing is pending, and it is still neither in nor dismissed
    assert days == '01 02 04'
    assert sentence.startswith('The log of 2020-01-03 is not in the dataset')
    assert run(dismissed_days=['2020-01-03']) == ('01 02 04', [])


def test_a_late_day_is_reported_in_every_run_until_it_is_dismissed_or_included(log, run):
    write_day(log, 4, rows=100)
    assert run() == ('01 02 04', [])  # the third day is missing
    write_day(log, 3, rows=100)
    for _ in range(3):
        days, (sentence,) = run()
        assert days == '01 02 04'
        assert sentence.startswith(
            'The log of 2020-01-03 is not in the dataset, which has later days'
        )
        assert 'continual.dismissed_days' in sentence
    assert run(dismissed_days=['2020-01-03']) == ('01 02 04', [])
    assert run()[1] == [sentence]  # no longer dismissed
    shutil.rmtree(log.parent / 'runs' / 'datasets')
    assert run() == ('01 02 03 04', [])


def test_a_new_domain_or_column_is_reported_with_the_day_that_brings_it(log, run):
    write_day(log, 3, shops=('large', 'small', 'huge'), rows=100)
    path = log / '2020-01-03.csv'
    head, *rows = path.read_text().splitlines()
    path.write_text('\n'.join([head + ',price', *(row + ',7' for row in rows)]) + '\n')
    days, (domain, column) = run()
    assert days == '01 02 03'
    assert domain.startswith('The log of 2020-01-03 has the new domain huge')
    assert 'continual.target_domains' in domain
    assert column.startswith('The log of 2020-01-03 has the new column price')
    assert run() == ('01 02 03', [])


def test_a_new_domain_that_is_a_target_is_reported_as_such(log, run):
    write_day(log, 3, shops=('large', 'small', 'huge'), rows=100)
    _, (sentence,) = run(target_domains=['small', 'huge'])
    assert sentence == (
        'The log of 2020-01-03 has the new domain huge: it is in continual.target_domains and '
        'is trained from now on.'
    )


def test_a_setting_that_an_earlier_version_did_not_have_is_no_change(log, run):
    dataset = open_dataset(str(log.parent / 'runs' / 'datasets' / 'shops'))
    path = Path(dataset.path('manifest.json'))
    manifest = json.loads(path.read_text())
    del manifest['config']['duplicates']
    path.write_text(json.dumps(manifest))
    assert run() == ('01 02', [])
