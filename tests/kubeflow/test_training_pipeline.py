"""The training pipeline by Kubeflow's rules, as a user's configuration compiles to it."""

import json
import os
import pathlib
import re
import signal
import stat

import numpy as np
import pytest
from kfp import compiler

from components.artifacts import MOST_SCALARS
from pipeline.cluster import compile_pipeline
from pipeline.config import load_config
from tests.kubeflow.backend.artifact_store import ArtifactStore
from tests.kubeflow.backend.launcher import Watcher
from tests.kubeflow.backend.spec import read_pipeline
from tests.kubeflow.backend.workflow import Backend, Task
from tests.kubeflow.pushed_version import pushed_version_pipeline
from tests.pipeline.own_log import write_config, write_log

STEPS = ['preprocess', 'validate-data', 'train', 'evaluate', 'push']
SMALL = {
    'model': {'name': 'mlp', 'embedding_dim': 4, 'hidden_units': [8]},
    'batch_size': 128,
    'epochs': 1,
    'learning_rate': 0.01,
    'checkpoint_steps': 10,
}


def write_wide_log(path: pathlib.Path, domains: int, rows_of_domain: int = 24) -> None:
    """A log of many shops; users like items of their own parity."""
    rows = domains * rows_of_domain
    draw = np.random.default_rng(0)
    user, item = draw.integers(0, 500, rows), draw.integers(0, 100, rows)
    shop = np.repeat(np.arange(domains), rows_of_domain)
    seconds = np.arange(rows_of_domain) * 6 * 86400 // rows_of_domain
    time = 1577836800 + np.tile(seconds, domains)
    click = draw.random(rows) < np.where(user % 2 == item % 2, 0.7, 0.2)
    lines = ['uid,sku,shop,time,clicked,age,tags']
    lines += [
        f'u{u},i{i},shop-{s:05d},{t},{int(c)},{20 + u % 7},a'
        for u, i, s, t, c in zip(user, item, shop, time, click, strict=True)
    ]
    path.write_text('\n'.join(lines) + '\n')


class Cluster:
    """A workspace, and a backend that runs a configuration's compiled pipeline on it."""

    def __init__(self, store: ArtifactStore, directory: pathlib.Path):
        self.store, self.directory = store, directory
        self.workspace = directory / 'workspace'
        (self.workspace / 'raw').mkdir(parents=True)
        self.log = self.workspace / 'raw' / 'log.csv'
        self.backend = Backend(store, directory / 'pods', {'mdctr-workspace': self.workspace})

    def run(self, **sections) -> dict[str, Task]:
        """Runs the pipeline; its log is where the claim is mounted."""
        config = write_config(
            self.directory / 'shops.yaml', pathlib.Path('/mnt/mdctr/raw/log.csv'), **sections
        )
        compile_pipeline(load_config(config), str(self.directory / 'pipeline.yaml'))
        print('Steps run', self.backend.sandbox.describe())
        tasks = self.backend.run(read_pipeline(self.directory / 'pipeline.yaml'))
        for name, task in tasks.items():
            print(
                f'{name}: {task.state}, {task.seconds:.1f} s, {task.inputs:,} bytes of input, '
                f'{task.error}'
            )
        return tasks

    def read(self, task: Task, artifact: str) -> str:
        """The content of an output artifact, as the user interface gets it."""
        return self.store.read(task.outputs.artifacts[artifact][0].uri).decode()


def succeeded(tasks: dict[str, Task]) -> None:
    for name in STEPS:
        assert tasks[name].state == 'succeeded', (name, tasks[name].error, tasks[name].log)


def metadata_of(tasks: dict[str, Task]) -> dict[str, dict]:
    """The metadata of every artifact, without what Kubeflow adds, by `task/artifact`."""
    return {
        f'{name}/{key}': {
            field: value
            for field, value in artifacts[0].metadata.items()
            if field not in ('display_name', 'store_session_info')
        }
        for name, task in tasks.items()
        for key, artifacts in task.outputs.artifacts.items()
    }


def lost_node(workspace: pathlib.Path):
    """Kills the first attempt at training when its second checkpoint is there."""

    def disturb(task: str, attempt: int) -> Watcher | None:
        def watch() -> signal.Signals | None:
            found = list(workspace.glob('training/shops/*/checkpoints/ckpt-*.index'))
            return signal.SIGKILL if len(found) >= 2 else None

        return watch if (task, attempt) == ('train', 0) else None

    return disturb


@pytest.fixture(scope='module')
def small(store, tmp_path_factory) -> tuple[Cluster, dict[str, Task]]:
    """A run on a small log, of which the node that trained was lost."""
    cluster = Cluster(store, tmp_path_factory.mktemp('small'))
    write_log(cluster.log)
    cluster.backend.disturbance = lost_node(cluster.workspace)
    cluster.backend.secrets = {'object-store': {'key': 'hidden'}}
    return cluster, cluster.run(
        train={**SMALL, 'epochs': 3},
        cluster={'secrets': {'object-store': {'key': 'AWS_SECRET_ACCESS_KEY'}}},
    )


def test_a_version_is_pushed(small):
    cluster, tasks = small
    succeeded(tasks)
    version = cluster.workspace / 'models' / 'shops' / '1'
    assert (version / 'saved_model.pb').exists()
    pushed = json.loads(cluster.read(tasks['push'], 'pushed'))
    assert pushed['location'] == '/mnt/mdctr/models/shops/1'


