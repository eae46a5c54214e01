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

from mdctr.dataset import open_dataset
from pipeline.cli.main import main
from tests.pipeline.own_log import write_config, write_log
from tests.trainer.trainer_dataset import build_any, write_dataset
from trainer.config import ModelConfig, TrainConfig
from trainer.data.examples import Examples
from trainer.export.golden import read_golden
from trainer.export.saved_model import export_model
from trainer.keras import keras, tf
from trainer.loop.step import TrainStep
from trainer.models import MODELS
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


def test_every_model_of_the_registry(class_path, dataset, tmp_path):
    """One Java process scores all of them: they use different operations."""
    for name in MODELS:
        keras.utils.set_random_seed(1)
        examples = Examples(open_dataset(dataset), 'train')
        config = TrainConfig(model=ModelConfig(name=name, embedding_dim=4, hidden_units=[8, 4]))
        model = build_any(examples.manifest, config.model)
        step = TrainStep(model, make_optimizer('adam', 0.01))
        for batch in examples.epoch(0, 64, model.batches):
            step({key: tf.constant(value) for key, value in batch.items()})
        export_model(
            model, str(tmp_path / name), examples, config, {'overall': {'auc': 0.5}}, 1
        )
        keras.backend.clear_session()
    directories = [tmp_path / name for name in MODELS]
    found = {
        directory.name: difference(directory, scores)
        for directory, scores in zip(
            directories, scores_by_java(class_path, directories), strict=True
        )
    }
    print()
    for name, value in found.items():
        print(f'{name}: largest difference {value:.1e}')
    assert len(found) == len(MODELS)
    assert max(found.values()) <= TOLERANCE, found
