"""`mdctr add-domain`, after a day that brought a new shop."""

import json

from pipeline.cli.main import main
from tests import yaml_files
from tests.pipeline.own_log import write_config, write_log


def test_add_domain_adds_a_shop_that_opened_later(tmp_path, capsys):
    write_log(tmp_path / 'log.csv', rows=1500)
    head, *lines = (tmp_path / 'log.csv').read_text().splitlines()
    later = [line.split(',') for line in lines[-150:]]
    (tmp_path / 'day-7.csv').write_text(
        '\n'.join(
            [
                head,
                *(
                    ','.join([user, item, 'games', str(int(time) + 86400), *rest])
                    for user, item, _, time, *rest in later
                ),
            ]
        )
        + '\n'
    )
    config = write_config(tmp_path / 'shops.yaml', tmp_path / 'log.csv')
    settings = yaml_files.load(tmp_path / 'shops.yaml')
    settings['dataset']['split'] = {
        'by': 'periods',
        'period_days': 1,
        'periods': 5,
        'first_day': '2020-01-01',
    }
    del settings['dataset']['features'][-1]  # a history, of which the first day has none
    yaml_files.write(tmp_path / 'shops.yaml', settings)
    common = [config, '--workspace', str(tmp_path / 'runs')]
    small = [
        '--set',
        'train.model.hidden_units=[8]',
        '--set',
        'train.epochs=1',
        '--set',
        'train.model.embedding_dim=4',
        '--set',
        'train.learning_rate=0.02',
        '--set',
        'train.batch_size=64',
    ]

    assert main(['dataset', 'build', *common, '--set', 'dataset.extendable=true']) == 0
    assert (
        main(
            [
                'train',
                *common,
                *small,
                '--train-splits',
                'period-1',
                'period-2',
                'period-3',
                'period-4',
                '--validation-split',
                'period-5',
            ]
        )
        == 0
    )
    trained = capsys.readouterr().out.split('The model: ')[1].strip()
    assert (
        main(
            [
                'dataset',
                'extend',
                *common,
                '--split',
                'next',
                '--days',
                '2020-01-07',
                '2020-01-07',
                '--inputs',
                str(tmp_path / 'day-7.csv'),
            ]
        )
        == 0
    )

    command = [
        'add-domain',
        *common,
        *small,
        '--from',
        trained,
        '--train-splits',
        'next',
        '--output',
        str(tmp_path / 'new'),
    ]
    assert main([*command, '--domain', 'games', '--validation-split', 'period-5']) == 2
    assert 'The domain games has no rows in period-5' in capsys.readouterr().err
    assert main([*command, '--domain', 'toys', '--validation-split', 'none']) == 2
    assert 'has the domain toys already' in capsys.readouterr().err
    assert main([*command, '--domain', 'games', '--validation-split', 'none']) == 0
    assert f'The model: {tmp_path / "new"}' in capsys.readouterr().out
    found = json.loads((tmp_path / 'new' / 'model.json').read_text())
    assert found['domains'] == ['books', 'music', 'toys', 'games']
    assert found['trained_splits'] == [*(f'period-{day}' for day in range(1, 5)), 'next']
