"""What a run leaves for TensorBoard, read as TensorBoard reads it."""

import json
import os

import numpy as np
import pytest
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams.hparams_plugin import HParamsPlugin
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
from werkzeug.test import Client

from mdctr.dataset import open_dataset
from tests.trainer.trainer_dataset import make_manifest
from trainer.config import ModelConfig, TrainConfig
from trainer.data.examples import Examples
from trainer.frameworks import make_framework
from trainer.keras import keras, tf
from trainer.loop.projector import write_projector
from trainer.loop.tensorboard import Logs
from trainer.models import build_model
from trainer.train import train

MODEL = ModelConfig(
    name='star_adasparse',
    embedding_dim=4,
    hidden_units=[8, 4],
    options={'alpha_steps': 40, 'lambda_growth': 0.5},
)
CONFIG = TrainConfig(model=MODEL, batch_size=64, epochs=2, learning_rate=0.02)
STEPS = 11 + 5 + 1  # an epoch: batches of 700, 300 and 33 rows


@pytest.fixture(scope='module')
def run(dataset, tmp_path_factory):
    directory = str(tmp_path_factory.mktemp('run') / 'one')
    exported = train(dataset, directory, CONFIG)
    with open(os.path.join(exported, 'model.json'), encoding='utf-8') as file:
        return os.path.join(directory, 'logs'), json.load(file)


@pytest.fixture(scope='module')
def events(run):
    found = EventAccumulator(run[0], size_guidance={'tensors': 0})
    found.Reload()
    return found


def curve(events, tag):
    return {
        event.step: tf.make_ndarray(event.tensor_proto).item() for event in events.Tensors(tag)
    }


def provider(logs):
    multiplexer = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(logs)
    multiplexer.Reload()
    return data_provider.MultiplexerDataProvider(multiplexer, logs)


def test_alpha_and_the_sparsity_ratios(events):
    growth = (5 - 0.1) / 40
    assert curve(events, 'adasparse/alpha') == pytest.approx(
        {1: 0.1 + growth * STEPS, 2: 0.1 + growth * 2 * STEPS}
    )
    assert curve(events, 'adasparse/lambda_hat') == pytest.approx(
        {1: 0.01 + 0.5 * STEPS, 2: 0.01 + STEPS}, rel=1e-5
    )
    for layer in ('hidden_0', 'hidden_1', 'head'):
        ratio, weight = (
            curve(events, f'sparsity_{kind}/{layer}') for kind in ('ratio', 'weight')
        )
        kept = [curve(events, f'kept_neurons/{layer}/d{domain}') for domain in (1, 2, 3)]
        for epoch in (1, 2):
            assert ratio[epoch] == pytest.approx(
                1 - np.mean([each[epoch] for each in kept]), abs=1e-6
            )
            inside = 0.15 <= ratio[epoch] <= 0.25
            assert weight[epoch] == pytest.approx(
                0 if inside else (0.01 + 0.5 * STEPS * epoch) * abs(ratio[epoch] - 0.2),
                rel=1e-4,
            )


def test_a_scaling_pruner_has_neither(dataset):
    model = build_model(
        make_manifest(),
        ModelConfig(name='adasparse', hidden_units=[4], options={'formulation': 'scaling'}),
    )
    assert model.scalars({}) == {}


def test_learning_rate_and_examples_per_second(events):
    assert set(curve(events, 'train/learning_rate').values()) == {np.float32(0.02).item()}
    assert all(value > 0 for value in curve(events, 'train/examples_per_second').values())
    assert set(curve(events, 'train/loss')) == {STEPS, 2 * STEPS}


