"""The demo on an existing cluster: `make test-cluster KFP_HOST=... NAMESPACE=...`."""

import os

import pytest

from pipeline.cluster import submit
from pipeline.config import load_config
from tests.kubeflow.pushed_version import pushed_version_pipeline

LONGEST = 3 * 3600  # seconds, most of them for pulling the image and downloading MovieLens


@pytest.mark.cluster
@pytest.mark.timeout(LONGEST + 1800)
def test_the_demo_pushes_a_version(capsys):
    import kfp

    host, namespace = os.environ.get('KFP_HOST'), os.environ.get('NAMESPACE') or None
    token = os.environ.get('MDCTR_TOKEN')
    assert host, 'name the server: make test-cluster KFP_HOST=http://localhost:8080'
    config = load_config('movielens', os.environ.get('SET', '').split())
    client = kfp.Client(host=host, namespace=namespace or 'kubeflow', existing_token=token)

    def finished(run_id: str, seconds: int):
        with capsys.disabled():
            print(f'\nWaiting for the run {host}/#/runs/details/{run_id}', flush=True)
        run = client.wait_for_run_completion(run_id, seconds)
        failed = [task for task in run.run_details.task_details or [] if task.state == 'FAILED']
        assert run.state == 'SUCCEEDED', f'The run {run_id} ended as {run.state}: ' + ', '.join(
            task.display_name for task in failed
        )
        return run

    run = finished(submit(config, host, 'mdctr-test', namespace, token), LONGEST)
    check = client.create_run_from_pipeline_func(
        pushed_version_pipeline(config, run.created_at.timestamp()),
        experiment_name='mdctr-test',
        namespace=namespace,
        enable_caching=False,
    )
    finished(check.run_id, 1800)
