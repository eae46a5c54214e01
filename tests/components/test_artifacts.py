"""Artifacts name a location in the workspace and its digest."""

import ast
import json
import os
import pathlib

import pytest
from kfp import dsl

from components.artifacts import (
    MOST_SCALARS,
    Location,
    evaluation_location,
    model_location,
    read_dataset,
    read_evaluation,
    read_location,
    read_model,
    set_metadata,
    write_location,
)
from mdctr.errors import UserError
from mdctr.exported_model import write_model_json
from tests.processes import REPOSITORY


@pytest.fixture
def artifact(tmp_path: pathlib.Path) -> dsl.Artifact:
    return dsl.Artifact(name='thing', uri=str(tmp_path / 'store' / 'thing'))


def test_an_artifact_is_a_small_file_with_a_location_and_its_digest(artifact):
    write_location(artifact, Location('/mnt/mdctr/datasets/shops', 'abc'))
    assert json.loads(pathlib.Path(artifact.path).read_text()) == {
        'location': '/mnt/mdctr/datasets/shops',
        'digest': 'abc',
    }
    assert read_location(artifact) == Location('/mnt/mdctr/datasets/shops', 'abc')


@pytest.mark.parametrize('content', [None, 'text', '[]', '{"location": "/a"}'])
def test_another_artifact_is_refused(artifact, content):
    if content is not None:
        os.makedirs(os.path.dirname(artifact.path))
        pathlib.Path(artifact.path).write_text(content)
    with pytest.raises(UserError, match='The artifact thing does not contain a location'):
        read_location(artifact)


def test_a_model_that_has_changed_since_is_refused(artifact, tmp_path):
    model = tmp_path / 'export'
    model.mkdir()
    (model / 'saved_model.pb').write_text('weights')
    write_model_json(str(model), {'features': [], 'dataset': {'fingerprint': 'f'}})
    write_location(artifact, model_location(str(model)))
    assert read_model(artifact) == str(model)
    (model / 'saved_model.pb').write_text('other weights')
    with pytest.raises(UserError, match='The model .*export has been changed or removed'):
        read_model(artifact)
    write_model_json(str(model), {'features': [], 'dataset': {'fingerprint': 'f'}})
    with pytest.raises(UserError, match='The model .*export has been changed or removed'):
        read_model(artifact)
    write_location(artifact, Location('', ''))  # of a step that made none
    with pytest.raises(UserError, match='has been changed or removed'):
        read_model(artifact)


def test_an_evaluation_or_a_dataset_that_has_changed_since_is_refused(artifact, tmp_path):
    (tmp_path / 'metrics.json').write_text('{}')
    write_location(artifact, evaluation_location(str(tmp_path)))
    assert read_evaluation(artifact) == str(tmp_path)
    (tmp_path / 'metrics.json').write_text('{"blessed": true}')
    with pytest.raises(UserError, match='The evaluation .* has been changed or removed'):
        read_evaluation(artifact)
    with pytest.raises(UserError, match='The dataset .* has been changed or removed'):
        read_dataset(artifact)


def test_metadata_holds_scalars_that_kubeflow_can_store(artifact):
    set_metadata(
        artifact,
        {
            'name': 'shops',
            'rows': 3,
            'CTR': 0.1,
            'sound': True,
            'auc': None,
            'pcoc': float('nan'),
        },
    )
    assert artifact.metadata == {'name': 'shops', 'rows': 3, 'CTR': 0.1, 'sound': True}
    set_metadata(artifact, {'reasons': 'x' * 100_000})
    assert len(artifact.metadata['reasons']) == 500
    with pytest.raises(ValueError, match='domains: list is not a scalar'):
        set_metadata(artifact, {'domains': ['books', 'toys']})
    with pytest.raises(ValueError, match=f'an artifact has at most {MOST_SCALARS}'):
        set_metadata(artifact, {f'domain {n}': n for n in range(MOST_SCALARS)})


def test_no_component_sets_the_uri_of_an_artifact():
    """A path in its place would be rejected before the next step starts."""
    found = []
    for package in ('components', 'pipeline'):
        for path in sorted((REPOSITORY / package).rglob('*.py')):
            for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
                if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
                    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                    names = {
                        inner.attr
                        for target in targets
                        for inner in ast.walk(target)
                        if isinstance(inner, ast.Attribute)
                    }
                elif isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'setattr':
                    names = {getattr(node.args[1], 'value', 'uri')}
                else:
                    continue
                if names & {'uri', 'path'}:
                    found.append(f'{path.relative_to(REPOSITORY)}:{node.lineno}')
    assert not found, found
