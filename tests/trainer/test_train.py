"""Whole training runs: early stopping, what is left behind, kills, refusals."""

import gc
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorflow.python.framework.func_graph import FuncGraph

from mdctr.errors import UserError
from mdctr.settings import to_mapping
from tests.trainer.trainer_dataset import write_dataset
from trainer.config import ModelConfig, TrainConfig
from trainer.export.golden import check_golden, read_golden
from trainer.keras import tf
from trainer.train import train

MODEL = ModelConfig(
    name='star', embedding_dim=4, hidden_units=[8, 4], dropout=0.2, id_dropout=0.1
)
CONFIG = TrainConfig(
    model=MODEL, batch_size=16, epochs=3, learning_rate=0.01, checkpoint_steps=10, patience=5
)


@pytest.fixture(scope='module')
def finished(dataset, tmp_path_factory):
    directory = str(tmp_path_factory.mktemp('run') / 'star')
    return directory, train(dataset, directory, CONFIG)


def description(exported):
    with open(os.path.join(exported, 'model.json'), encoding='utf-8') as file:
        return json.load(file)


def test_a_run_learns_and_leaves_a_model(finished):
    directory, exported = finished
    assert exported == os.path.join(directory, 'export')
    found = description(exported)
    assert found['validation']['overall']['auc'] > 0.65
    assert set(found['validation']['domains']) == {'d1', 'd2', 'd3'}
    assert check_golden(exported) is None
    logs = EventAccumulator(os.path.join(directory, 'logs'), size_guidance={'tensors': 0})
    logs.Reload()
    tags = set(logs.Tags()['tensors'])
    assert {
        'train/loss',
        'train/learning_rate',
        'train/examples_per_second',
        'validation_auc/overall',
        'validation_gauc_by_domain/d1',
        'validation_pcoc_by_domain/d2',
    } < tags
    assert any(tag.startswith('domain_weights/') and 'domain_kernel' in tag for tag in tags)
    assert [event.step for event in logs.Tensors('validation_auc/overall')] == [1, 2, 3]


@pytest.mark.slow
def test_a_finished_run_leaves_no_graph_and_no_variable_in_memory(dataset, tmp_path):
    def alive():
        gc.collect()
        return sum(isinstance(each, (FuncGraph, tf.Variable)) for each in gc.get_objects())

    config = CONFIG.replace(epochs=1)
    train(dataset, str(tmp_path / 'first'), config)
    before = alive()
    train(dataset, str(tmp_path / 'second'), config)
    assert alive() <= before


def test_the_same_seed_gives_the_same_model(dataset, finished, tmp_path):
    again = train(dataset, str(tmp_path / 'again'), CONFIG)
    np.testing.assert_allclose(read_golden(again)[1], read_golden(finished[1])[1], atol=1e-6)
    other = train(dataset, str(tmp_path / 'other'), CONFIG.replace(seed=2, epochs=1))
    assert not np.allclose(read_golden(other)[1], read_golden(finished[1])[1], atol=1e-3)


