"""The rules of KFP's driver and launcher, as the backend of these tests keeps them."""

import json
import os
import pathlib

import pytest
from kfp import compiler, dsl, kubernetes

from tests.kubeflow.backend.artifact_store import ArtifactStore, LauncherError
from tests.kubeflow.backend.expressions import evaluate_condition
from tests.kubeflow.backend.sandbox import Sandbox
from tests.kubeflow.backend.spec import CompiledPipeline, read_pipeline
from tests.kubeflow.backend.workflow import Backend


def step(function):
    """A component of this file; the environment of the tests is its image."""
    return dsl.component(function, install_kfp_package=False)


@step
def write(text: str, written: dsl.Output[dsl.Artifact], number: int = 3) -> str:
    """Writes an artifact with metadata."""
    with open(written.path, 'w') as file:
        file.write(text)
    written.metadata.update({'number': number, 'sound': True})
    return text.upper()


@step
def read(artifact: dsl.Input[dsl.Artifact]) -> str:
    """Returns an artifact's content and metadata."""
    import json

    with open(artifact.path) as file:
        return json.dumps(
            [file.read(), artifact.metadata['number'], artifact.metadata['sound']]
        )


@step
def point_at_directory(place: str, placed: dsl.Output[dsl.Dataset]):
    """Sets an output's URI to a directory, which is what KFP rejects."""
    placed.uri = place


@step
def fill(size: int, filled: dsl.Output[dsl.Artifact]):
    """Puts a text of some size into the metadata."""
    filled.metadata['text'] = 'x' * size


@step
def measure(artifact: dsl.Input[dsl.Artifact]) -> int:
    """The length of a text in the metadata."""
    return len(artifact.metadata['text'])


@step
def look(secret: str, mount: str) -> str:
    """Tells what a step can see and do."""
    import json
    import os

    def writable(path: str) -> bool:
        try:
            with open(os.path.join(path, 'probe'), 'w'):
                return True
        except OSError:
            return False

    places = ('/', '/usr', '/etc', os.getcwd(), os.environ['HOME'], '/tmp', mount)
    return json.dumps(
        {
            'user': os.getuid(),
            'empty': os.listdir('.') == [],
            'writable': [place for place in places if writable(place)],
            'umask': os.umask(0),
            'secret': os.environ.get(secret),
        }
    )


@step
def fail(mount: str):
    """Fails and leaves a line in the volume each time."""
    import os

    with open(os.path.join(mount, 'attempts'), 'a') as file:
        file.write(os.environ.get('KFP_RETRY_INDEX', '-') + '\n')
    raise SystemExit(1)


@pytest.fixture
def backend(store: ArtifactStore, tmp_path: pathlib.Path) -> Backend:
    (tmp_path / 'claim').mkdir()
    return Backend(store, tmp_path / 'pods', {'workspace': tmp_path / 'claim'})


def compiled(function, tmp_path: pathlib.Path) -> CompiledPipeline:
    path = tmp_path / 'pipeline.yaml'
    compiler.Compiler().compile(function, str(path))
    return read_pipeline(path)


def test_artifacts_pass_through_the_store_and_parameters_have_defaults(backend, tmp_path):
    @dsl.pipeline(name='pass')
    def pipeline(text: str = 'one'):
        written = write(text=text).set_caching_options(False)
        read(artifact=written.outputs['written']).set_caching_options(False)

    tasks = backend.run(compiled(pipeline, tmp_path))
    assert tasks['read'].error == '', tasks['read'].log
    assert json.loads(tasks['read'].outputs.parameters['Output']) == ['one', 3, 1]
    assert tasks['write'].outputs.parameters['Output'] == 'ONE'
    tasks = backend.run(compiled(pipeline, tmp_path), text='two')
    assert json.loads(tasks['read'].outputs.parameters['Output'])[0] == 'two'
    with pytest.raises(LauncherError, match='no input parameter other'):
        backend.run(compiled(pipeline, tmp_path), other=1)


def test_an_input_whose_uri_is_a_path_fails_its_task_before_the_program_starts(
    backend, tmp_path
):
    @dsl.pipeline(name='path')
    def pipeline():
        placed = point_at_directory(place='/mnt/data').set_caching_options(False)
        read(artifact=placed.outputs['placed']).set_caching_options(False)

    tasks = backend.run(compiled(pipeline, tmp_path))
    assert tasks['point-at-directory'].state == 'succeeded'
    assert tasks['read'].state == 'failed' and tasks['read'].log == ''
    assert "unrecognized uri format: '/mnt/data'" in tasks['read'].error


@pytest.mark.parametrize(
    ('uri', 'accepted'),
    [
        ('s3://bucket/a', True),
        ('gs://bucket', True),
        ('minio://bucket/a', True),
        ('mem://bucket/a', True),
        ('oci://registry/image', True),
        ('/mnt/a', False),
        ('', False),
        ('file:///mnt/a', False),
        ('https://host/a', False),
        ('hdfs://host/a', False),
    ],
)
def test_uris_of_input_artifacts(store, uri, accepted):
    if accepted:
        store.check(uri)
    else:
        with pytest.raises(LauncherError, match='parse bucket config failed'):
            store.check(uri)


@pytest.mark.parametrize(('size', 'fits'), [(120_000, True), (131_072, False)])
def test_the_metadata_of_inputs_is_one_argument(backend, tmp_path, size, fits):
    @dsl.pipeline(name='fill')
    def pipeline(size: int):
        filled = fill(size=size).set_caching_options(False)
        measure(artifact=filled.outputs['filled']).set_caching_options(False)

    task = backend.run(compiled(pipeline, tmp_path), size=size)['measure']
    assert task.inputs > size
    if fits:
        assert task.outputs.parameters['Output'] == size
    else:
        assert 'Argument list too long' in task.error


