"""The manifests: rendered, valid, least privileged, and agreeing with the project."""

import re

import pytest
from kubernetes_validate import validate

from mdctr.workspace import models_directory, run_directory
from pipeline.config import ClusterConfig, built_in_names, load_config
from tests.k8s.manifests import (
    K8S,
    TARGETS,
    containers,
    of_kind,
    pods,
    render,
    render_with,
)

CUSTOM = {'TFJob', 'FlinkDeployment', 'InferenceService'}
# The oldest and the newest supported Kubernetes.
VERSIONS = ('1.29', '1.33')


@pytest.fixture(params=TARGETS)
def objects(request):
    return render(K8S / request.param)


@pytest.fixture
def everything(tmp_path):
    return render_with(
        tmp_path,
        resources=['overlays/gpu'],
        components=['components/flink', 'components/serving-gpu'],
    )


@pytest.mark.parametrize('version', VERSIONS)
def test_built_in_objects_meet_their_schemas(objects, version):
    checked = [
        validate(found, version, strict=True)
        for found in objects
        if found['kind'] not in CUSTOM
    ]
    assert len(checked) >= 6


def test_the_schemas_find_a_wrong_field():
    deployment = of_kind(render(K8S / 'base'), 'Deployment')['serving']
    spec = {**deployment['spec'], 'replica': 2}
    with pytest.raises(Exception, match='replica'):
        validate({**deployment, 'spec': spec}, VERSIONS[0], strict=True)


@pytest.mark.parametrize('target', ['everything', 'overlays/kserve'])
def test_pods_of_custom_resources_meet_the_schema_of_a_pod(target, everything):
    for _, pod in pods(everything if target == 'everything' else render(K8S / target)):
        spec = dict(pod['spec'])
        # The operator fills these in, and the fields of KServe's model go.
        spec['containers'] = [
            {
                'image': 'x:1',
                **{
                    key: value
                    for key, value in container.items()
                    if key not in ('modelFormat', 'protocolVersion', 'runtimeVersion')
                },
            }
            for container in spec['containers']
        ]
        for key in ('minReplicas', 'maxReplicas'):
            spec.pop(key, None)
        validate(
            {'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': 'x'}, 'spec': spec},
            VERSIONS[0],
            strict=True,
        )


def test_nothing_is_applied_twice_and_all_is_in_one_namespace(objects):
    names = [(found['kind'], found['metadata']['name']) for found in objects]
    assert len(set(names)) == len(names)
    created = set(of_kind(objects, 'Namespace'))  # the overlay kind uses Kubeflow's own
    assert {
        found['metadata'].get('namespace') for found in objects if found['kind'] != 'Namespace'
    } == (created or {'kubeflow'})
    assert len(created) <= 1


def test_services_find_their_pods_and_ports(everything):
    deployments = of_kind(everything, 'Deployment').values()
    for name, service in of_kind(everything, 'Service').items():
        selector = service['spec']['selector']
        templates = [found['spec']['template'] for found in deployments]
        (selected,) = [
            template
            for template in templates
            if selector.items() <= template['metadata']['labels'].items()
        ]
        ports = {
            port['name']
            for container in selected['spec']['containers']
            for port in container['ports']
        }
        assert {port['targetPort'] for port in service['spec']['ports']} <= ports, name
    for name, found in of_kind(everything, 'Deployment').items():
        labels = found['spec']['template']['metadata']['labels']
        assert found['spec']['selector']['matchLabels'].items() <= labels.items(), name


@pytest.mark.parametrize('target', ['everything', 'overlays/kserve'])
def test_what_pods_refer_to_exists(target, everything):
    everything = everything if target == 'everything' else render(K8S / target)
    claims = of_kind(everything, 'PersistentVolumeClaim')
    accounts = of_kind(everything, 'ServiceAccount')
    maps = of_kind(everything, 'ConfigMap')
    for where, pod in pods(everything):
        spec = pod['spec']
        volumes = {volume['name'] for volume in spec.get('volumes', [])}
        for volume in spec.get('volumes', []):
            if 'persistentVolumeClaim' in volume:
                assert volume['persistentVolumeClaim']['claimName'] in claims, where
        if 'serviceAccountName' in spec:
            assert spec['serviceAccountName'] in accounts, where
        for container in containers(pod):
            mounts = {mount['name'] for mount in container.get('volumeMounts', [])}
            assert mounts <= volumes, where
            for variable in container.get('env', []):
                if 'valueFrom' in variable:
                    reference = variable['valueFrom']['configMapKeyRef']
                    assert reference['key'] in maps[reference['name']]['data'], where


