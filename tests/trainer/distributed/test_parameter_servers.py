"""Training by two workers and two parameter servers that are processes of this machine."""

import json
import re
import time

import pytest

from tests.trainer.distributed.server_processes import Processes
from tests.trainer.trainer_dataset import write_dataset
from trainer.config import ModelConfig, TrainConfig
from trainer.export.golden import check_golden
from trainer.train import train

CONFIG = TrainConfig(
    model=ModelConfig(name='mlp', embedding_dim=4, hidden_units=[8], normalization='ln'),
    framework='mamdr',
    framework_options={'helper_domains': 1},
    batch_size=4,
    epochs=3,
    learning_rate=0.005,
    lr_schedule='cosine',
    warmup_ratio=0.1,
    patience=5,
    checkpoint_steps=100,
    average_weights=True,
)
TOLERANCE = 0.02  # of the AUC: workers do not wait for each other, so no two runs are alike


@pytest.fixture
def dataset(tmp_path):
    directory = str(tmp_path / 'tiny')
    write_dataset(
        directory,
        {'train': {1: 3500, 2: 1500, 3: 500}, 'validation': {1: 1500, 2: 1000, 3: 500}},
    )
    return directory


@pytest.fixture
def processes(dataset, tmp_path):
    made = Processes(tmp_path, dataset, CONFIG)
    try:
        yield made
    finally:
        made.close()


def has_checkpoint(run):
    return any(run.glob('checkpoints/ckpt-*.index'))


@pytest.mark.slow
def test_a_lost_parameter_server_is_said_in_one_sentence(dataset, tmp_path):
    made = Processes(tmp_path, dataset, CONFIG, workers=1, servers=1)
    run = tmp_path / 'run'
    try:
        chief = made.start('chief', run=run)
        made.wait_until(lambda _: has_checkpoint(run))
        made.kill('ps', 0)
        assert chief.wait(400) == 1
    finally:
        made.close()
    expected = 'A parameter server is lost, and with it the parameters that it held: restart'
    assert f'UserError: {expected}' in chief.output.read_text()


def auc(exported):
    with open(f'{exported}/model.json', encoding='utf-8') as file:
        return json.load(file)['validation']['overall']['auc']


@pytest.mark.slow
def test_training_outlives_its_chief_and_a_worker(processes, dataset, tmp_path):
    run = tmp_path / 'run'
    processes.start('chief', run=run)
    processes.wait_until(lambda _: has_checkpoint(run))
    processes.kill('chief')  # after the first epoch's negotiation
    assert not (run / 'export').exists()

    processes.start('chief', run=run)
    processes.wait_until(lambda output: 'epoch 1: validation' in output)
    time.sleep(0.7)
    processes.kill('worker', 0)  # in the inner loops of the second epoch
    output = processes.finish()
    assert re.search(r'Continuing at epoch 1, step [1-9]', output)
    assert 'Worker /job:worker/replica:0/task:0 failed' in output
    assert [int(epoch) for epoch in re.findall(r'epoch (\d): validation', output)] == [1, 2, 3]
    assert check_golden(str(run / 'export')) is None

    of_one_process = auc(train(dataset, str(tmp_path / 'single'), CONFIG))
    assert of_one_process > 0.7
    assert auc(run / 'export') > of_one_process - TOLERANCE


@pytest.mark.slow
def test_sigterm_to_every_process_saves_and_the_next_run_resumes(dataset, tmp_path):
    config = CONFIG.replace(checkpoint_steps=100_000)
    made = Processes(tmp_path, dataset, config)
    run = tmp_path / 'run'
    try:
        made.start('chief', run=run)
        made.wait_until(lambda output: 'epoch 1: validation' in output)
        time.sleep(0.7)  # for the loops of the second epoch to begin
        statuses, output = made.terminate()
    finally:
        made.close()
    assert set(statuses.values()) == {143}
    stopped = re.search(
        r'Training stopped on SIGTERM at epoch ([123]), step (\d+), and saved', output
    )
    assert stopped and 'Traceback' not in output
    assert not (run / 'export').exists()

    made = Processes(tmp_path, dataset, config)
    try:
        made.start('chief', run=run)
        output = made.finish()
    finally:
        made.close()
    assert f'Continuing at epoch {stopped[1]}, step {stopped[2]}.' in output
    assert 'epoch 1: validation' not in output and 'epoch 3: validation' in output
    assert check_golden(str(run / 'export')) is None
