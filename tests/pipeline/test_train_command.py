"""`mdctr train` from exported models."""

import json

import pytest
from own_log import write_config, write_log

from pipeline.cli import main

MODEL = {'embedding_dim': 4, 'hidden_units': [8, 4]}


@pytest.fixture(scope='module')
def train(tmp_path_factory):
    """Trains on a built dataset; gives the status and what was printed."""
    folder = tmp_path_factory.mktemp('train')
    write_log(folder / 'log.csv', 1500)
    config = write_config(folder / 'shops.yaml', folder / 'log.csv',
                          train={'model': MODEL, 'epochs': 1, 'batch_size': 200})
    place = ['--workspace', str(folder / 'runs')]
    assert main(['dataset', 'build', config, *place]) == 0

    def run(capsys, *arguments):
        status = main(['train', config, *place, *arguments])
        printed = capsys.readouterr()
        return status, printed.out + printed.err
    return run


def exported(printed):
    return printed.strip().splitlines()[-1].removeprefix('The model: ')


def test_a_source_and_a_model_to_go_on_with(train, capsys):
    status, printed = train(capsys, '--model', 'ctnet')
    assert status == 2
    assert printed.count('\n') == 1 and '--source' in printed

    status, printed = train(capsys, '--model', 'mlp', '--domains', 'books', 'toys',
                            '--validation-split', 'none')
    source = exported(printed)
    status, printed = train(capsys, '--model', 'mlp', '--domains', 'music')
    base = exported(printed)
    assert status == 0 and source != base
    status, printed = train(
        capsys, '--model', 'ctnet', '--set', 'train.model.options={tower: mlp}', '--source',
        source, '--initial', base, '--domains', 'music', '--train-splits', 'train')
    assert status == 0
    with open(f'{exported(printed)}/model.json', encoding='utf-8') as file:
        found = json.load(file)
    assert found['model'] == 'ctnet'
    assert found['structure']['source']['config']['name'] == 'mlp'

    status, printed = train(capsys, '--model', 'mlp', '--initial', source,
                            '--initial-parts', 'id_embeddings', '--id-features', 'tags')
    assert status == 0
    status, printed = train(capsys, '--model', 'mlp', '--initial', source,
                            '--initial-parts', 'id_embeddings', '--id-features', 'brand')
    assert status == 2 and 'brand is not one of both models' in printed
