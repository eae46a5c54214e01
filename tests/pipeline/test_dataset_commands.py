"""`mdctr dataset`: build, extend, simulate."""

import json

from own_log import write_config, write_log

from pipeline.cli import main


def test_a_day_is_added(tmp_path, capsys):
    write_log(tmp_path / 'log.csv', rows=1200)
    head, *lines = (tmp_path / 'log.csv').read_text().splitlines()
    config = write_config(tmp_path / 'shops.yaml', tmp_path / 'log.csv')
    later = [line.split(',') for line in lines[-100:]]
    (tmp_path / 'day-7.csv').write_text('\n'.join([head, *(
        ','.join([*row[:3], str(int(row[3]) + 86400), *row[4:]]) for row in later)]) + '\n')
    workspace = ['--workspace', str(tmp_path / 'runs')]
    extend = ['dataset', 'extend', config, '--split', 'next', '--days', '2020-01-07',
              '2020-01-07', '--inputs', str(tmp_path / 'day-7.csv'), *workspace]

    assert main(['dataset', 'build', config, *workspace]) == 0
    assert main(extend) == 2
    assert 'cannot be extended' in capsys.readouterr().err
    assert main(['dataset', 'build', config, *workspace, '--set',
                 'dataset.extendable=true']) == 0
    assert main(extend) == 0
    manifest = json.loads((tmp_path / 'runs' / 'datasets' / 'shops' / 'manifest.json')
                          .read_text())
    assert sum(manifest['splits']['next']['examples'].values()) == 100
    assert manifest['rows']['read'] == 1300

    validate = ['dataset', 'validate', config, *workspace, '--serving', 'next']
    assert main(validate) == 0
    capsys.readouterr()


def test_served_features_that_differ_from_training_are_skew(tmp_path, capsys):
    write_log(tmp_path / 'log.csv', rows=3000)
    head, *lines = (tmp_path / 'log.csv').read_text().splitlines()
    config = write_config(tmp_path / 'shops.yaml', tmp_path / 'log.csv')
    served = [line.split(',') for line in lines[-300:]]
    (tmp_path / 'served.csv').write_text('\n'.join([head, *(
        ','.join([*row[:3], str(int(row[3]) + 86400), row[4], '70', row[6]])  # another age
        for row in served)]) + '\n')
    workspace = ['--workspace', str(tmp_path / 'runs')]
    assert main(['dataset', 'build', config, *workspace, '--set',
                 'dataset.extendable=true']) == 0
    assert main(['dataset', 'extend', config, '--split', 'served', '--days', '2020-01-07',
                 '2020-01-07', '--inputs', str(tmp_path / 'served.csv'), *workspace]) == 0
    assert main(['dataset', 'validate', config, *workspace]) == 0
    capsys.readouterr()
    assert main(['dataset', 'validate', config, *workspace, '--serving', 'served']) == 2
    error = capsys.readouterr().err
    assert 'served: age drifted from train' in error and error.count('\n') == 1


def test_a_simulated_log_is_built_and_its_ceiling_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(['dataset', 'simulate', 'iaac-300', '--rows', '20000']) == 0
    assert 'no model of them can be expected above AUC 0.' in capsys.readouterr().out
    assert main(['dataset', 'simulate', 'iaac-300', '--rows', '20000']) == 2  # it is there
    assert main(['dataset', 'build', 'iaac-300', '--set', 'validate.drift=null']) == 0
    manifest = json.loads((tmp_path / 'runs' / 'datasets' / 'iaac-300' / 'manifest.json')
                          .read_text())
    truth = json.loads((tmp_path / 'runs' / 'simulated' / 'iaac-300' / 'truth'
                        / 'ceiling.json').read_text())
    assert manifest['source']['ceiling'] == truth
