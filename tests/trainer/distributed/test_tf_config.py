"""TF_CONFIG: clusters as launchers write them, and every way in which one can be malformed."""

import json

import pytest

from mdctr.errors import UserError
from trainer.distributed.tf_config import split_address, task_of_environment

CHIEF = {'type': 'chief', 'index': 0}
WORKER = {'type': 'worker', 'index': 0}
CLUSTER = {'chief': ['a:1'], 'worker': ['b:1', 'c:1'], 'ps': ['d:1']}


def config(task, **cluster):
    return json.dumps({'cluster': cluster, 'task': task})


@pytest.mark.parametrize(
    'text',
    [
        None,
        '',
        '  ',
        '{}',
        config(CHIEF, chief=['a:1']),
        config(WORKER, worker=['a:1'], ps=[]),
        '{"cluster": {"worker": ["a:1"]}}',
        '{"environment": "cloud"}',
        '{"cluster": {}, "environment": "cloud"}',
    ],
)
def test_a_process_by_itself_trains_alone(monkeypatch, text):
    monkeypatch.delenv('TF_CONFIG', raising=False)
    if text is not None:
        monkeypatch.setenv('TF_CONFIG', text)
    assert task_of_environment() is None


def test_a_cluster_as_the_training_operator_writes_it(monkeypatch):
    monkeypatch.setenv(
        'TF_CONFIG',
        json.dumps(
            {
                'cluster': {
                    'chief': ['c-0.ns.svc:2222'],
                    'worker': ['w-0.ns.svc:2222', 'w-1.ns.svc:2222'],
                    'ps': ['p-0.ns.svc:2222'],
                },
                'task': {'type': 'worker', 'index': 1},
                'environment': 'cloud',
            }
        ),
    )
    task = task_of_environment()
    assert (task.type, task.index, str(task)) == ('worker', 1, 'worker 1')
    assert task.address == 'w-1.ns.svc:2222'
    assert task.cluster['worker'] == ['w-0.ns.svc:2222', 'w-1.ns.svc:2222']


def test_hosts_and_ports(monkeypatch):
    addresses = {'chief': ['[fd00::2]:2222'], 'worker': ['10.0.0.7:1'], 'ps': ['my_host:65535']}
    monkeypatch.setenv('TF_CONFIG', config({'type': 'chief', 'index': '0'}, **addresses))
    assert task_of_environment().address == '[fd00::2]:2222'
    assert [split_address(each[0]) for each in addresses.values()] == [
        ('fd00::2', 2222),
        ('10.0.0.7', 1),
        ('my_host', 65535),
    ]