@pytest.mark.parametrize('target', ['everything', 'overlays/kserve'])
def test_variables_in_arguments_are_set(target, everything):
    everything = everything if target == 'everything' else render(K8S / target)
    for where, pod in pods(everything):
        for container in containers(pod):
            text = ' '.join(
                container.get('command', [])
                + container.get('args', [])
                + [mount.get('subPathExpr', '') for mount in container.get('volumeMounts', [])]
            )
            used = set(re.findall(r'\$\(?(\w+)\)?', text))
            assert used <= {variable['name'] for variable in container.get('env', [])}, where


def test_nobody_is_root_or_can_become_it(objects):
    found = list(pods(objects))
    assert found
    for where, pod in found:
        of_pod = pod['spec']['securityContext']
        assert of_pod['runAsNonRoot'] is True, where
        assert of_pod['runAsUser'] > 0, where
        assert of_pod['seccompProfile'] == {'type': 'RuntimeDefault'}, where
        assert pod['spec']['automountServiceAccountToken'] is False, where
        for container in containers(pod):
            of_container = container['securityContext']
            assert of_container['allowPrivilegeEscalation'] is False, where
            assert of_container['capabilities'] == {'drop': ['ALL']}, where
            assert of_container.get('runAsUser', 1) > 0, where


def test_roles_are_small(everything):
    assert not [found for found in everything if found['kind'].startswith('ClusterRole')]
    roles = of_kind(everything, 'Role')
    for role in roles.values():
        for rule in role['rules']:
            assert '*' not in rule['verbs'] + rule['resources'] + rule['apiGroups']
            assert 'secrets' not in rule['resources']
    for binding in of_kind(everything, 'RoleBinding').values():
        assert binding['roleRef']['name'] in roles
        assert {subject['name'] for subject in binding['subjects']} <= set(
            of_kind(everything, 'ServiceAccount')
        )


def test_images_are_pinned(objects):
    images = [
        container['image']
        for _, pod in pods(objects)
        for container in containers(pod)
        if 'image' in container
    ]
    images += [found['spec']['image'] for found in of_kind(objects, 'FlinkDeployment').values()]
    assert images
    for image in images:
        name, colon, tag = image.rpartition(':')
        assert colon and re.match(r'\d+\.\d+', tag), image
        assert tag != 'latest' and name, image


def test_what_serves_is_probed_and_everything_says_what_it_needs(objects):
    for where, pod in pods(objects):
        for container in pod['spec']['containers']:
            if container['name'] in ('flink-main-container', 'tensorflow'):
                continue  # probed by Flink's operator; monitored by the training operator
            assert 'readinessProbe' in container, where
            for probe in ('startupProbe', 'readinessProbe', 'livenessProbe'):
                handler = container.get(probe, {})
                port = handler.get('httpGet', handler.get('tcpSocket', {})).get('port')
                if isinstance(port, str):
                    assert port in {port['name'] for port in container['ports']}, where
        for container in containers(pod):
            if container['name'] != 'flink-main-container':
                assert container['resources']['requests'].keys() >= {'cpu', 'memory'}, where
                assert 'memory' in container['resources']['limits'], where


def test_paths_are_those_of_the_workspace(everything):
    cluster = ClusterConfig()
    (names,) = of_kind(everything, 'ConfigMap').values()
    workspace, model = names['data']['workspace'], names['data']['model']
    assert workspace == cluster.mount_path
    assert set(of_kind(everything, 'PersistentVolumeClaim')) == {cluster.volume_claim}
    assert model in built_in_names()
    expanded = {
        where: [
            argument.replace('$(WORKSPACE)', workspace).replace('$(MODEL)', model)
            for container in containers(pod)
            for argument in container.get('args', [])
        ]
        for where, pod in pods(everything)
    }
    models = models_directory(workspace)
    assert f'--model_base_path={models}/{model}' in expanded['Deployment serving']
    config = load_config(model)
    training = run_directory(workspace, config.name, 'fingerprint', config.train, number=1)
    (logs,) = [
        argument.removeprefix('--logdir=')
        for argument in expanded['Deployment tensorboard']
        if '--logdir' in argument
    ]
    assert training.startswith(logs + '/')
    for where, pod in pods(everything):
        for container in containers(pod):
            for mount in container.get('volumeMounts', []):
                if mount['name'] == 'workspace':
                    assert mount['mountPath'] == workspace, where