def test_histograms_of_shared_and_of_domain_weights(tmp_path):
    model = build_model(make_manifest(), ModelConfig(name='star', hidden_units=[4]))
    hidden = model.hidden[0]
    hidden.domain_kernel.assign(tf.random.stateless_uniform(hidden.domain_kernel.shape, [1, 2]))
    logs = Logs(str(tmp_path))
    logs.epoch(3, {'overall': {'auc': 0.5}, 'domains': {}}, model)
    logs.close()
    found = EventAccumulator(str(tmp_path), size_guidance={'tensors': 0})
    found.Reload()
    tags = [tag for tag in found.Tags()['tensors'] if '_weights/' in tag]
    assert len(tags) == len(model.trainable_variables)
    for tag, variable in (
        ('domain_weights/hidden_0/domain_kernel', hidden.domain_kernel),
        ('shared_weights/hidden_0/kernel', hidden.kernel),
    ):
        (full,) = (
            name
            for name in tags
            if name.startswith(tag.split('/')[0])
            and name.endswith('/'.join(tag.split('/')[1:]))
        )
        (event,) = found.Tensors(full)
        left, right, count = tf.make_ndarray(event.tensor_proto).T
        assert event.step == 3
        assert count.sum() == variable.numpy().size
        assert left[0] == pytest.approx(variable.numpy().min())
        assert right[-1] == pytest.approx(variable.numpy().max())
        middle = right[len(right) // 2]
        assert count[right <= middle].sum() == pytest.approx(
            (variable.numpy() <= middle).sum(), abs=1
        )


def test_the_projector_shows_the_domains_under_their_names(run):
    logs = run[0]
    plugin = ProjectorPlugin(base_plugin.TBContext(logdir=logs, data_provider=provider(logs)))

    def ask(route, **arguments):
        reply = Client(plugin.get_plugin_apps()[route]).get(route, query_string=arguments)
        assert reply.status_code == 200, reply.data
        return reply.data

    assert json.loads(ask('/runs')) == ['.']
    shown = json.loads(ask('/info', run='.'))['embeddings']
    assert {each['tensorName'] for each in shown} == {'domain_feature', 'auxiliary_network'}
    for each in shown:
        assert each['tensorShape'] == [4, 4]
        names = ask('/metadata', run='.', name=each['tensorName']).decode().splitlines()
        assert names == ['unseen', 'd1', 'd2', 'd3']
        rows = np.frombuffer(ask('/tensor', run='.', name=each['tensorName']), np.float32)
        rows = rows.reshape(4, 4)
        assert not rows[0].any() and np.abs(rows[1:]).min(axis=1).all()


def test_names_that_a_table_cannot_hold(tmp_path):
    rows = np.float32([[1, 2], [1 / 3, -1e-9]])
    write_projector(str(tmp_path), ['unseen\tday', 'a\nb'], {'one': rows})
    assert (tmp_path / 'domains.tsv').read_text() == 'unseen day\na b\n'
    found = np.loadtxt(tmp_path / 'one.tsv', dtype=np.float32)
    np.testing.assert_array_equal(found, rows)
    write_projector(str(tmp_path / 'none'), ['unseen'], {})
    assert not (tmp_path / 'none').exists()


def test_specific_parameters_are_in_the_domains_rows(dataset):
    keras.utils.set_random_seed(1)
    config = TrainConfig(
        framework='mamdr',
        batch_size=64,
        learning_rate=0.05,
        framework_options={'helper_domains': 1, 'regularization_learning_rate': 1.0},
        model=ModelConfig(
            name='mlp',
            embedding_dim=4,
            hidden_units=[4],
            normalization='ln',
            options={'domain_feature': True},
        ),
    )
    examples = Examples(open_dataset(dataset), 'train')
    model = build_model(examples.manifest, config.model)
    framework = make_framework(config, model, examples)
    for progress in framework.epoch(0):
        float(progress.loss)
    found = framework.domain_embeddings()['domain_feature']
    shared = model.domain_field.domain_table.numpy()
    for domain in (1, 2, 3):
        framework.domain_specific.enter(domain)
        np.testing.assert_allclose(
            found[domain], model.domain_field.domain_table.numpy()[domain], atol=1e-6
        )
        framework.domain_specific.leave(keep=False)
        assert np.abs(found[domain] - shared[domain]).max() > 1e-3
    np.testing.assert_array_equal(found[0], shared[0])


def test_hyper_parameters_beside_the_final_metrics(run):
    logs, description = run
    plugin = HParamsPlugin(base_plugin.TBContext(data_provider=provider(logs)))

    def ask(route, **arguments):
        reply = Client(plugin.get_plugin_apps()[route]).post(route, json=arguments)
        assert reply.status_code == 200, reply.data
        return json.loads(reply.data)

    experiment = ask('/experiment', experimentName='all', includeMetrics=True)
    assert {'learning_rate', 'model.name', 'framework', 'model.options.alpha_steps'} <= {
        info['name'] for info in experiment['hparamInfos']
    }
    groups = ask(
        '/session_groups',
        experimentName='all',
        startIndex=0,
        sliceSize=5,
        allowedStatuses=['STATUS_UNKNOWN'],
        colParams=[],
    )['sessionGroups']
    (group,) = groups
    assert group['hparams']['learning_rate'] == 0.02
    assert group['hparams']['model.name'] == 'star_adasparse'
    metrics = {each['name']['tag']: each['value'] for each in group['metricValues']}
    overall = description['validation']['overall']
    for name in ('auc', 'gauc', 'pcoc', 'log_loss'):
        assert metrics[f'best/{name}'] == pytest.approx(overall[name], rel=1e-6)
