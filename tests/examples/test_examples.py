"""The examples run, and do what they say."""

import csv
import http.server
import importlib
import json
import pathlib
import sqlite3
import subprocess
import sys
import threading

import numpy as np
import pytest

from beam_jobs.config import CategoricalFeature, DatasetConfig, SplitConfig
from beam_jobs.readers import make_reader
from mdctr.dataset import open_dataset
from pipeline.cli.main import main
from tests.pipeline.own_log import write_config, write_log
from tests.processes import REPOSITORY, with_tests
from tests.trainer import trainer_dataset
from trainer.config import ModelConfig, TrainConfig
from trainer.data.examples import Examples
from trainer.frameworks import make_framework
from trainer.keras import tf
from trainer.models import build_model
from trainer.optimizers.row_wise import make_optimizer

EXAMPLES = REPOSITORY / 'examples'


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The examples' modules are found, as they are in the current directory."""
    monkeypatch.syspath_prepend(EXAMPLES)


@pytest.fixture(scope='module')
def rows(tmp_path_factory) -> list[dict[str, str]]:
    """A log, by the columns that the project names."""
    path = tmp_path_factory.mktemp('log') / 'log.csv'
    write_log(path)
    names = {'uid': 'user_id', 'sku': 'item_id', 'time': 'timestamp', 'clicked': 'click'}
    with open(path, encoding='utf-8') as file:
        return [
            {names.get(name, name): value for name, value in row.items() if name != 'tags'}
            for row in csv.DictReader(file)
        ]


@pytest.fixture(scope='module')
def database(rows, tmp_path_factory) -> str:
    path = str(tmp_path_factory.mktemp('database') / 'impressions.db')
    with sqlite3.connect(path) as connection:
        connection.execute(
            'CREATE TABLE impressions '
            '(user_id TEXT, item_id TEXT, shop TEXT, timestamp REAL, click INTEGER, age REAL)'
        )
        connection.executemany(
            'INSERT INTO impressions VALUES '
            '(:user_id, :item_id, :shop, :timestamp, :click, :age)',
            rows,
        )
    return path