def test_servers_cannot_write_the_workspace(objects):
    for where, pod in pods(objects):
        if where.split()[-1] in ('serving', 'tensorboard', 'mdctr'):
            for container in pod['spec']['containers']:
                (mount,) = [
                    mount for mount in container['volumeMounts'] if mount['name'] == 'workspace'
                ]
                assert mount['readOnly'] is True, where


def test_serving_looks_for_new_versions():
    serving = of_kind(render(K8S / 'base'), 'Deployment')['serving']
    (container,) = serving['spec']['template']['spec']['containers']
    assert '--file_system_poll_wait_seconds=30' in container['args']
    assert {port['containerPort'] for port in container['ports']} == {8500, 8501}
    assert {'--port=8500', '--rest_api_port=8501'} <= set(container['args'])


def test_components_and_manifests_name_one_image():
    images = {
        container['image']
        for target in TARGETS
        for _, pod in pods(render(K8S / target))
        for container in containers(pod)
        if container.get('image', '').startswith('mdctr/python-pipeline:')
    }
    assert images == {ClusterConfig().image}


def test_a_tfjob_has_its_replicas():
    (job,) = of_kind(render(K8S / 'overlays/gpu'), 'TFJob').values()
    assert job['apiVersion'] == 'kubeflow.org/v1'
    replicas = job['spec']['tfReplicaSpecs']
    assert set(replicas) == {'Chief', 'Worker', 'PS'}
    assert replicas['Chief']['replicas'] == 1
    assert replicas['Worker']['replicas'] >= 2 and replicas['PS']['replicas'] >= 2
    for name, replica in replicas.items():
        assert replica['restartPolicy'] in ('Never', 'OnFailure', 'Always', 'ExitCode')
        # The operator puts TF_CONFIG into the container of this name, and its port into it.
        (container,) = [
            found
            for found in replica['template']['spec']['containers']
            if found['name'] == 'tensorflow'
        ]
        assert {'name': 'tfjob-port', 'containerPort': 2222} in container['ports'], name
        assert container['command'] == ['mdctr', 'train'], name


def test_the_command_of_a_tfjob_is_one_that_we_have():
    from pipeline.cli.main import make_parser

    (job,) = of_kind(render(K8S / 'overlays/gpu'), 'TFJob').values()
    (container,) = job['spec']['tfReplicaSpecs']['Chief']['template']['spec']['containers']
    parsed = make_parser().parse_args((container['command'] + container['args'])[1:])
    assert (parsed.config, parsed.workspace) == ('$(MODEL)', '$(WORKSPACE)')


def test_every_replica_of_a_tfjob_finds_its_part(monkeypatch):
    import json

    from trainer.distributed.framework import check_distributed
    from trainer.distributed.tf_config import task_of_environment

    rendered = render(K8S / 'overlays/gpu')
    (job,) = of_kind(rendered, 'TFJob').values()
    replicas = job['spec']['tfReplicaSpecs']
    # What the operator makes of it: its names of types in small letters, a port for each.
    cluster = {
        name.lower(): [
            f'{job["metadata"]["name"]}-{name.lower()}-{index}:2222'
            for index in range(replica['replicas'])
        ]
        for name, replica in replicas.items()
    }
    for name, addresses in cluster.items():
        for index in range(len(addresses)):
            monkeypatch.setenv(
                'TF_CONFIG',
                json.dumps(
                    {
                        'cluster': cluster,
                        'task': {'type': name, 'index': index},
                        'environment': 'cloud',
                    }
                ),
            )
            task = task_of_environment()
            assert (task.type, task.index, task.cluster) == (name, index, cluster)
    (names,) = of_kind(rendered, 'ConfigMap').values()
    check_distributed(load_config(names['data']['model']).train)


def test_workers_alone_ask_for_gpus():
    cluster = ClusterConfig()
    (job,) = of_kind(render(K8S / 'overlays/gpu'), 'TFJob').values()
    for name, replica in job['spec']['tfReplicaSpecs'].items():
        spec = replica['template']['spec']
        limits = spec['containers'][0]['resources']['limits']
        if name == 'Worker':
            assert limits[cluster.gpu_resource] == '1'
            assert [found['key'] for found in spec['tolerations']] == cluster.tolerations
            assert spec['containers'][0]['image'].startswith('mdctr/python-pipeline-gpu:')
        else:
            assert cluster.gpu_resource not in limits


def test_a_gpu_for_serving_is_a_choice(everything):
    def serving(found):
        spec = of_kind(found, 'Deployment')['serving']['spec']['template']['spec']
        return spec['containers'][0]

    with_gpu, without = serving(everything), serving(render(K8S / 'overlays/gpu'))
    assert with_gpu['resources']['limits']['nvidia.com/gpu'] == '1'
    assert with_gpu['image'].endswith('-gpu')
    assert 'nvidia.com/gpu' not in without['resources']['limits']