def test_a_pipeline_on_the_cluster_finds_the_version(small, tmp_path):
    """As `make test-cluster` looks for it."""
    cluster, _ = small
    config = load_config(str(cluster.directory / 'shops.yaml'))
    pushed = (cluster.workspace / 'models' / 'shops' / '1').stat().st_ctime
    for since, state in ((pushed - 100, 'succeeded'), (pushed + 100, 'failed')):
        compiler.Compiler().compile(
            pushed_version_pipeline(config, since), str(tmp_path / 'check.yaml')
        )
        task = cluster.backend.run(read_pipeline(tmp_path / 'check.yaml'))['find-version']
        assert task.state == state, task.log


def test_training_on_a_lost_node_resumes_on_another(small):
    cluster, tasks = small
    assert [bool(error) for error in tasks['train'].attempts] == [True, False]
    assert tasks['train'].waits == [30]
    assert 'Continuing at epoch' in tasks['train'].log
    assert len(list((cluster.workspace / 'training' / 'shops').iterdir())) == 1


def test_nothing_large_is_in_the_artifact_store(small):
    cluster, tasks = small
    keys = cluster.store.keys()
    assert not [key for key in keys if 'score' in key or 'saved_model' in key]
    assert cluster.store.bytes_stored() < 100_000
    for name, artifacts in (
        ('preprocess', ['dataset']),
        ('validate-data', ['validation']),
        ('train', ['model', 'logs']),
        ('evaluate', ['evaluation']),
        ('push', ['pushed']),
    ):
        for artifact in artifacts:
            content = json.loads(cluster.read(tasks[name], artifact))
            assert content.keys() == {'location', 'digest'}
            place = content['location'].replace('/mnt/mdctr', str(cluster.workspace))
            assert os.path.isdir(place) and len(content['digest']) == 64


def test_files_of_the_workspace_are_not_open_to_other_users(small):
    cluster, _ = small
    for path in cluster.workspace.rglob('*'):
        if 'raw' not in path.parts and not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            assert not mode & 0o027, f'{path} {mode:o}'


def test_metadata_says_what_an_artifact_is(small):
    _, tasks = small
    found = metadata_of(tasks)
    assert max(len(metadata) for metadata in found.values()) <= MOST_SCALARS
    assert all(
        isinstance(value, (str, float))
        for metadata in found.values()
        for value in metadata.values()
    )
    model = found['train/model']
    assert (model['model'], model['framework'], model['domains']) == ('mlp', 'joint', 3)
    assert model['dataset fingerprint'] == found['preprocess/dataset']['fingerprint']
    assert 0.5 < model['validation AUC'] < 1
    assert found['evaluate/evaluation']['blessed'] == 1
    assert 'PCOC' in found['evaluate/evaluation']['reasons']
    assert found['push/pushed']['version'] == 1
    assert found['validate-data/validation']['anomalies'] == 0


def test_metrics_and_reports_as_a_person_sees_them(small):
    cluster, tasks = small
    metrics = metadata_of(tasks)['evaluate/metrics']
    assert 0.5 < metrics['auc'] < 1
    assert sum('best domain' in name for name in metrics) == 3
    table = cluster.read(tasks['evaluate'], 'table')
    for shop in ('books', 'music', 'toys'):
        assert re.search(rf'^\| {shop} \| [\d,]+ \| 0\.', table, re.MULTILINE)
    for task in ('validate-data', 'evaluate'):
        page = cluster.read(tasks[task], 'report')
        assert page.startswith('<!DOCTYPE html>') and 'books' in page
        # It opens without a network, in a frame without rights.
        assert not re.search(r'(src|href)\s*=|@import|url\(|<script', page)
        # Tables that are wider than the frame scroll by themselves.
        assert page.count('<table') == page.count('<div class="wide"><table')


def test_a_users_error_is_shown_once_and_not_worked_on_again(store, tmp_path):
    cluster = Cluster(store, tmp_path)  # without a log
    task = cluster.run()['preprocess']
    assert task.state == 'failed' and len(task.attempts) == 4
    assert 'mdctr: ' in task.log and '/mnt/mdctr/raw/log.csv' in task.log
    assert 'Error of the first attempt; a retry cannot help.' in task.log
    assert 'Traceback' not in task.log.split('mdctr: ')[0]
    assert sum(task.waits) < 300


def of_many_domains(cluster: Cluster, domains: int) -> dict[str, Task]:
    """Runs the pipeline on many domains, and checks what would grow with them."""
    write_wide_log(cluster.log, domains)
    tasks = cluster.run(train=SMALL)
    succeeded(tasks)
    print('largest executor input:', max(task.inputs for task in tasks.values()), 'bytes')
    assert max(task.inputs for task in tasks.values()) < 5_000
    found = metadata_of(tasks)
    assert max(len(metadata) for metadata in found.values()) <= MOST_SCALARS
    assert sum('worst domain' in name for name in found['evaluate/metrics']) == 5
    report = cluster.read(tasks['evaluate'], 'report')
    table = cluster.read(tasks['evaluate'], 'table')
    print(f'report {len(report):,}, table {len(table):,} characters')
    for number in (0, domains // 2, domains - 1):
        assert f'shop-{number:05d}' in report
    assert len(table) < 400_000  # where the user interface cuts it off
    return tasks


@pytest.mark.slow
def test_of_a_thousand_domains(store, tmp_path):
    cluster = Cluster(store, tmp_path)
    tasks = of_many_domains(cluster, 1000)
    assert cluster.read(tasks['evaluate'], 'table').count('| shop-') == 1000


@pytest.mark.slow
def test_of_five_thousand_domains(store, tmp_path):
    of_many_domains(Cluster(store, tmp_path), 5000)
