"""What a `dataset` section may not say."""

import pytest

from beam_jobs.config import DatasetConfig
from beam_jobs.errors import UserError
from beam_jobs.options import from_mapping

VALID = {
    'reader': 'generic', 'domain': ['shop'],
    'features': [{'name': 'user_id', 'owner': 'user'}, {'name': 'item_id', 'owner': 'item'},
                 {'name': 'recent', 'kind': 'history', 'of': 'item_id', 'length': 5}],
    'split': {'by': 'days', 'days': {'train': ['2020-01-01', '2020-01-03'],
                                     'test': ['2020-01-04', '2020-01-04']}},
}


def _read(**changes) -> DatasetConfig:
    return from_mapping(DatasetConfig, {**VALID, **changes}, 'c.yaml')


def test_valid():
    assert _read().features[2].length == 5


@pytest.mark.parametrize(('changes', 'sentence'), [
    ({'features': VALID['features'][:1]}, 'features must hold item_id.'),
    ({'features': [*VALID['features'], {'name': 'user_id'}]}, 'a feature name occurs twice.'),
    ({'features': [*VALID['features'], {'name': 'click'}]},
     "the feature name click is the dataset's own."),
    ({'features': [*VALID['features'], {'name': 'h', 'kind': 'history'}]},
     'features[3]: feature h: `of` goes with the kinds history and statistic, which need it.'),
    ({'features': [*VALID['features'], {'name': 'h', 'kind': 'history', 'of': 'recent'}]},
     'feature h: `of` must name a categorical feature of this list, or be domain.'),
    *(({'features': [*VALID['features'], {'name': 'h', **feature}]},
       'features[3]: feature h: `domains` names one domain or more, goes with the kind '
       'history, and not with `scope: domain`.') for feature in (
        {'domains': ['a']}, {'kind': 'history', 'of': 'item_id', 'domains': []},
        {'kind': 'history', 'of': 'item_id', 'domains': ['a'], 'scope': 'domain'})),
    ({'domain': []}, 'domain must name at least one column.'),
    ({'split': {'by': 'time'}}, 'split: `fractions` goes with `by: time` or `by: user`, which '
     'need it.'),
    ({'split': {'by': 'time', 'fractions': [0.5, 0.1, 0.1]}},
     'split: fractions must be three shares that add up to 1, the first more than 0.'),
    ({'split': {'days': {'train': ['2020-01-03', '2020-01-01']}}},
     'split: days.train: 2020-01-03 is after 2020-01-01.'),
    ({'split': {'days': {'train': ['2020-01-01', '2020-01-03'],
                         'test': ['2020-01-03', '2020-01-04']}}},
     'split: days: the splits train and test overlap.'),
    ({'split': {'days': {'test': ['2020-01-03', '2020-01-04']}}},
     'split: `days` needs the split train.'),
    ({'split': {'days': {'train': ['2020-1-1', '2020-01-04']}}},
     "split: '2020-1-1' is not a day, which is written YYYY-MM-DD."),
    ({'sampling': {'ctr_ratio': 0}}, 'sampling: a ctr_ratio must be more than 0.'),
    ({'sampling': {'ctr_ratio': [0.5, 0.2]}},
     'sampling: a ctr_ratio range must be [low, high].'),
    ({'sampling': {'ctr_ratio': {'a': 0.2}, 'keep_negatives': 0.5}},
     'sampling: ctr_ratio and keep_negatives exclude each other.'),
    ({'max_rejected_share': 2}, 'max_rejected_share must be at most 1, not 2.0.'),
])
def test_a_mistake_is_one_sentence(changes, sentence):
    with pytest.raises(UserError) as error:
        _read(**changes)
    assert str(error.value) == f'c.yaml: {sentence}'