def test_an_overlay_renames_images_in_custom_resources_too(tmp_path):
    found = render_with(
        tmp_path,
        resources=['overlays/gpu'],
        components=['components/flink'],
        images=[{'name': 'mdctr/python-pipeline', 'newName': 'registry/ours', 'newTag': '7.0'}],
    )
    images = {
        where: [container.get('image') for container in containers(pod)]
        for where, pod in pods(found)
    }
    assert images['TFJob mdctr-train Chief'] == ['registry/ours:7.0']
    assert images['TFJob mdctr-train Worker'] == ['mdctr/python-pipeline-gpu:0.1.0']
    assert 'registry/ours:7.0' in images['FlinkDeployment mdctr-flink task manager']
    assert images['Deployment tensorboard'] == ['registry/ours:7.0'] * 2


def test_flink_has_beams_workers_beside_its_task_managers():
    (flink,) = of_kind(render(K8S / 'overlays/flink'), 'FlinkDeployment').values()
    assert flink['apiVersion'] == 'flink.apache.org/v1beta1'
    spec = flink['spec']
    assert spec.keys() >= {'image', 'flinkVersion', 'jobManager', 'taskManager'}
    assert spec['serviceAccount'] in of_kind(render(K8S / 'overlays/flink'), 'ServiceAccount')
    assert all(isinstance(value, str) for value in spec['flinkConfiguration'].values())
    minor = re.match(r'v(\d+)_(\d+)$', spec['flinkVersion']).groups()
    assert spec['image'].startswith(f'flink:{minor[0]}.{minor[1]}.')
    assert 'job' not in spec  # a session cluster
    for part in ('jobManager', 'taskManager'):
        assert spec[part]['resource'].keys() == {'cpu', 'memory'}
    (pool,) = [
        found
        for found in spec['taskManager']['podTemplate']['spec']['containers']
        if found['name'] == 'beam-worker-pool'
    ]
    (port,) = [found['containerPort'] for found in pool['ports']]
    assert pool['args'] == [f'--service_port={port}']
    assert pool['image'] == ClusterConfig().image
    # The README tells Beam where the pool is.
    assert f'--environment_config=localhost:{port}' in (K8S / 'README.md').read_text()


def test_the_job_server_is_of_the_clusters_flink():
    rendered = render(K8S / 'overlays/flink')
    (flink,) = of_kind(rendered, 'FlinkDeployment').values()
    server = of_kind(rendered, 'Deployment')['beam-job-server']['spec']['template']['spec']
    (container,) = server['containers']
    flink_version = flink['spec']['flinkVersion'][1:].replace('_', '.')
    name, _, beam = container['image'].partition(':')
    assert name == f'apache/beam_flink{flink_version}_job_server'
    # The operator names the service of a cluster after it.
    assert f'--flink-master={flink["metadata"]["name"]}-rest:8081' in container['args']
    readme = (K8S / 'README.md').read_text()
    assert f"Beam {beam}'s job server on Flink {flink_version}" in readme
    service = of_kind(rendered, 'Service')['beam-job-server']
    for port in service['spec']['ports']:
        assert f'--{port["name"]}_endpoint=beam-job-server:{port["port"]}' in readme


def test_kserve_serves_the_pushed_model_instead_of_the_deployment():
    rendered = render(K8S / 'overlays/kserve')
    assert 'serving' not in of_kind(rendered, 'Deployment')
    assert 'serving' not in of_kind(rendered, 'Service')
    (service,) = of_kind(rendered, 'InferenceService').values()
    assert service['apiVersion'] == 'serving.kserve.io/v1beta1'
    model = service['spec']['predictor']['model']
    assert model['modelFormat']['name'] == 'tensorflow'
    # Where KServe's TensorFlow runtime looks for versions.
    (mount,) = model['volumeMounts']
    assert (mount['mountPath'], mount['subPathExpr']) == ('/mnt/models', 'models/$(MODEL)')
    assert 'storageUri' not in model  # KServe would list the claim twice in one pod
    assert service['spec']['predictor']['serviceAccountName'] in of_kind(
        rendered, 'ServiceAccount'
    )
    # Clients find the model under one name, whichever server answers.
    plain = of_kind(render(K8S / 'base'), 'Deployment')['serving']
    (container,) = plain['spec']['template']['spec']['containers']
    assert f'--model_name={service["metadata"]["name"]}' in container['args']
