"""The continual pipeline by Kubeflow's rules: two periods, the second without a new day."""

import pathlib

import pytest
import yaml

from pipeline.cluster import compile_pipeline
from pipeline.config import load_config
from tests.components.continual.daily_log import settings, write_day
from tests.kubeflow.backend.spec import read_pipeline
from tests.kubeflow.backend.workflow import Backend

STEPS = [
    f'{verb}-period{number}' for number in ('', '-2') for verb in ('train', 'evaluate', 'push')
]


@pytest.mark.slow
def test_a_period_is_trained_and_without_a_new_day_nothing_is_started(store, tmp_path):
    workspace = tmp_path / 'workspace'
    for number in (1, 2):
        write_day(workspace / 'raw', number)
    (tmp_path / 'shops.yaml').write_text(
        yaml.safe_dump(settings(pathlib.Path('/mnt/mdctr/raw')))
    )
    compile_pipeline(load_config(str(tmp_path / 'shops.yaml')), str(tmp_path / 'pipeline.yaml'))
    backend = Backend(store, tmp_path / 'pods', {'mdctr-workspace': workspace})
    tasks = backend.run(read_pipeline(tmp_path / 'pipeline.yaml'))
    for name, task in tasks.items():
        print(
            f'{name}: {task.state}, {task.seconds:.1f} s, {task.inputs:,} bytes of input, '
            f'{task.error}'
        )
    assert tasks['find-period'].outputs.parameters['Output'] == '1', tasks['find-period'].log
    for name in STEPS:
        task = tasks[f'condition-1/{name}']
        assert task.state == 'succeeded', (name, task.error, task.log)
    assert (workspace / 'models' / 'shops-source' / '1' / 'saved_model.pb').exists()
    assert (workspace / 'models' / 'shops-small' / '1' / 'saved_model.pb').exists()
    # The second half of the pipeline finds that no other period waits.
    last = tasks['condition-1/find-period-2']
    assert last.outputs.parameters['Output'] == '', last.log
    assert tasks['condition-1/condition-2'].state == 'skipped'