@pytest.mark.parametrize(
    'kill_at', [pytest.param(30, marks=pytest.mark.slow), 80]
)  # in the first epoch, in the second
def test_a_killed_run_continues_to_the_same_end(dataset, finished, tmp_path, kill_at):
    directory = tmp_path / 'killed'
    code = (
        'import json, sys; from mdctr.settings import parse; '
        'from trainer.config import TrainConfig; from trainer.train import train; '
        'config = parse(TrainConfig, json.loads(sys.argv[3]), "arguments"); '
        'train(sys.argv[1], sys.argv[2], config)'
    )
    child = subprocess.Popen(
        [
            sys.executable,
            '-c',
            code,
            dataset,
            str(directory),
            json.dumps(to_mapping(CONFIG)),
        ],
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 240
    while not (directory / f'checkpoints/ckpt-{kill_at}.index').exists():
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert not (directory / 'export').exists()
    exported = train(dataset, str(directory), CONFIG)
    np.testing.assert_allclose(read_golden(exported)[1], read_golden(finished[1])[1], atol=1e-5)
    mine, other = description(exported), description(finished[1])
    assert mine['epoch'] == other['epoch']
    assert mine['validation']['overall']['auc'] == pytest.approx(
        other['validation']['overall']['auc'], abs=1e-4
    )


def test_an_unfinished_run_of_something_else_is_refused_and_a_finished_one_is_not(
    dataset, finished, tmp_path
):
    os.makedirs(tmp_path / 'run/checkpoints')
    with open(tmp_path / 'run/checkpoints/run.json', 'w', encoding='utf-8') as file:
        json.dump({'configuration': {}, 'dataset': 'other', 'splits': []}, file)
    with pytest.raises(UserError, match='unfinished run with another configuration and'):
        train(dataset, str(tmp_path / 'run'), CONFIG)
    (tmp_path / 'run/checkpoints/finished').touch()
    (tmp_path / 'run/export').mkdir()
    (tmp_path / 'run/export/old').touch()
    exported = train(dataset, str(tmp_path / 'run'), CONFIG.replace(epochs=1))
    assert not os.path.exists(os.path.join(exported, 'old'))


def test_training_stops_when_validation_gauc_does_not_rise(dataset, tmp_path):
    config = CONFIG.replace(epochs=40, patience=1, learning_rate=0.05)
    directory = tmp_path / 'run'
    exported = train(dataset, str(directory), config)
    logs = EventAccumulator(str(directory / 'logs'), size_guidance={'tensors': 0})
    logs.Reload()
    values = [
        float(np.frombuffer(event.tensor_proto.tensor_content, np.float32)[0])
        if event.tensor_proto.tensor_content
        else event.tensor_proto.float_val[0]
        for event in logs.Tensors('validation_gauc/overall')
    ]
    assert 1 < len(values) < 40
    assert values[-1] <= max(values[:-1])
    assert all(new > max(values[: i + 1]) for i, new in enumerate(values[1:-1]))
    found = description(exported)
    assert found['epoch'] == int(np.argmax(values)) + 1  # the best, not the last
    assert found['validation']['overall']['gauc'] == pytest.approx(max(values), abs=1e-6)


@pytest.mark.parametrize(
    'changed',
    [{'batching': 'mixed', 'optimizer': 'adagrad'}, {'mixed_precision': True}, {'xla': True}],
)
def test_other_ways_to_train(dataset, tmp_path, changed):
    config = CONFIG.replace(epochs=1, batch_size=64, **changed)
    exported = train(dataset, str(tmp_path / 'run'), config)
    assert check_golden(exported) is None


def test_one_class_in_validation_is_stopped_by_log_loss(tmp_path):
    rows = write_dataset(tmp_path / 'tiny', rows={'train': {1: 200}, 'validation': {1: 1}})
    assert len(rows['validation'][1]['click']) == 1
    exported = train(str(tmp_path / 'tiny'), str(tmp_path / 'run'), CONFIG.replace(epochs=1))
    assert description(exported)['validation']['overall']['auc'] is None


@pytest.mark.parametrize(
    ('changed', 'sentence'),
    [
        ({'optimizer': 'adamm'}, 'no optimizer adamm'),
        ({'framework': 'jointly'}, 'no framework jointly; .*[Tt]here are joint'),
        ({'framework_options': {'k': 1}}, 'unknown key k'),
        ({'model': ModelConfig(name='starr')}, 'no model starr'),
    ],
)
def test_a_wrong_setting_is_one_sentence(dataset, tmp_path, changed, sentence):
    with pytest.raises(UserError, match=sentence):
        train(dataset, str(tmp_path / 'run'), CONFIG.replace(**changed))


def test_splits_that_are_not_there_or_empty(tmp_path):
    write_dataset(tmp_path / 'tiny', rows={'train': {1: 20}, 'validation': {}})
    with pytest.raises(UserError, match='The split validation of .* has no rows'):
        train(str(tmp_path / 'tiny'), str(tmp_path / 'run'), CONFIG)
    with pytest.raises(UserError, match='no split period-6'):
        train(str(tmp_path / 'tiny'), str(tmp_path / 'run'), CONFIG, train_split='period-6')
    with pytest.raises(UserError, match='does not contain a complete dataset'):
        train(str(tmp_path / 'none'), str(tmp_path / 'run'), CONFIG)


def test_a_vocabulary_that_lost_a_line_is_noticed_before_training(tmp_path):
    """Its values would be served with the embeddings of others."""
    write_dataset(tmp_path / 'tiny')
    path = tmp_path / 'tiny' / 'vocabulary' / 'item_id.txt'
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(''.join(lines[:10] + lines[11:]))
    with pytest.raises(UserError, match='vocabulary/item_id.txt is damaged'):
        train(str(tmp_path / 'tiny'), str(tmp_path / 'run'), TrainConfig())
    assert not (tmp_path / 'run').exists()
