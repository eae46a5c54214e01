"""The compiled pipeline's steps in the built image, by Kubeflow's rules."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cluster import compile_pipeline
from pipeline.config import load_config
from tests.image.builder import Image
from tests.image.sandbox import ImageSandbox
from tests.kubeflow.backend.artifact_store import ArtifactStore
from tests.kubeflow.backend.spec import read_pipeline
from tests.kubeflow.backend.workflow import Backend
from tests.pipeline.own_log import write_config, write_log

pytestmark = [pytest.mark.image, pytest.mark.timeout(3600)]


def test_the_five_steps_push_a_version(image: Image, store: ArtifactStore, tmp_path: Path):
    """As user 10001, on a read-only root, with an inherited umask of 0 as under Argo."""
    workspace = tmp_path / 'workspace'
    (workspace / 'raw').mkdir(parents=True)
    write_log(workspace / 'raw' / 'log.csv')
    config = write_config(tmp_path / 'shops.yaml', Path('/mnt/mdctr/raw/log.csv'))
    compile_pipeline(load_config(config), str(tmp_path / 'pipeline.yaml'))
    backend = Backend(
        store, tmp_path / 'pods', {'mdctr-workspace': workspace}, sandbox=ImageSandbox(image)
    )
    tasks = backend.run(read_pipeline(tmp_path / 'pipeline.yaml'))
    print()
    for name, task in tasks.items():
        print(f'{name}: {task.state}, {task.seconds:.1f} s {task.error}')
        assert task.state == 'succeeded', task.log[-3000:]
    assert list(tasks) == ['preprocess', 'validate-data', 'train', 'evaluate', 'push']
    version = workspace / 'models' / 'shops' / '1'
    assert (version / 'saved_model.pb').exists()
    written = list(_written(workspace))
    assert {path.stat().st_uid for path in written} == {10001}
    open_to_all = [path for path in written if path.lstat().st_mode & stat.S_IWOTH]
    assert not open_to_all, open_to_all[:5]


def _written(workspace: Path) -> Iterator[Path]:
    raw = workspace / 'raw'
    return (path for path in workspace.rglob('*') if raw not in (path, *path.parents))
