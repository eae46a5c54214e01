"""The compiled pipeline: what Kubeflow would run."""

import pathlib

import pytest

from mdctr.errors import UserError
from pipeline.cluster import compile_pipeline, submit
from pipeline.config import load_config
from tests import yaml_files

GOLDEN = pathlib.Path(__file__).parent / 'golden' / 'movielens.yaml'
STEPS = {'preprocess', 'validate-data', 'train', 'evaluate', 'push'}


def _parsed(path) -> list[dict]:
    documents = yaml_files.load_all(pathlib.Path(path).read_text())
    documents[0].pop('sdkVersion')
    return documents


@pytest.fixture(scope='module')
def compiled(tmp_path_factory):
    path = tmp_path_factory.mktemp('compiled') / 'pipeline.yaml'
    compile_pipeline(load_config('movielens'), str(path))
    return _parsed(path)


def test_equals_the_golden_copy(compiled):
    assert compiled == _parsed(GOLDEN), (
        'the compiled pipeline changed; if that is meant, renew the golden copy with '
        'mdctr compile movielens -o tests/pipeline/golden/movielens.yaml'
    )


def test_kfp_loads_the_golden_copy():
    from kfp import components

    loaded = components.load_component_from_file(str(GOLDEN))
    assert set(loaded.pipeline_spec.root.dag.tasks) == STEPS


def test_training_alone_asks_for_the_gpu(compiled):
    executors = compiled[0]['deploymentSpec']['executors']
    accelerators = {
        name: executor['container'].get('resources', {}).get('accelerator')
        for name, executor in executors.items()
    }
    assert accelerators.pop('exec-train') == {
        'count': '1',
        'resourceCount': '1',
        'resourceType': 'nvidia.com/gpu',
        'type': 'nvidia.com/gpu',
    }
    assert set(accelerators.values()) == {None}
    platform = compiled[1]['platforms']['kubernetes']['deploymentSpec']['executors']
    tolerating = {name for name, of in platform.items() if 'tolerations' in of}
    assert tolerating == {'exec-train'}


def test_every_step_mounts_the_workspace_and_runs_in_the_image(compiled):
    platform = compiled[1]['platforms']['kubernetes']['deploymentSpec']['executors']
    assert {of['pvcMount'][0]['mountPath'] for of in platform.values()} == {'/mnt/mdctr'}
    assert len(platform) == len(STEPS)
    images = {
        executor['container']['image']
        for executor in compiled[0]['deploymentSpec']['executors'].values()
    }
    assert images == {load_config('movielens').cluster.image}


def test_nothing_is_installed_when_a_step_starts(compiled):
    for executor in compiled[0]['deploymentSpec']['executors'].values():
        assert 'pip install' not in ' '.join(executor['container']['command'])


def test_no_step_is_cached(compiled):
    # The backend's cache would not notice that the log under the same path has grown.
    for task in compiled[0]['root']['dag']['tasks'].values():
        assert not task['cachingOptions'].get('enableCache')


@pytest.mark.parametrize('name', ['movielens', 'ctnet-abc'])
def test_every_step_is_restarted_by_an_explicit_policy(name):
    """KFP's own longest duration is an hour, which would end a longer training at a retry."""
    spec = _parsed(GOLDEN.with_name(f'{name}.yaml'))[0]
    policies = [
        task.get('retryPolicy')
        for component in (spec['root'], *spec['components'].values())
        for task in component.get('dag', {}).get('tasks', {}).values()
        if not task['componentRef']['name'].startswith('comp-condition')
    ]
    assert len(policies) >= 5
    for policy in policies:
        assert policy == {
            'maxRetryCount': 3,
            'backoffDuration': '30s',
            'backoffFactor': 2.0,
            'backoffMaxDuration': '604800s',
        }


def test_retries_can_be_switched_off(tmp_path):
    compile_pipeline(load_config('movielens', ['cluster.retries=0']), str(tmp_path / 'p.yaml'))
    tasks = _parsed(tmp_path / 'p.yaml')[0]['root']['dag']['tasks']
    assert not [name for name, task in tasks.items() if 'retryPolicy' in task]


def test_every_step_gets_the_secrets_by_name_and_the_pipeline_holds_no_value(tmp_path):
    path = tmp_path / 'p.yaml'
    secrets = 'cluster.secrets={object-store: {access-key: AWS_ACCESS_KEY_ID}}'
    compile_pipeline(load_config('movielens', [secrets]), str(path))
    executors = _parsed(path)[1]['platforms']['kubernetes']['deploymentSpec']['executors']
    assert len(executors) == len(STEPS)
    for executor in executors.values():
        (secret,) = executor['secretAsEnv']
        assert secret['secretName'] == 'object-store'
        assert secret['keyToEnv'] == [
            {'envVar': 'AWS_ACCESS_KEY_ID', 'secretKey': 'access-key'}
        ]


def test_data_flows_in_order(compiled):
    tasks = compiled[0]['root']['dag']['tasks']
    assert tasks['validate-data']['dependentTasks'] == ['preprocess']
    assert tasks['train']['dependentTasks'] == ['preprocess', 'validate-data']
    assert tasks['evaluate']['dependentTasks'] == ['preprocess', 'train']
    assert tasks['push']['dependentTasks'] == ['evaluate', 'train']


def test_a_configuration_decides_the_cluster_settings(tmp_path):
    config = load_config(
        'movielens',
        [
            'cluster.gpus=0',
            'cluster.image=registry.example/mdctr-python:2',
            'cluster.node_selector={pool: large}',
            'cluster.beam_args=[--runner=FlinkRunner]',
        ],
    )
    compile_pipeline(config, str(tmp_path / 'p.yaml'))
    spec, platform = _parsed(tmp_path / 'p.yaml')
    container = spec['deploymentSpec']['executors']['exec-train']['container']
    assert 'accelerator' not in container['resources']
    assert container['image'] == 'registry.example/mdctr-python:2'
    train = platform['platforms']['kubernetes']['deploymentSpec']['executors']['exec-train']
    assert train['nodeSelector'] == {'labels': {'pool': 'large'}}
    assert 'tolerations' not in train
    inputs = spec['root']['inputDefinitions']['parameters']
    assert inputs['beam_args']['defaultValue'] == ['--runner=FlinkRunner']


@pytest.mark.parametrize(
    ('output', 'sentence'),
    [
        ('pipeline.txt', 'the compiled pipeline is YAML'),
        ('/nowhere/at/all/pipeline.yaml', 'is not a writable directory'),
    ],
)
def test_a_path_that_cannot_be_written_is_one_sentence(output, sentence):
    with pytest.raises(UserError, match=sentence):
        compile_pipeline(load_config('movielens'), output)


def test_a_server_that_does_not_answer_is_one_sentence():
    with pytest.raises(UserError, match='not submitted to http://127.0.0.1:9: '):
        submit(load_config('movielens'), 'http://127.0.0.1:9', 'mdctr', None)
