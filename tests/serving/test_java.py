"""An independent runtime, TensorFlow for Java, scores models as the training graph did.

`make test-serving` runs this. It needs Java 11 or later, Maven and Maven Central.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tensorflow.python.saved_model import loader_impl

from mdctr.dataset import open_dataset
from pipeline.cli.main import main
from tests.pipeline.own_log import write_config, write_log
from tests.trainer.trainer_dataset import build_any, write_dataset
from trainer.config import ModelConfig, TrainConfig
from trainer.data.examples import Examples
from trainer.export.golden import read_golden, write_golden
from trainer.export.saved_model import export_model
from trainer.keras import keras, tf
from trainer.layers.sparse.paths import SPARSE_FROM, forced_path
from trainer.loop.step import TrainStep
from trainer.models import MODELS
from trainer.models.base import CTRModel
from trainer.optimizers.row_wise import make_optimizer

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / '.cache' / 'serving'
TOLERANCE = 1e-6

pytestmark = [pytest.mark.serving, pytest.mark.timeout(1800)]


@pytest.fixture(scope='module')
def class_path() -> str:
    """The class path of TensorFlow for Java; skips where it is not available."""
    for program in ('java', 'mvn'):
        if shutil.which(program) is None:
            pytest.skip(f'{program} is not on PATH: install Java 11 or later and Maven.')
    version = subprocess.run(['java', '-version'], capture_output=True, text=True, check=False)
    found = re.search(r'version "(\d+)', version.stderr)
    if found is None or int(found[1]) < 11:
        pytest.skip(f'Java 11 or later is required, not {version.stderr.splitlines()[:1]}.')
    CACHE.mkdir(parents=True, exist_ok=True)
    listed = CACHE / 'classpath.txt'
    command = ['mvn', '-q', '-B', '-f', str(HERE / 'pom.xml'), 'dependency:build-classpath']
    done = subprocess.run(
        [*command, f'-Dmdep.outputFile={listed}'],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    if done.returncode:
        problem = re.search(r'Could not (find|transfer) artifact \S+', done.stdout)
        pytest.skip(
            'Maven does not find TensorFlow for Java: '
            f'{problem[0] if problem else done.stdout.strip()[-300:]}'
        )
    return listed.read_text()


@pytest.fixture(scope='module')
def dataset(tmp_path_factory) -> str:
    directory = str(tmp_path_factory.mktemp('data') / 'tiny')
    write_dataset(directory)
    return directory


def scores_by_java(class_path: str, directories: list[Path]) -> list[list[float]]:
    """Returns the scores that Java gives to the golden batch of each directory."""
    done = subprocess.run(
        [
            'java',
            '-cp',
            class_path,
            str(HERE / 'ScoreGoldenBatch.java'),
            *map(str, directories),
        ],
        capture_output=True,
        text=True,
        timeout=900,
        env=os.environ | {'TF_CPP_MIN_LOG_LEVEL': '2'},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('[')]


def difference(directory: Path, scores: list[float]) -> float:
    """Returns the largest difference between scores and those of the golden batch."""
    _, expected = read_golden(str(directory))
    assert len(scores) == len(expected) > 1
    assert np.ptp(expected) > 0
    return float(np.max(np.abs(np.array(scores) - expected)))


def test_the_pushed_model(class_path, tmp_path):
    write_log(tmp_path / 'log.csv')
    config = write_config(tmp_path / 'shops.yaml', tmp_path / 'log.csv')
    assert main(['run', config, '--workspace', str(tmp_path / 'runs')]) == 0
    pushed = tmp_path / 'runs/models/shops/1'
    (scores,) = scores_by_java(class_path, [pushed])
    found = difference(pushed, scores)
    print(f'\nThe pushed model: {len(scores)} rows, largest difference {found:.1e}')
    assert found <= TOLERANCE


def export_trained(dataset: str, directory: Path, config: ModelConfig) -> CTRModel:
    """Exports a model after an epoch of training; returns it."""
    keras.utils.set_random_seed(1)
    examples = Examples(open_dataset(dataset), 'train')
    model = build_any(examples.manifest, config)
    step = TrainStep(model, make_optimizer('adam', 0.01))
    for batch in examples.epoch(0, 64, model.batches):
        step({key: tf.constant(value) for key, value in batch.items()})
    if 'pruner_inputs' in config.options:
        prune_most(model)
    metrics = {'overall': {'auc': 0.5}}
    export_model(model, str(directory), examples, TrainConfig(model=config), metrics, 1)
    return model


def prune_most(model: CTRModel) -> None:
    """Makes the pruners of an AdaSparse keep one neuron in 25, the same for all domains."""
    for pruner in model.pruners.values():
        kept = np.arange(pruner.bias.shape[0]) % 25 == 0
        pruner.bias.assign(np.where(kept, 3.0, -100.0))


def check_all(class_path: str, directories: list[Path]) -> None:
    """Compares the scores of one Java process with those of Python for every directory."""
    scores = scores_by_java(class_path, directories)
    found = {
        directory.name: difference(directory, each)
        for directory, each in zip(directories, scores, strict=True)
    }
    print()
    for name, value in found.items():
        print(f'{name}: largest difference {value:.1e}')
    assert max(found.values()) <= TOLERANCE, found


def sparse_products(directory: Path) -> int:
    """Number of `tf.sparse` products in the functions of a SavedModel."""
    saved = loader_impl.parse_saved_model(str(directory))
    functions = saved.meta_graphs[0].graph_def.library.function
    return sum(
        node.op == 'SparseTensorDenseMatMul'
        for function in functions
        for node in function.node_def
    )


def test_every_model_of_the_registry(class_path, dataset, tmp_path):
    """They use different operations."""
    for name in MODELS:
        config = ModelConfig(name=name, embedding_dim=4, hidden_units=[8, 4])
        export_trained(dataset, tmp_path / name, config)
        keras.backend.clear_session()
    check_all(class_path, [tmp_path / name for name in MODELS])


def test_variants_of_the_papers(class_path, dataset, tmp_path):
    variants = {
        'hamur-large': ModelConfig(
            name='hamur', hidden_units=[16, 16, 8, 8, 8, 4, 4], options={'adapters': 2}
        ),
        'adasparse-dlrm': ModelConfig(
            name='adasparse', hidden_units=[8, 4], options={'backbone': 'dlrm'}
        ),
    }
    for name, config in variants.items():
        export_trained(dataset, tmp_path / name, config)
        keras.backend.clear_session()
    check_all(class_path, [tmp_path / name for name in variants])


def test_pruned_layers_as_sparse_products(class_path, dataset, tmp_path):
    options = {'pruner_inputs': 'domain', 'activation': 'tanh'}
    config = ModelConfig(name='adasparse', hidden_units=[50, 50], options=options)
    model = export_trained(dataset, tmp_path / 'pruned', config)
    model.fold()
    assert min(model.sparsity.values()) >= SPARSE_FROM
    with forced_path(sparse=False):
        export_trained(dataset, tmp_path / 'dense', config)
    layers = len(model.hidden) + 1
    assert sparse_products(tmp_path / 'pruned') >= sparse_products(tmp_path / 'dense') + layers
    check_all(class_path, [tmp_path / 'pruned', tmp_path / 'dense'])


def test_dispatch_of_few_rows_per_domain(class_path, tmp_path):
    """A request with one row of each domain goes through the sparse dispatch."""
    domains, dataset = 20, str(tmp_path / 'many')
    rows = {split: dict.fromkeys(range(1, domains + 1), 9) for split in ('train', 'validation')}
    write_dataset(dataset, rows, domains=domains)
    names = ('star', 'shared_bottom')
    for name in names:
        config = ModelConfig(name=name, embedding_dim=4, hidden_units=[8, 4])
        export_trained(dataset, tmp_path / name, config)
        inputs, scores = read_golden(str(tmp_path / name))
        assert len(set(inputs['domain'][:domains])) == domains
        write_golden(
            str(tmp_path / name),
            {key: values[:domains] for key, values in inputs.items()},
            scores[:domains],
        )
        assert sparse_products(tmp_path / name)
    check_all(class_path, [tmp_path / name for name in names])
