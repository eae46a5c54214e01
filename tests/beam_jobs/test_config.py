"""What a `dataset` section may not say."""

import pickle

import pytest

from beam_jobs.config import (
    CategoricalFeature,
    DatasetConfig,
    HistoryFeature,
    NumericFeature,
    SequenceFeature,
    StatisticFeature,
)
from mdctr.errors import UserError
from mdctr.settings import parse

VALID = {
    'reader': 'generic',
    'domain_columns': ['shop'],
    'features': [
        {'name': 'user_id', 'owner': 'user'},
        {'name': 'item_id', 'owner': 'item'},
        {'name': 'recent', 'kind': 'history', 'feature': 'item_id', 'max_length': 5},
    ],
    'split': {
        'by': 'days',
        'days': {'train': ['2020-01-01', '2020-01-03'], 'test': ['2020-01-04', '2020-01-04']},
    },
}


def _read(**changes) -> DatasetConfig:
    return parse(DatasetConfig, {**VALID, **changes}, 'c.yaml')


def feature(**changes) -> dict:
    return {'features': [*VALID['features'], {'name': 'x', **changes}]}


def test_a_feature_is_of_the_class_of_its_kind():
    read = _read(
        features=[
            *VALID['features'],
            {'name': 'tags', 'kind': 'sequence', 'max_length': 3, 'min_count': 2},
            {'name': 'age', 'kind': 'numeric', 'buckets': 4, 'column': 'years'},
            {'name': 'ctr', 'kind': 'statistic', 'group_by': 'item_id'},
        ]
    )
    assert [type(each) for each in read.features] == [
        CategoricalFeature,
        CategoricalFeature,
        HistoryFeature,
        SequenceFeature,
        NumericFeature,
        StatisticFeature,
    ]
    assert read.features[2].max_length == 5
    assert read.features[4].source_column == 'years'
    assert read.features[5].columns == ['item_id']


def test_a_section_is_small_where_beam_pickles_it():
    read = _read()
    pickled = pickle.dumps(read)
    assert pickle.loads(pickled) == read
    assert len(pickled) < 4000


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'features': VALID['features'][:1]}, 'features must include item_id.'),
        (feature(name='user_id'), 'a feature name occurs twice.'),
        *(
            (
                feature(name=name),
                f'features[3].name: {name!r} cannot be the name of a file: use a name without '
                '/ and \\, which does not begin with a dot and has at most 150 bytes.',
            )
            for name in ('../../x', '.', 'a/b', 'a\\b', '', 'x\n', 'ü' * 76)
        ),
        (feature(name='click'), 'the feature name click is reserved.'),
        (
            feature(kind='embedding'),
            'features[3].kind must be one of categorical, sequence, numeric, history, '
            "statistic, not 'embedding'.",
        ),
        (feature(kind='history'), 'the key features[3].feature is missing.'),
        (feature(kind='statistic'), 'the key features[3].group_by is missing.'),
        (
            feature(domains=['a']),
            'unknown key features[3].domains; allowed here: name, owner, column, kind, '
            'min_count.',
        ),
        (
            feature(kind='numeric', group_by='item_id'),
            'unknown key features[3].group_by; allowed here: name, owner, column, kind, '
            'buckets.',
        ),
        (
            feature(kind='history', feature='recent'),
            'feature x: `feature` must be a categorical feature of this list, or domain, not '
            'recent.',
        ),
        (
            feature(kind='history', feature=['item_id']),
            "features[3].feature must be text, not ['item_id'].",
        ),
        (
            feature(kind='history', feature='item_id', as_of='split'),
            "features[3].as_of must be one of impression, day, not 'split'.",
        ),
        (
            feature(kind='history', feature='item_id', domains=[]),
            'features[3].domains must have at least 1 value, not [].',
        ),
        (
            feature(kind='history', feature='item_id', domains=['a'], scope='domain'),
            'features[3]: domains and `scope: domain` exclude each other.',
        ),
        *(
            (
                feature(kind='statistic', group_by=group_by),
                'features[3]: group_by needs one feature or more, each once.',
            )
            for group_by in ([], ['item_id', 'item_id'])
        ),
        (
            feature(kind='statistic', group_by='item_id', as_of='impression'),
            "features[3].as_of must be one of day, split, not 'impression'.",
        ),
        (
            {
                **feature(kind='statistic', group_by='item_id', as_of='split'),
                'split': {'by': 'periods'},
            },
            'feature x: `as_of: split` needs `split.by: days`.',
        ),
        ({'domain_columns': []}, 'domain_columns must have at least 1 value, not [].'),
        (
            {'split': {'by': 'time'}},
            'split: `fractions` goes with `by: time` or `by: user`, which need it.',
        ),
        (
            {'split': {'by': 'time', 'fractions': [0.5, 0.1, 0.1]}},
            'split: fractions must be three numbers that add up to 1, the first more than 0.',
        ),
        (
            {'split': {'days': {'train': ['2020-01-03', '2020-01-01']}}},
            'split: days.train: 2020-01-03 is after 2020-01-01.',
        ),
        (
            {
                'split': {
                    'days': {
                        'train': ['2020-01-01', '2020-01-03'],
                        'test': ['2020-01-03', '2020-01-04'],
                    }
                }
            },
            'split: days: the splits train and test overlap.',
        ),
        (
            {'split': {'days': {'test': ['2020-01-03', '2020-01-04']}}},
            'split: `days` needs the split train.',
        ),
        (
            {'split': {'days': {'train': ['2020-1-1', '2020-01-04']}}},
            "split.days.train[0]: '2020-1-1' is not a day, which is written YYYY-MM-DD.",
        ),
        ({'sampling': {'ctr_ratio': 0}}, 'sampling: a ctr_ratio must be more than 0.'),
        (
            {'sampling': {'ctr_ratio': [0.5, 0.2]}},
            'sampling: a ctr_ratio range must be [low, high].',
        ),
        (
            {'sampling': {'ctr_ratio': {'a': 0.2}, 'keep_negatives': 0.5}},
            'sampling: ctr_ratio and keep_negatives exclude each other.',
        ),
        ({'max_rejected_fraction': 2}, 'max_rejected_fraction must be at most 1, not 2.'),
    ],
)
def test_a_mistake_is_one_sentence(changes, sentence):
    with pytest.raises(UserError) as error:
        _read(**changes)
    assert str(error.value) == f'c.yaml: {sentence}'
