"""Snapshots, differences and the folded export against whole tables in NumPy."""

import numpy as np
import pytest
from test_frameworks import dataset, logits, made  # noqa: F401 (a fixture)
from trainer_dataset import build_any, make_batch, make_manifest, write_dataset

from beam_jobs.errors import UserError
from trainer.config import ModelConfig
from trainer.examples import Examples
from trainer.export import export_model
from trainer.frameworks.core import InnerStep, Rows
from trainer.frameworks.domain_models import DomainModels
from trainer.frameworks.new_domain import add_domain
from trainer.frameworks.order import Streams, groups
from trainer.frameworks.specific import SpecificParameters
from trainer.keras import keras, tf
from trainer.models import MODELS, build_model
from trainer.optimizers import make_optimizer


def whole(step):
    return [variable.numpy() for variable in step.variables]


@pytest.fixture(scope='module')
def step():
    keras.utils.set_random_seed(1)
    model = build_model(make_manifest(3), ModelConfig(name='star', embedding_dim=4,
                                                      hidden_units=[6]))
    return InnerStep(model, make_optimizer('adam', 0.05))


def run(step, rng, domains=(1, 2)):
    for domain in domains:
        batch = make_batch(rng, 9)
        step({**{name: tf.constant(values) for name, values in batch.items()},
              'domain': tf.constant(domain), 'click': tf.constant(
                  rng.integers(0, 2, 9), tf.float32)})


@pytest.mark.parametrize('rate', [0.0, 0.3, 1.0])
def test_a_move_of_touched_rows_is_that_of_whole_tables(step, rate):
    rng = np.random.default_rng(0)
    before = whole(step)
    step.take()
    run(step, rng)
    inner = whole(step)
    touched = {step.variables[place].name: set(block.numbers.numpy().tolist())
               for place, block in zip(step.row_places, step.snapshot.parts()[1], strict=True)}
    step.move(rate)
    for variable, old, new in zip(step.variables, before, inner, strict=True):
        expected = old + rate * (new - old)
        np.testing.assert_allclose(variable.numpy(), expected, atol=1e-7)
        if rate == 1.0:
            np.testing.assert_array_equal(variable.numpy(), new)
        if variable.name in touched:
            changed = np.flatnonzero((old != new).reshape(len(old), -1).any(axis=1))
            assert set(changed) <= touched[variable.name]
    tables = [rows for name, rows in touched.items() if 'domain_' not in name]
    assert tables and all(0 < len(rows) < 90 for rows in tables)
    assert all(rows == {1, 2} for name, rows in touched.items() if 'domain_' in name)


def test_a_loop_undone_leaves_no_trace(step):
    before = whole(step)
    step.take()
    run(step, np.random.default_rng(1))
    assert any((old != new).any() for old, new in zip(before, whole(step), strict=True))
    step.restore()
    for old, new in zip(before, whole(step), strict=True):
        np.testing.assert_array_equal(old, new)


def test_every_batch_is_in_one_group_of_different_domains(dataset):  # noqa: F811
    examples = Examples(dataset, 'train')
    made_groups = groups(examples, 4, 10, seed=1, width=2)
    assert all(len(set(group)) == len(group) <= 2 for group in made_groups)
    found = [domain for group in made_groups for domain in group]
    assert {domain: found.count(domain) for domain in (1, 2, 3)} == {1: 15, 2: 7, 3: 4}
    assert made_groups != groups(examples, 5, 10, seed=1, width=2)


def test_a_stream_passes_over_a_domain_again_and_again(dataset):  # noqa: F811
    examples = Examples(dataset, 'train')
    streams, skipped = (Streams(examples, 2, 10, 1) for _ in range(2))
    first = [streams.take(3) for _ in range(8)]  # two passes over 33 rows
    for number, batch in enumerate(examples.domain_epoch(3, 2, 10, 1)):
        np.testing.assert_array_equal(first[number]['user_key'], batch['user_key'])
    passes = [np.concatenate([batch['user_key'] for batch in part])
              for part in (first[:4], first[4:])]
    np.testing.assert_array_equal(*map(np.sort, passes))
    assert (passes[0] != passes[1]).any()
    skipped.skip(3, 6)
    np.testing.assert_array_equal(skipped.take(3)['user_key'], first[6]['user_key'])


