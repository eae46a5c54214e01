"""Which evaluations a step of the pipeline repeats."""

import shutil
from types import SimpleNamespace

import pytest

import beam_jobs.evaluation.evaluate
from beam_jobs.evaluation.config import EvaluateConfig
from components.steps import _evaluate
from mdctr import storage
from mdctr.exported_model import model_digest, write_model_json
from mdctr.pushed_models import complete_versions


class Evaluations:
    """A model next to the pushed ones, with evaluations that record what they compare."""

    def __init__(self, folder):
        self.models, self.compared = str(folder / 'models'), []
        self.model = self.export(folder / 'run' / 'export', b'model')
        self.other = self.export(folder / 'other' / 'export', b'other model')
        self.dataset = SimpleNamespace(manifest=SimpleNamespace(fingerprint='dataset'))

    def export(self, path, graph: bytes) -> str:
        path.mkdir(parents=True)
        (path / 'saved_model.pb').write_bytes(graph)
        write_model_json(str(path), {'features': [], 'dataset': {'fingerprint': 'dataset'}})
        return str(path)

    def push(self, model: str) -> None:
        number = 1 + len(complete_versions(self.models, 'shops'))
        shutil.copytree(model, f'{self.models}/shops/{number}')

    def evaluate(self, dataset, model, directory, config, pushed, beam_args) -> None:
        served = {'digest': model_digest(pushed[0])} if pushed else None
        self.compared.append(served and served['digest'])
        storage.write_json(storage.join(directory, 'metrics.json'), {'pushed': served})

    def run(self, **settings) -> str:
        config = EvaluateConfig(**settings)
        return _evaluate(self.dataset, self.model, self.models, 'shops', config, [])


@pytest.fixture
def evaluations(tmp_path, monkeypatch):
    evaluations = Evaluations(tmp_path)
    monkeypatch.setattr(beam_jobs.evaluation.evaluate, 'evaluate', evaluations.evaluate)
    return evaluations


def test_an_evaluation_is_reused_also_once_its_model_is_served(evaluations):
    directory = evaluations.run()
    assert evaluations.run() == directory
    evaluations.push(evaluations.model)
    assert evaluations.run() == directory
    assert evaluations.compared == [None]


def test_other_data_settings_or_served_models_need_another_evaluation(evaluations):
    directories = {evaluations.run(), evaluations.run(min_auc=0.5)}
    evaluations.push(evaluations.other)
    directories.add(evaluations.run())
    evaluations.dataset = SimpleNamespace(manifest=SimpleNamespace(fingerprint='another'))
    directories.add(evaluations.run())
    other = model_digest(evaluations.other)
    assert evaluations.compared == [None, None, other, other]
    assert len(directories) == 4


def test_a_comparison_of_a_model_with_itself_is_not_one_with_its_successor(evaluations):
    evaluations.push(evaluations.other)
    evaluations.push(evaluations.model)
    evaluations.run()
    evaluations.push(evaluations.other)
    evaluations.run()
    own, other = model_digest(evaluations.model), model_digest(evaluations.other)
    assert evaluations.compared == [own, other]