def test_conditions_skip_a_nested_dag_and_what_follows_it(backend, tmp_path):
    @dsl.pipeline(name='conditions')
    def pipeline(text: str):
        written = write(text=text).set_caching_options(False)
        with dsl.If(written.outputs['Output'] != '', 'there is text'):
            again = write(text=written.outputs['Output']).set_caching_options(False)
            with dsl.If(again.outputs['Output'] == 'NEVER'):
                write(text='inner').set_caching_options(False)
            write(text='after').set_caching_options(False).after(again)

    tasks = backend.run(compiled(pipeline, tmp_path), text='')
    assert {name: task.state for name, task in tasks.items()} == {
        'write': 'succeeded',
        'condition-1': 'skipped',
    }
    tasks = backend.run(compiled(pipeline, tmp_path), text='a')
    assert {name: task.state for name, task in tasks.items()} == {
        'write': 'succeeded',
        'condition-1': 'succeeded',
        'condition-1/write-2': 'succeeded',
        'condition-1/condition-2': 'skipped',
        'condition-1/write-4': 'succeeded',
    }


@pytest.mark.parametrize(
    ('condition', 'value'),
    [
        ("inputs.parameter_values['a'] == 'x'", True),
        ("inputs.parameter_values['a'] != ''", True),
        (
            "!(inputs.parameter_values['a'] == 'x') || int(inputs.parameter_values['n']) >= 2",
            True,
        ),
        ("inputs.parameter_values['a'] == 'x' && inputs.parameter_values['n'] < 2", False),
        ("inputs.parameter_values['b'] == true", False),
    ],
)
def test_expressions(condition, value):
    assert evaluate_condition(condition, {'a': 'x', 'n': 2.0, 'b': False}) is value


@pytest.mark.parametrize(
    'condition',
    [
        "inputs.parameter_values['missing'] == 'x'",
        "inputs.parameter_values['a'] == 1",
        "inputs.parameter_values['a']",
        "'a' + 'b' == 'ab'",
    ],
)
def test_expressions_that_cel_refuses(condition):
    with pytest.raises(ValueError):
        evaluate_condition(condition, {'a': 'x'})


def test_a_task_is_retried_by_its_policy_and_the_rest_is_left_out(backend, tmp_path):
    @dsl.pipeline(name='retries')
    def pipeline():
        failing = fail(mount='/mnt/claim').set_caching_options(False)
        failing.set_retry(2, backoff_duration='30s', backoff_factor=2)
        kubernetes.mount_pvc(failing, pvc_name='workspace', mount_path='/mnt/claim')
        write(text='x').set_caching_options(False).after(failing)

    tasks = backend.run(compiled(pipeline, tmp_path))
    assert [len(tasks['fail'].attempts), tasks['fail'].waits] == [3, [30, 60]]
    assert tasks['write'].state == 'omitted'
    attempts = (tmp_path / 'claim' / 'attempts').read_text().split()
    assert attempts == ['0', '1', '2']


def test_retries_end_with_the_longest_duration(backend, tmp_path):
    @dsl.pipeline(name='duration')
    def pipeline():
        failing = fail(mount='/mnt/claim').set_caching_options(False)
        failing.set_retry(3, backoff_duration='100s', backoff_max_duration='200s')
        kubernetes.mount_pvc(failing, pvc_name='workspace', mount_path='/mnt/claim')

    task = backend.run(compiled(pipeline, tmp_path))['fail']
    assert task.waits == [100]
    assert task.error == 'Backoff would exceed max duration limit'


def test_the_importer_records_an_artifact_that_is_there(backend, store, tmp_path):
    source = tmp_path / 'source'
    source.write_text('imported')
    store.upload(source, f'{store.root}/imported')

    @dsl.pipeline(name='importer')
    def pipeline(uri: str):
        found = dsl.importer(
            artifact_uri=uri,
            artifact_class=dsl.Artifact,
            metadata={'number': 1, 'sound': False},
        )
        read(artifact=found.output).set_caching_options(False)

    tasks = backend.run(compiled(pipeline, tmp_path), uri=f'{store.root}/imported')
    assert json.loads(tasks['read'].outputs.parameters['Output']) == ['imported', 1, 0]
    tasks = backend.run(compiled(pipeline, tmp_path), uri='/mnt/data')
    assert 'unrecognized uri format' in tasks['importer'].error


@pytest.mark.parametrize('kind', ['root', 'user namespace'])
def test_a_step_sees_its_own_places_alone(backend, tmp_path, kind):
    usable = Sandbox()
    if usable.kind == 'plain' or (kind == 'root' and usable.kind != 'root'):
        pytest.skip(f'steps run here {usable.describe()}')
    backend.sandbox = Sandbox(kind)
    backend.secrets = {'object-store': {'key': 'hidden'}}

    @dsl.pipeline(name='look')
    def pipeline():
        looking = look(secret='AWS_SECRET', mount='/mnt/claim').set_caching_options(False)
        kubernetes.mount_pvc(looking, pvc_name='workspace', mount_path='/mnt/claim')
        kubernetes.use_secret_as_env(looking, 'object-store', {'key': 'AWS_SECRET'})

    task = backend.run(compiled(pipeline, tmp_path))['look']
    assert task.error == '', task.log
    assert json.loads(task.outputs.parameters['Output']) == {
        'user': 10001,
        'empty': True,
        'writable': ['/tmp', '/mnt/claim'],
        'umask': 0,
        'secret': 'hidden',
    }
    probe = (tmp_path / 'claim' / 'probe').stat()
    assert probe.st_uid == (10001 if kind == 'root' else os.getuid())
