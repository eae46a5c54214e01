"""Who may connect to what: servers that do not authenticate their clients have a policy."""

from typing import Any

import pytest

from tests.k8s.manifests import (
    K8S,
    TARGETS,
    Manifest,
    containers,
    of_kind,
    pods,
    render,
    render_with,
    selects,
)

HERE = {'kubernetes.io/metadata.name': 'mdctr'}
ELSEWHERE = {'kubernetes.io/metadata.name': 'other'}


@pytest.fixture(params=TARGETS)
def objects(request: pytest.FixtureRequest) -> list[Manifest]:
    return render(K8S / request.param)


@pytest.fixture
def everything(tmp_path) -> list[Manifest]:
    return render_with(tmp_path, resources=['overlays/gpu'], components=['components/flink'])


def listens(pod: Manifest) -> bool:
    """Tells whether a pod has a server; the operators' main containers declare no ports."""
    return any(
        container.get('ports') or container['name'] in ('flink-main-container', 'model')
        for container in containers(pod)
    )


def labels_of(objects: list[Manifest], where: str) -> dict[str, str]:
    (labels,) = [pod['metadata']['labels'] for found, pod in pods(objects) if found == where]
    return labels


def allowed(
    objects: list[Manifest],
    to: dict[str, str],
    port: int,
    client: dict[str, str],
    namespace: dict[str, str] = HERE,
) -> bool:
    """Tells whether the policies let a pod connect to another, as Kubernetes specifies it.

    Args:
        objects: Rendered manifests.
        to: Labels of the pod that is connected to, in the namespace of the manifests.
        port: Port that is connected to.
        client: Labels of the pod that connects.
        namespace: Labels of its namespace.
    """
    policies = [
        found['spec']
        for found in of_kind(objects, 'NetworkPolicy').values()
        if selects(found['spec']['podSelector'], to)
    ]
    return not policies or any(
        _matches(rule, port, client, namespace) for spec in policies for rule in spec['ingress']
    )


def _matches(
    rule: dict[str, Any], port: int, client: dict[str, str], namespace: dict[str, str]
) -> bool:
    if 'ports' in rule and port not in [entry['port'] for entry in rule['ports']]:
        return False
    for peer in rule['from']:
        in_namespace = (
            selects(peer['namespaceSelector'], namespace)
            if 'namespaceSelector' in peer
            else namespace == HERE
        )
        if in_namespace and selects(peer.get('podSelector', {}), client):
            return True
    return False


def test_every_server_has_a_policy(objects):
    policies = of_kind(objects, 'NetworkPolicy').values()
    listening = [(where, pod) for where, pod in pods(objects) if listens(pod)]
    assert listening
    for where, pod in listening:
        assert [
            found
            for found in policies
            if selects(found['spec']['podSelector'], pod['metadata']['labels'])
        ], where


def test_policies_restrict_ingress_alone_and_select_pods_that_exist(everything):
    for name, policy in of_kind(everything, 'NetworkPolicy').items():
        assert policy['spec']['policyTypes'] == ['Ingress'], name
        assert [
            where
            for where, pod in pods(everything)
            if selects(policy['spec']['podSelector'], pod['metadata']['labels'])
        ], name
        for rule in policy['spec']['ingress']:
            assert rule['from'], name  # an empty list would admit everyone


def test_parameter_servers_are_reachable_only_from_their_own_job(everything):
    job = of_kind(everything, 'TFJob')['mdctr-train']
    replicas = [
        labels_of(everything, f'TFJob mdctr-train {name}')
        for name in job['spec']['tfReplicaSpecs']
    ]
    step = {'pipeline/runid': '1', 'app.kubernetes.io/part-of': 'mdctr'}
    for to in replicas:
        for client in replicas:
            assert allowed(everything, to, 2222, client)
            assert not allowed(everything, to, 22, client)
            assert not allowed(everything, to, 2222, client, ELSEWHERE)
        for client in (
            step,
            labels_of(everything, 'Deployment tensorboard'),
            {'training.kubeflow.org/job-name': 'other'},
        ):
            assert not allowed(everything, to, 2222, client)


@pytest.mark.parametrize('name', ['tensorboard', 'serving'])
@pytest.mark.parametrize('target', ['base', 'overlays/kserve'])
def test_servers_are_reachable_only_from_labelled_clients(name, target):
    objects = render(K8S / target)
    where = (
        'InferenceService mdctr'
        if (name, target) == ('serving', 'overlays/kserve')
        else (f'Deployment {name}')
    )
    port = {'tensorboard': 6006, 'serving': 8501}[name] if where.startswith('Dep') else 8080
    to, label = labels_of(objects, where), {f'mdctr-{name}-client': 'true'}
    assert allowed(objects, to, port, label)
    assert allowed(objects, to, port, {}, ELSEWHERE | label)
    assert not allowed(objects, to, port, {})
    assert not allowed(objects, to, port, label, ELSEWHERE)
    assert not allowed(objects, to, port, {f'mdctr-{name}-client': 'false'})
    readme = (K8S / 'README.md').read_text()
    assert f'mdctr-{name}-client=true' in readme


def test_flink_runs_jobs_of_this_namespace_alone(everything):
    flink = labels_of(everything, 'FlinkDeployment mdctr-flink task manager')
    server = labels_of(everything, 'Deployment beam-job-server')
    operator = {'app.kubernetes.io/name': 'flink-kubernetes-operator'}
    step = {'pipeline/runid': '1'}
    for port in (6123, 6124, 8081, 50000):  # RPC, blobs, REST, Python workers
        assert allowed(everything, flink, port, flink)
    for client, namespace in ((server, HERE), (step, HERE), (operator, ELSEWHERE)):
        assert allowed(everything, flink, 8081, client, namespace)
        assert not allowed(everything, flink, 50000, client, namespace)
    assert not allowed(everything, flink, 8081, step, ELSEWHERE)
    for port in (8098, 8099):
        assert allowed(everything, server, port, step)
        assert not allowed(everything, server, port, step, ELSEWHERE)


def test_pods_that_end_and_pods_that_steps_connect_to_have_no_istio_sidecar(everything):
    """A job with a sidecar never finishes; steps, which have none, fail strict mTLS."""
    found = 0
    for where, pod in pods(everything):
        if where.split()[0] in ('Job', 'TFJob', 'FlinkDeployment') or 'job-server' in where:
            assert pod['metadata']['labels']['sidecar.istio.io/inject'] == 'false', where
            found += 1
    assert found == 6