@pytest.mark.parametrize(
    ('text', 'sentence'),
    [
        ('{', 'TF_CONFIG is not valid JSON'),
        ("{'cluster': {}}", 'TF_CONFIG is not valid JSON'),
        ('[]', 'not a JSON object'),
        ('"chief"', 'not a JSON object'),
        ('null', 'not a JSON object'),
        (json.dumps({'task': CHIEF}), 'has a task but no cluster'),
        (json.dumps({'cluster': None, 'task': CHIEF}), 'has a task but no cluster'),
        (config(CHIEF), 'chief 0, which is not in its cluster .no tasks'),
        (json.dumps({'cluster': ['a:1'], 'task': CHIEF}), 'not an object of lists'),
        (json.dumps({'cluster': 'a:1', 'task': CHIEF}), 'not an object of lists'),
        (config(CHIEF, **{**CLUSTER, 'ps': 'd:1'}), 'not an object of lists'),
        (config(CHIEF, **{**CLUSTER, 'ps': {'0': 'd:1'}}), 'not an object of lists'),
        (config(CHIEF, **{**CLUSTER, 'ps': None}), 'not an object of lists'),
        (json.dumps({'cluster': CLUSTER}), 'does not name the type and index'),
        (config({}, **CLUSTER), 'does not name the type and index'),
        (config('chief', **CLUSTER), 'does not name the type and index'),
        (config({'type': 'chief'}, **CLUSTER), 'does not name the type and index'),
        (config({'type': 1, 'index': 0}, **CLUSTER), 'does not name the type and index'),
        (config({'type': 'chief', 'index': None}, **CLUSTER), 'does not name the type'),
        (config({'type': 'chief', 'index': 0.0}, **CLUSTER), 'does not name the type'),
        (config({'type': 'chief', 'index': True}, **CLUSTER), 'does not name the type'),
        (config({'type': 'chief', 'index': -1}, **CLUSTER), 'does not name the type'),
        (config({'type': 'chief', 'index': '-1'}, **CLUSTER), 'does not name the type'),
        (
            config({'type': 'worker', 'index': 2}, **CLUSTER),
            'names task worker 2, which is not in its cluster .1 chief, 2 worker, 1 ps.',
        ),
        (
            config({'type': 'master', 'index': 0}, **CLUSTER),
            'names task master 0, which is not',
        ),
        (config(CHIEF, worker=['a:1']), 'names task chief 0, which is not in its cluster'),
        (config({'type': 'evaluator', 'index': 0}, **CLUSTER), 'the chief evaluates: remove'),
        (config({'type': 'evaluator', 'index': 0}, evaluator=['a:1']), 'the chief evaluates'),
        (config(CHIEF, evaluator=['e:1'], **CLUSTER), 'one chief, which also evaluates'),
        (config(CHIEF, chief=['a:1'], worker=['b:1']), 'TF_CONFIG has 1 chief, 1 worker'),
        (config(CHIEF, chief=['a:1'], ps=['b:1']), 'TF_CONFIG has 1 chief, 1 ps'),
        (config(WORKER, worker=['a:1'], ps=['b:1']), 'needs one chief'),
        (config(CHIEF, **{**CLUSTER, 'chief': ['a:1', 'e:1']}), 'needs one chief'),
        (config(WORKER, worker=['a:1', 'b:1']), 'TF_CONFIG has 2 worker'),
        (config(WORKER, master=['a:1'], worker=['b:1'], ps=['c:1']), 'has 1 master, 1 worker'),
        (config(CHIEF, **{**CLUSTER, 'ps': ['b:1']}), 'worker 0 and ps 0 the same address b:1'),
        (config(CHIEF, **{**CLUSTER, 'worker': ['b:1', 'b:1']}), 'worker 0 and worker 1 the'),
        (config(CHIEF, **{**CLUSTER, 'ps': ['d']}), '"d" of ps 0 .* form HOST:PORT'),
        (config(CHIEF, **{**CLUSTER, 'ps': [7]}), '7 of ps 0 .* form HOST:PORT'),
        (config(CHIEF, **{**CLUSTER, 'ps': [None]}), 'null of ps 0'),
        (config(CHIEF, **{**CLUSTER, 'ps': ['']}), '"" of ps 0'),
        (config(CHIEF, **{**CLUSTER, 'ps': [':2222']}), '":2222" of ps 0'),
        (config(CHIEF, **{**CLUSTER, 'ps': ['d:']}), '"d:" of ps 0'),
        (config(CHIEF, **{**CLUSTER, 'ps': ['d:x']}), '"d:x" of ps 0'),
        (config(CHIEF, **{**CLUSTER, 'ps': ['d:0']}), '"d:0" of ps 0'),
        (config(CHIEF, **{**CLUSTER, 'ps': ['d:65536']}), '"d:65536" of ps 0'),
        (config(CHIEF, **{**CLUSTER, 'ps': ['grpc://d:1']}), 'of ps 0'),
        (config(CHIEF, **{**CLUSTER, 'ps': ['fd00::2:1']}), 'of ps 0'),
        (
            json.dumps(
                {'sparseCluster': {'worker': {'0': 'a:1'}, 'ps': ['b:1']}, 'task': WORKER}
            ),
            'sparseCluster.*set enableDynamicWorker of the TFJob to false',
        ),
        (
            json.dumps({'sparseCluster': {'worker': {}, 'ps': None}, 'task': CHIEF}),
            'sparseCluster.*set enableDynamicWorker of the TFJob to false',
        ),
    ],
)
def test_malformed_values_are_refused_in_one_sentence(monkeypatch, text, sentence):
    monkeypatch.setenv('TF_CONFIG', text)
    with pytest.raises(UserError, match=sentence) as refused:
        task_of_environment()
    assert '\n' not in str(refused.value)
