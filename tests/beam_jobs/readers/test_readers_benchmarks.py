"""Amazon reviews, Cloud Theme, IAAC and Ali-CCP, on small files in the published layouts."""

import gzip
import json

import pandas as pd
import pytest

from mdctr.errors import UserError
from tests.beam_jobs.reading import read_all, reader_of


def _review(user, item, time, rating=5.0):
    return (
        json.dumps(
            {
                'overall': rating,
                'verified': True,
                'reviewTime': '09 4, 2015',
                'reviewerID': user,
                'asin': item,
                'style': {'Format:': ' Hardcover'},
                'reviewerName': 'A. Reader',
                'reviewText': 'This, "too",\nis good.',
                'summary': '2015-09-04',
                'unixReviewTime': time,
                'vote': '1,234',
                'image': ['x'],
            }
        )
        + '\n'
    )


def test_amazon(tmp_path):
    with gzip.open(tmp_path / 'Musical_Instruments_5.json.gz', 'wt') as file:
        file.write(_review('A1', 'B1', 1441324800) + '{"asin": \n' + _review('A2', 'B1', 0, 3))
    (tmp_path / 'reviews_Video_Games_5.json').write_text(_review('A1', 'C1', 7))
    (tmp_path / 'Prime_Pantry_5.json').write_text(_review('A3', 'D1', 9))
    (tmp_path / 'readme.txt').write_text('x')
    options = {'categories': ['Video Games', 'Musical Instruments']}
    rows, rejected = read_all(
        reader_of('amazon', [str(tmp_path)], options, columns=('category',))
    )
    assert rejected[['line', 'reason']].values.tolist() == [[2, 'not a JSON object']]
    assert rows['category'].tolist() == ['Musical Instruments'] * 2 + ['Video Games']
    assert rows['user_id'].tolist() == ['A1', 'A2', 'A1']
    assert rows['item_id'].tolist() == ['B1', 'B1', 'C1']
    assert [float(time) for time in rows['timestamp']] == [1441324800, 0, 7]
    assert [float(rating) for rating in rows['rating']] == [5, 3, 5]
    assert rows['click'].tolist() == [1, 1, 1]
    assert len(read_all(reader_of('amazon', [str(tmp_path)]))[0]) == 4
    with pytest.raises(UserError, match=r'There is no Gift_Cards_5.json\(.gz\) in'):
        reader_of('amazon', [str(tmp_path)], {'categories': ['Gift Cards']}).files()
    with pytest.raises(UserError, match='contains no file named <Category>_5.json'):
        reader_of('amazon', [str(tmp_path / 'readme.txt')]).files()


def _themes(directory):
    order = ['t9', 't2', 't9', 't5', 't2', 't1', 't9']
    lines = [
        f'u{n},i{n},l{n},c,{theme},2018-12-0{n + 1} 10:00:00' for n, theme in enumerate(order)
    ]
    (directory / 'theme_click_log.csv').write_text(
        'user_id,item_id,leaf_cate_id,cate_level1_id,theme_id,reach_time\n'
        + '\n'.join(lines)
        + '\n'
    )
    (directory / 'theme_item_pool.csv').write_text('item_id,theme_id\n')


def test_taobao_theme(tmp_path):
    _themes(tmp_path)
    rows, _ = read_all(
        reader_of('taobao-theme', [str(tmp_path)], {'themes': 2}, columns=('theme',))
    )
    assert rows['theme'].tolist() == ['D1', 'D2', 'D1', 'D2', 'D1']
    assert rows['theme_id'].tolist() == ['t9', 't2', 't9', 't2', 't9']
    assert rows['line'].tolist() == [2, 3, 4, 6, 8]
    assert rows['user_id'].tolist() == ['u0', 'u1', 'u2', 'u4', 'u6']
    assert rows['timestamp'].iloc[0] == '2018-12-01 10:00:00'
    assert (rows['click'] == 1).all()
    rows, _ = read_all(reader_of('taobao-theme', [str(tmp_path)]))
    assert rows['theme'].tolist() == ['D1', 'D2', 'D1', 'D3', 'D2', 'D4', 'D1']
    with pytest.raises(UserError, match='has 4 themes, and .*themes asks for 5'):
        reader_of('taobao-theme', [str(tmp_path)], {'themes': 5}).shards()
    with pytest.raises(UserError, match='must contain one theme_click_log.csv, not 0'):
        reader_of('taobao-theme', [str(tmp_path / 'theme_item_pool.csv')]).files()


IAAC = (
    'instance_id item_id item_category_list item_property_list item_brand_id item_city_id '
    'item_price_level item_sales_level item_collected_level item_pv_level user_id '
    'user_gender_id user_age_level user_occupation_id user_star_level context_id '
    'context_timestamp context_page_id predict_category_property shop_id '
    'shop_review_num_level shop_review_positive_rate shop_star_level shop_score_service '
    'shop_score_delivery shop_score_description is_trade'
)


