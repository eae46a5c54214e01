"""The overlay for a cluster of one node, made by kind."""

from tests.k8s.manifests import K8S, of_kind, render


def test_everything_is_where_kubeflow_runs_its_pods_and_fits_one_node():
    rendered = render(K8S / 'overlays/kind')
    assert {found['metadata'].get('namespace') for found in rendered} == {'kubeflow'}
    assert not of_kind(rendered, 'Namespace')
    claim = of_kind(rendered, 'PersistentVolumeClaim')['mdctr-workspace']
    assert claim['spec']['accessModes'] == ['ReadWriteOnce']
    expected = {(found['kind'], found['metadata']['name']) for found in render(K8S / 'base')}
    found = {(found['kind'], found['metadata']['name']) for found in rendered}
    assert expected - found == {('Namespace', 'mdctr')}