def with_differences(model, follow):
    """Random theta_1 and theta_3 of a model; domain 2 has none."""
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(size=variable.shape, scale=0.1))
    step = InnerStep(model, make_optimizer('sgd', 0.1))
    specific = SpecificParameters(step, model, model.num_domains, follow)
    for domain in (1, 3):
        own = specific.differences[domain]
        own.there = True
        own.dense = [tf.constant(rng.normal(size=step.variables[place].shape, scale=0.3),
                                 tf.float32) for place in step.dense_places]
        for place in step.row_places:
            variable = step.variables[place]
            rows = rng.permutation(variable.shape[0])[:1 + variable.shape[0] // 2]
            own.rows.append(Rows(tf.constant(rows, tf.int64), tf.constant(
                rng.normal(size=(len(rows), *variable.shape[1:]), scale=0.3), tf.float32)))
    return specific


@pytest.mark.parametrize('name', MODELS)
def test_any_model_folded_by_domain_scores_as_with_its_variables_changed(name):
    keras.utils.set_random_seed(1)
    model = build_any(make_manifest(3), ModelConfig(
        name=name, embedding_dim=4, hidden_units=[8, 6], auxiliary=True))
    specific = with_differences(model, follow=True)
    folded = DomainModels(specific)
    rows = make_batch(np.random.default_rng(1), 40)
    rows['domain'][:9] = [0, 7, -1, 1, 2, 3, 1, 2, 3]
    features = {key: tf.constant(values) for key, values in rows.items()}
    before = [variable.numpy() for variable in model.variables]
    mixed = folded(features).numpy()
    differing = 0
    for domain in (0, 1, 2, 3):
        here = np.where(rows['domain'] > 3, 0, np.maximum(rows['domain'], 0)) == domain
        of_domain = {**{key: tf.constant(values[here]) for key, values in rows.items()},
                     'domain': tf.constant(domain)}
        specific.enter(domain)
        expected = model(of_domain).numpy()
        specific.leave(keep=False)
        np.testing.assert_allclose(mixed[here], expected, atol=1e-5)
        np.testing.assert_allclose(folded(of_domain).numpy(), expected, atol=1e-5)
        differing += np.abs(model(of_domain).numpy() - expected).max() > 1e-3
    assert differing == 2
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, atol=1e-6)


def test_a_new_domain_is_added_from_its_data_alone(dataset, tmp_path):  # noqa: F811
    framework = made(dataset, 'mamdr', options={'helpers': 1, 'regularization_rate': 0.5},
                     schedule='cosine')
    list(framework.epoch(0))
    framework.course.done.assign(1.0)  # where the run's rate is nothing, a new domain's is not
    validation = Examples(dataset, 'validation')
    before = logits(framework, validation)
    variables = [variable.numpy() for variable in framework.model.variables]

    directory = str(tmp_path / 'grown')
    write_dataset(directory, {'train': {4: 300}, 'validation': {1: 60, 4: 200}}, domains=4,
                  seed=5)
    specific = add_domain(framework, Examples(directory, 'train'), 4, epochs=6)
    grown = DomainModels(specific)
    for batch in validation.in_order(1000):
        features = {key: tf.constant(values) for key, values in batch.items()}
        np.testing.assert_allclose(grown(features).numpy(), before[int(batch['domain'])],
                                   atol=1e-5)
    for variable, value in zip(framework.model.variables, variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)

    def loss(domain):
        batch = next(Examples(directory, 'validation').domain_epoch(4, 0, 1000))
        z = grown({**{key: tf.constant(values) for key, values in batch.items()},
                   'domain': tf.constant(domain)}).numpy()
        return np.mean(np.log1p(np.exp(z)) - batch['click'] * z)
    assert loss(4) < loss(0) - 0.01
    exported = export_model(grown, str(tmp_path / 'export'), directory,
                            Examples(directory, 'validation'), framework.config, {}, 1)
    signature = tf.saved_model.load(exported).signatures['encoded']
    batch = make_batch(np.random.default_rng(2), 20, 4)
    features = {key: tf.constant(values.astype(np.int64)) for key, values in batch.items()}
    np.testing.assert_allclose(signature(**features)['score'].numpy(),
                               tf.sigmoid(grown(features)).numpy(), atol=1e-6)
    with pytest.raises(UserError, match='Domain 2 is not new'):
        add_domain(framework, Examples(directory, 'train'), 2)


@pytest.mark.parametrize('name', MODELS)
def test_any_model_takes_inner_steps(name):
    keras.utils.set_random_seed(1)
    model = build_any(make_manifest(3), ModelConfig(name=name, embedding_dim=4,
                                                    hidden_units=[8, 6]))
    step = InnerStep(model, make_optimizer('sgd', 0.05))
    before = whole(step)
    step.take()
    run(step, np.random.default_rng(0))
    assert any((old != new).any() for old, new in zip(before, whole(step), strict=True))
    step.restore()
    for old, new in zip(before, whole(step), strict=True):
        np.testing.assert_array_equal(old, new)