def test_iaac(tmp_path):
    first = (
        '108 34 77;90;12 2;3;5 19 548 3 3 4 14 505 1 1003 2005 3006 282 1537236544 4001 '
        '77:2,3;5:-1;90:7 679 4 1.0 5002 1.0 0.98 1.0 0'
    )
    second = (
        '109 35 77 -1 -1 548 3 3 4 14 506 -1 -1 2005 -1 283 1537240000 4002 -1 679 4 -1 '
        '5002 -1 0.98 1.0 1'
    )
    path = tmp_path / 'round1_ijcai_18_train_20180301.txt'
    path.write_text(f'{IAAC}\n{first}\n{second}\n{second} 4\n')
    rows, rejected = read_all(
        reader_of(
            'iaac',
            [str(path)],
            columns=('user_gender_id', 'item_category_list', 'predict_category'),
        )
    )
    assert rejected['line'].tolist() == [4]
    one, two = rows.to_dict('records')
    assert list(one['item_category_list']) == ['77', '90', '12']
    assert list(one['item_property_list']) == ['2', '3', '5']
    assert list(one['predict_category']) == ['77', '5', '90']
    assert (one['timestamp'], one['click'], one['user_id']) == ('1537236544', '0', '505')
    assert list(two['item_property_list']) == [] and list(two['predict_category']) == []
    assert two['user_gender_id'] == '-1' and two['click'] == '1'
    assert two['shop_score_service'] is None and one['shop_score_service'] == '1.0'
    path.write_text('a b\n1 2\n')
    with pytest.raises(UserError, match='it is not a training file of IJCAI-18'):
        read_all(reader_of('iaac', [str(path)]))
    with pytest.raises(UserError, match='unknown key x'):
        reader_of('iaac', [str(path)], {'x': 1})


def _features(*features):
    return '\x01'.join(f'{field}\x02{value}\x03{weight}' for field, value, weight in features)


def _ali_ccp(directory):
    common = {
        'c1': [
            ('101', 'u1', 1.0),
            ('121', '5', 1.0),
            ('109_14', '7', 2.3),
            ('109_14', '8', 0.69),
            ('109_14', '9', 1.1),
        ],
        'c2': [('101', 'u2', 1.0)],
    }
    for part in ('train', 'test'):
        (directory / f'common_features_{part}.csv').write_text(
            ''.join(
                f'{name},{len(features)},{_features(*features)}\n'
                for name, features in common.items()
            )
        )
    own = _features(('205', 'i1', 1.0), ('301', '2', 1.0), ('210', 'x', 1.0), ('210', 'y', 1.0))
    (directory / 'sample_skeleton_train.csv').write_text(
        f'1,0,0,c2,4,{own}\n2,1,1,c1,4,{own}\n3,1,0,c1,2,205\x02i1\x01301\x021\x031\n'
        f'4,1,0,c9,4,{own}\n5,1\n'
    )
    (directory / 'sample_skeleton_test.csv').write_text(
        f'1,0,0,c1,1,{_features(("205", "i2", 1.0))}\n'
    )


def test_ali_ccp(tmp_path):
    _ali_ccp(tmp_path)
    options = {'max_length': 2, 'validation_every': 4}
    rows, rejected = read_all(
        reader_of('ali-ccp', [str(tmp_path)], options, columns=('121', '109_14', '210', '301'))
    )
    assert rejected[['source', 'line', 'reason']].values.tolist() == [
        ['sample_skeleton_train.csv', 3, 'features malformed'],
        ['sample_skeleton_train.csv', 5, 'too few fields (2, not 6)'],
    ]
    test, first, second, third = rows.to_dict('records')
    assert test['source'] == 'sample_skeleton_test.csv'
    assert (test['user_id'], test['item_id'], test['301']) == ('u1', 'i2', None)
    assert test['timestamp'] == 172800.001 and first['timestamp'] == 0.001
    assert (first['user_id'], first['item_id'], first['click']) == ('u2', 'i1', '0')
    assert first['121'] is None and list(first['109_14']) == []
    assert list(second['109_14']) == ['7', '8'] and second['121'] == '5'
    assert list(second['210']) == ['x', 'y'] and second['301'] == '2'
    assert third['line'] == 4 and third['timestamp'] == 86400.004
    assert third['user_id'] is None  # its common features are not there
    assert 'conversion' not in rows.columns
    (tmp_path / 'common_features_train.csv').unlink()
    assert len(reader_of('ali-ccp', [str(tmp_path)]).files()) == 2
    (tmp_path / 'common_features_test.csv').write_text('c1,1,101\n')
    with pytest.raises(UserError, match='line 1: not a row of common features'):
        read_all(reader_of('ali-ccp', [str(tmp_path)]))
    (tmp_path / 'common_features_test.csv').unlink()
    with pytest.raises(UserError, match='does not contain sample_skeleton_train.csv with'):
        reader_of('ali-ccp', [str(tmp_path)]).files()


@pytest.mark.parametrize(
    ('keys', 'asked', 'expected'),
    [
        (['7', '3', '7', '10'], ['3', '7', '11', '10'], [1, 0, None, 3]),
        (['7', '3', '07'], ['3', '07', '7', ''], [1, 2, 0, None]),
        (['7', '3', '5'], ['3', None, '05', 'x', '5'], [1, None, None, None, 2]),
        (['b', 'a', 'b'], ['a', None, 'b', 'c'], [1, None, 0, None]),
    ],
)
def test_rows_of_a_table(keys, asked, expected):
    import pyarrow as pa

    from beam_jobs.readers.tables import KeyedTable

    table = KeyedTable(pa.table({'key': keys, 'place': list(range(len(keys)))}), 'key')
    assert table.rows_of(pa.array(asked)).to_pylist() == expected
    joined = table.join(pa.array(asked), lambda name: True)
    assert pd.Series(joined['place'].to_pylist()).dropna().tolist() == [
        row for row in expected if row is not None
    ]