def test_train_in_python(rows, tmp_path):
    log = tmp_path / 'log.csv'
    with open(log, 'w', encoding='utf-8', newline='') as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    done = subprocess.run(
        [
            sys.executable,
            str(EXAMPLES / 'train_in_python.py'),
            str(log),
            str(tmp_path / 'runs'),
        ],
        capture_output=True,
        text=True,
        env=with_tests(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert 'Domains: books, music, toys' in done.stdout
    assert 'books: AUC 0.' in done.stdout and 'Blessed' in done.stdout


def test_the_reader_reads_every_row_once(rows, database):
    config = DatasetConfig(
        reader='custom_reader:SqliteReader',
        reader_options={'rows_per_shard': 2500},
        inputs=[database],
        domain_columns=['shop'],
        split=SplitConfig(by='time', fractions=(0.8, 0.1, 0.1)),
        features=[CategoricalFeature(name='user_id'), CategoricalFeature(name='item_id')],
    )
    reader = make_reader(config, '')
    shards = reader.shards()
    batches = [batch for shard in shards for batch in reader.read(shard)]
    assert len(shards) == 3
    for name in ('user_id', 'item_id', 'shop'):
        values = [value for batch in batches for value in batch.rows[name].to_pylist()]
        assert values == [row[name] for row in rows]
    lines = [line for batch in batches for line in batch.rows['line'].to_pylist()]
    assert lines == list(range(1, len(rows) + 1))


def test_the_model_is_the_scaled_product_of_two_towers():
    config = ModelConfig(
        name='custom_model:TwoTowers',
        embedding_dim=3,
        hidden_units=[5],
        options={'output_units': 4, 'domain_feature': True},
    )
    model = build_model(trainer_dataset.make_manifest(), config)
    batch = trainer_dataset.make_batch(np.random.default_rng(0), 7)
    fields = model.look_up(batch, False).fields.numpy()
    outputs = {}
    for side, places in model.places.items():
        flat = fields[:, places].reshape(len(fields), -1)
        hidden, output = model.towers[side].get_weights(), model.projections[side].get_weights()
        outputs[side] = np.maximum(flat @ hidden[0] + hidden[1], 0) @ output[0] + output[1]
    owners = {feature.name: feature.owner for feature in model.features}
    assert {model.fields[place] for place in model.places['item']} == {
        name for name, owner in owners.items() if owner == 'item'
    }
    expected = (outputs['user'] * outputs['item']).sum(axis=1) / 2
    order = np.argsort(batch['domain'], kind='stable')  # a model sorts rows by domain
    np.testing.assert_allclose(model(batch).numpy()[order], expected, atol=1e-6)


def test_the_framework_gives_every_domain_the_same_steps(tmp_path):
    trainer_dataset.write_dataset(
        tmp_path / 'd', {'train': {1: 60, 2: 9}, 'validation': {1: 9, 2: 9}}
    )
    examples = Examples(open_dataset(str(tmp_path / 'd')), 'train')
    config = TrainConfig(
        model=ModelConfig(name='mlp', embedding_dim=2, hidden_units=[3]),
        framework='custom_framework:UniformDomains',
        framework_options={'steps_per_domain': 5},
        batch_size=10,
    )
    framework = make_framework(config, build_model(examples.manifest, config.model), examples)
    domains = [int(batch['domain']) for batch in framework._batches(0)]  # type: ignore[attr-defined]
    assert domains == [1, 2] * 5
    reports = list(framework.epoch(0))
    assert [report.position for report in reports] == list(range(1, 11))
    assert [report.position for report in framework.epoch(0, start=7)] == [8, 9, 10]
    assert sum(report.rows for report in reports) > 60 + 9


def test_the_optimizer_moves_by_the_sign_of_the_momentum():
    optimizer = make_optimizer('custom_optimizer:Signum', 0.1, {'momentum': 0.75})
    variable = tf.Variable([[1.0, 2.0], [3.0, 4.0]])
    optimizer.build([variable])
    sparse = tf.IndexedSlices(tf.constant([[1.0, -2.0]]), [1], [2, 2])
    optimizer.apply_gradients([(sparse, variable)])
    np.testing.assert_allclose(variable, [[1.0, 2.0], [2.9, 4.1]])
    optimizer.apply_gradients([(tf.constant([[1.0, 0.0], [-2.0, 0.0]]), variable)])
    np.testing.assert_allclose(variable, [[0.9, 2.0], [3.0, 4.2]], atol=1e-6)


@pytest.fixture(scope='module')
def pushed(database, tmp_path_factory) -> pathlib.Path:
    """A model of the custom components, run through the pipeline and pushed."""
    home = tmp_path_factory.mktemp('pipeline')
    config = write_config(home / 'shops.yaml', pathlib.Path('unused'))
    values = json.loads(pathlib.Path(config).read_text(encoding='utf-8'))
    values['dataset'] |= {
        'reader': 'custom_reader:SqliteReader',
        'reader_options': {},
        'inputs': [database],
        'features': [each for each in values['dataset']['features'] if each['name'] != 'tags'],
    }
    values['train'] = {
        'model': {
            'name': 'custom_model:TwoTowers',
            'embedding_dim': 4,
            'hidden_units': [8],
            'options': {'output_units': 4},
        },
        'framework': 'custom_framework:UniformDomains',
        'framework_options': {'steps_per_domain': 10},
        'optimizer': 'custom_optimizer:Signum',
        'learning_rate': 0.003,
        'batch_size': 128,
        'epochs': 2,
    }
    values['evaluate'] |= {'pcoc_band': [0.01, 100]}
    pathlib.Path(config).write_text(json.dumps(values), encoding='utf-8')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(EXAMPLES)
        patch.setattr(sys, 'dont_write_bytecode', True)
        patch.setenv('PYTHONDONTWRITEBYTECODE', '1')
        assert main(['run', config, '--workspace', str(home / 'runs')]) == 0
    return home / 'runs' / 'models' / 'shops' / '1'


@pytest.mark.slow
def test_custom_components_run_through_the_pipeline(pushed):
    with open(pushed / 'model.json', encoding='utf-8') as file:
        described = json.load(file)
    assert described['model'] == 'custom_model:TwoTowers'
    assert described['framework'] == 'custom_framework:UniformDomains'


@pytest.fixture
def server(pushed):
    """Answers as TensorFlow Serving does, from the pushed model."""
    signature = tf.saved_model.load(str(pushed)).signatures['serving_default']
    types = signature.structured_input_signature[1]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
            assert self.path == '/v1/models/shops:predict'
            assert body['signature_name'] == 'serving_default'
            instances = body['instances']
            inputs = {
                name: tf.constant([instance[name] for instance in instances], spec.dtype)
                for name, spec in types.items()
            }
            answer = json.dumps({'predictions': signature(**inputs)['score'].numpy().tolist()})
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{running.server_port}/v1/models/shops'
        running.shutdown()


@pytest.mark.slow
def test_the_client_scores_impressions(server, pushed):
    client = importlib.import_module('serving_client')
    with open(pushed / 'golden.json', encoding='utf-8') as file:
        golden = json.load(file)
    inputs, expected = golden['inputs'], golden['scores']
    impressions = [
        {name: values[row] for name, values in inputs.items()} for row in range(len(expected))
    ]
    known = [row for row, each in enumerate(impressions) if None not in each.values()]
    found = client.scores(server, [impressions[row] for row in known])
    np.testing.assert_allclose(found, [expected[row] for row in known], atol=1e-6)


def test_the_client_pads_lists():
    client = importlib.import_module('serving_client')
    impressions = [{'a': ['x'], 'b': 'y'}, {'a': ['x', 'z'], 'b': 'w'}, {'a': [], 'b': ''}]
    assert client.padded(impressions) == [
        {'a': ['x', ''], 'b': 'y'},
        {'a': ['x', 'z'], 'b': 'w'},
        {'a': ['', ''], 'b': ''},
    ]
