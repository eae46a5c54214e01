"""`mdctr train` from exported models."""

import contextlib
import io
import json

import pytest

from pipeline.cli.main import main
from tests.pipeline.own_log import write_config, write_log

MODEL = {'embedding_dim': 4, 'hidden_units': [8, 4]}


@pytest.fixture(scope='module')
def train(tmp_path_factory):
    """Runs `mdctr train` on a built dataset; returns the exit status and the output."""
    folder = tmp_path_factory.mktemp('train')
    write_log(folder / 'log.csv', 1500)
    config = write_config(
        folder / 'shops.yaml',
        folder / 'log.csv',
        train={'model': MODEL, 'epochs': 1, 'batch_size': 200},
    )
    workspace = ['--workspace', str(folder / 'runs')]
    assert main(['dataset', 'build', config, *workspace]) == 0

    def run(*arguments):
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            status = main(['train', config, *workspace, *arguments])
        return status, output.getvalue()

    return run


@pytest.fixture(scope='module')
def source(train):
    """The directory of a model of the domains books and toys."""
    status, output = train(
        '--model', 'mlp', '--domains', 'books', 'toys', '--validation-split', 'none'
    )
    assert status == 0
    return exported(output)


def exported(output):
    return output.strip().splitlines()[-1].removeprefix('The model: ')


def test_ctnet_without_a_source_is_one_sentence(train):
    status, output = train('--model', 'ctnet')
    assert status == 2
    assert output.count('\n') == 1 and '--source' in output


def test_a_base_model_is_continued_on_a_source(train, source):
    status, output = train('--model', 'mlp', '--domains', 'music')
    base = exported(output)
    assert status == 0 and source != base
    status, output = train(
        *('--model', 'ctnet', '--set', 'train.model.options={target_tower: mlp}'),
        *('--source', source, '--warm-start', base),
        *('--domains', 'music', '--train-splits', 'train'),
    )
    assert status == 0
    with open(f'{exported(output)}/model.json', encoding='utf-8') as file:
        described = json.load(file)
    assert described['model'] == 'ctnet'
    assert described['structure']['source']['config']['name'] == 'mlp'


def test_parts_of_a_model_are_loaded(train, source):
    status, _ = train(
        *('--model', 'mlp', '--warm-start', source),
        *('--warm-start-parts', 'id_embeddings', '--id-features', 'tags'),
    )
    assert status == 0


def test_an_id_feature_must_be_in_both_models(train, source):
    status, output = train(
        *('--model', 'mlp', '--warm-start', source),
        *('--warm-start-parts', 'id_embeddings', '--id-features', 'brand'),
    )
    assert status == 2 and 'brand is not a feature of both models' in output


def test_a_second_command_reuses_the_model_unless_it_is_asked_to_train(train, caplog):
    options = ('--model', 'mlp', '--set', 'train.seed=5')
    first = exported(train(*options)[1])
    assert 'Reusing the model' not in caplog.text
    assert exported(train(*options)[1]) == first
    assert 'Reusing the model' in caplog.text
    again = exported(train(*options, '--again')[1])
    assert again == first.replace('-1/export', '-2/export')


@pytest.mark.parametrize(
    ('old', 'new'), [('--initial', '--warm-start'), ('--initial-parts', '--warm-start-parts')]
)
def test_a_renamed_option_is_refused_with_its_new_name(old, new, capsys):
    with pytest.raises(SystemExit) as end:
        main(['train', 'movielens', old, 'all'])
    assert end.value.code == 2
    assert capsys.readouterr().err.endswith(f'error: {old} is now called {new}\n')


def test_a_renamed_option_is_not_in_the_help(capsys):
    with pytest.raises(SystemExit):
        main(['train', '--help'])
    assert '--initial' not in capsys.readouterr().out
