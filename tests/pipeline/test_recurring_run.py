"""The continual pipeline on a cluster: the compiled pipeline and the requests to the server."""

import copy
import http.server
import json
import pathlib
import threading

import pytest

from mdctr.errors import UserError
from pipeline.cli.main import main
from pipeline.cluster import compile_pipeline, submit_recurring
from pipeline.config import load_config
from tests import yaml_files
from tests.components.continual.daily_log import settings

GOLDEN = pathlib.Path(__file__).parent / 'golden' / 'ctnet-abc.yaml'


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp('recurring')
    values = copy.deepcopy(settings(folder, target_domains=['small', 'tiny']))
    return yaml_files.write(folder / 'shops.yaml', values)


@pytest.fixture(scope='module')
def compiled(config, tmp_path_factory):
    path = tmp_path_factory.mktemp('compiled') / 'pipeline.yaml'
    compile_pipeline(load_config(config), str(path))
    return yaml_files.load_all(path.read_text())


class RecordingServer(http.server.ThreadingHTTPServer):
    """A server at `address` that records what it receives in `sent` and `tokens`."""

    address: str
    sent: dict[str, dict]
    tokens: list[str | None]


@pytest.fixture
def server():

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            tokens.append(self.headers.get('Authorization'))
            body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
            if body:
                sent[self.path.rsplit('/', 1)[-1]] = json.loads(body)
            answer = json.dumps(
                {'experiment_id': 'e', 'recurring_run_id': 'the-id', 'run_id': 'the-run'}
                if body
                else {}
            ).encode()
            self.send_response(200)
            self.send_header('Content-Type', 'application/json')
            self.send_header('Content-Length', str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST

        def log_message(self, *_):
            pass

    sent, tokens = {}, []
    with RecordingServer(('127.0.0.1', 0), Handler) as running:
        running.sent, running.tokens = sent, tokens
        running.address = f'http://127.0.0.1:{running.server_port}'
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def test_equals_the_golden_copy(tmp_path):
    compile_pipeline(load_config('ctnet-abc'), str(tmp_path / 'ctnet-abc.yaml'))
    documents = [
        yaml_files.load_all(path.read_text()) for path in (tmp_path / 'ctnet-abc.yaml', GOLDEN)
    ]
    for spec, _ in documents:
        spec.pop('sdkVersion')
    assert documents[0] == documents[1], (
        'the compiled pipeline changed; if that is meant, renew the golden copy with '
        'mdctr compile ctnet-abc -o tests/pipeline/golden/ctnet-abc.yaml'
    )


def test_a_run_finds_the_period_and_without_one_starts_nothing(compiled):
    root = compiled[0]['root']['dag']
    assert set(root['tasks']) == {'find-period', 'condition-1'}
    condition = root['tasks']['condition-1']['triggerPolicy']['condition']
    assert condition.endswith("['pipelinechannel--find-period-Output'] != ''")


def test_targets_come_after_the_source_and_run_in_parallel(compiled):
    tasks = compiled[0]['components']['comp-condition-1']['dag']['tasks']
    by_name = {
        task['taskInfo']['name']: (key, task.get('dependentTasks', []))
        for key, task in tasks.items()
    }
    source = by_name['push shops-source'][0]
    for model in ('small', 'tiny'):
        assert by_name[f'train shops-{model}'][1] == [source]
        assert by_name[f'push shops-{model}'][1] == [by_name[f'evaluate shops-{model}'][0]]
    again = next(task for key, task in tasks.items() if key.startswith('find-period'))
    assert set(again['dependentTasks']) == {
        by_name[f'push shops-{model}'][0] for model in ('source', 'small', 'tiny')
    }


def test_pending_periods_are_nested_up_to_periods_per_run(config, tmp_path):
    for count in (1, 3):
        path = tmp_path / f'{count}.yaml'
        compile_pipeline(load_config(config, [f'continual.periods_per_run={count}']), str(path))
        spec = yaml_files.load_all(path.read_text())[0]
        conditions = [name for name in spec['components'] if 'condition' in name]
        assert len(conditions) == count
        for depth in range(1, count):
            inner = spec['components'][f'comp-condition-{depth}']['dag']['tasks']
            assert f'condition-{depth + 1}' in inner


def test_training_alone_asks_for_the_gpu_and_nothing_is_cached(compiled):
    spec, platform = compiled
    for name, executor in spec['deploymentSpec']['executors'].items():
        accelerator = executor['container'].get('resources', {}).get('accelerator')
        assert (accelerator is not None) == name.startswith('exec-train-period')
    for component in [spec['root'], *spec['components'].values()]:
        for name, task in component.get('dag', {}).get('tasks', {}).items():
            if not name.startswith('condition'):
                assert not task['cachingOptions'].get('enableCache')
    of = platform['platforms']['kubernetes']['deploymentSpec']['executors']
    assert len(of) == len(spec['deploymentSpec']['executors'])
    assert {each['pvcMount'][0]['mountPath'] for each in of.values()} == {'/mnt/mdctr'}


def test_a_recurring_run_is_alone_and_the_pipeline_catches_up_itself(config, server, capsys):
    assert main(['submit', config, '--host', server.address, '--recurring', '0 3 * * *']) == 0
    assert 'Created the recurring run the-id' in capsys.readouterr().out
    asked = server.sent['recurringruns']
    assert asked['trigger']['cron_schedule']['cron'] == '0 0 3 * * *'
    assert (asked['max_concurrency'], asked['no_catchup'], asked['mode']) == (1, True, 'ENABLE')
    assert asked['display_name'] == 'mdctr-shops-continual'
    assert set(asked['pipeline_spec']) == {'pipeline_spec', 'platform_spec'}
    assert asked['pipeline_spec']['pipeline_spec']['root']['dag']['tasks'].keys() == {
        'find-period',
        'condition-1',
    }


@pytest.mark.parametrize(
    ('flags', 'variable', 'sent'),
    [
        (['--token', 'abc'], None, 'Bearer abc'),
        (['--existing-token', 'abc'], 'other', 'Bearer abc'),
        ([], 'from-environment', 'Bearer from-environment'),
        ([], None, None),
    ],
)
@pytest.mark.parametrize(
    'recurring', [[], pytest.param(['--recurring', '0 3 * * *'], marks=pytest.mark.slow)]
)
def test_a_token_is_sent_to_the_server(
    config, server, monkeypatch, flags, variable, sent, recurring
):
    monkeypatch.delenv('MDCTR_TOKEN', raising=False)
    if variable:
        monkeypatch.setenv('MDCTR_TOKEN', variable)
    assert main(['submit', config, '--host', server.address, *flags, *recurring]) == 0
    assert set(server.tokens) == {sent}


def test_a_run_is_submitted_as_the_compiled_pipeline(config, server, capsys):
    assert main(['submit', config, '--host', server.address, '--namespace', 'team']) == 0
    assert 'Started the run the-run' in capsys.readouterr().out
    spec = server.sent['runs']['pipeline_spec']['pipeline_spec']
    policy = spec['root']['dag']['tasks']['find-period']['retryPolicy']
    assert policy['backoffMaxDuration'] == '604800s'


def test_what_cannot_recur_is_one_sentence(config):
    with pytest.raises(UserError, match="'every night' is not a schedule: write five or six"):
        submit_recurring(
            load_config(config), 'http://127.0.0.1:9', 'mdctr', None, 'every night'
        )
    with pytest.raises(UserError, match='movielens has no section continual'):
        submit_recurring(
            load_config('movielens'), 'http://127.0.0.1:9', 'mdctr', None, '0 0 3 * * *'
        )
    with pytest.raises(UserError, match='not submitted to http://127.0.0.1:9: '):
        submit_recurring(
            load_config(config), 'http://127.0.0.1:9', 'mdctr', None, '0 0 3 * * *'
        )
