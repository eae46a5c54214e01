"""Snapshots, differences and the folded export against whole tables in NumPy."""

import numpy as np
import pytest

from mdctr.dataset import open_dataset
from tests.parameters import EVERY_MODEL
from tests.trainer.frameworks.test_frameworks import dataset, logits, made  # noqa: F401 (a fixture)
from tests.trainer.trainer_dataset import build_any, make_batch, make_manifest
from trainer.config import ModelConfig
from trainer.data.examples import Examples
from trainer.frameworks.core.domain_specific import DomainSpecificParameters
from trainer.frameworks.core.domain_specific_model import DomainSpecificModel
from trainer.frameworks.core.order import DomainStreams, domain_groups
from trainer.frameworks.core.snapshot import InnerStep, VariableRows
from trainer.keras import keras, tf
from trainer.models import build_model
from trainer.optimizers.row_wise import make_optimizer


def whole(step):
    return [variable.numpy() for variable in step.variables]


@pytest.fixture(scope='module')
def step():
    keras.utils.set_random_seed(1)
    model = build_model(
        make_manifest(3), ModelConfig(name='star', embedding_dim=4, hidden_units=[6])
    )
    return InnerStep(model, make_optimizer('adam', 0.05))


def run(step, rng, domains=(1, 2)):
    for domain in domains:
        batch = make_batch(rng, 9)
        step(
            {
                **{name: tf.constant(values) for name, values in batch.items()},
                'domain': tf.constant(domain),
                'click': tf.constant(rng.integers(0, 2, 9), tf.float32),
            }
        )


@pytest.mark.parametrize('rate', [0.0, 0.3, 1.0])
def test_a_move_of_touched_rows_is_that_of_whole_tables(step, rate):
    rng = np.random.default_rng(0)
    before = whole(step)
    step.take()
    run(step, rng)
    inner = whole(step)
    touched = {
        step.variables[place].name: set(block.indices.numpy().tolist())
        for place, block in zip(step.sparse_positions, step.snapshot.parts()[1], strict=True)
    }
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
    examples = Examples(open_dataset(dataset), 'train')
    made_groups = domain_groups(examples, 4, 10, seed=1, width=2)
    assert all(len(set(group)) == len(group) <= 2 for group in made_groups)
    found = [domain for group in made_groups for domain in group]
    assert {domain: found.count(domain) for domain in (1, 2, 3)} == {1: 15, 2: 7, 3: 4}
    assert made_groups != domain_groups(examples, 5, 10, seed=1, width=2)


def test_a_stream_passes_over_a_domain_again_and_again(dataset):  # noqa: F811
    examples = Examples(open_dataset(dataset), 'train')
    streams, skipped = (DomainStreams(examples, 2, 10, 1) for _ in range(2))
    first = [streams.take(3) for _ in range(8)]  # two passes over 33 rows
    for number, batch in enumerate(examples.domain_epoch(3, 2, 10, 1)):
        np.testing.assert_array_equal(first[number]['user_key'], batch['user_key'])
    passes = [
        np.concatenate([batch['user_key'] for batch in part]) for part in (first[:4], first[4:])
    ]
    np.testing.assert_array_equal(*map(np.sort, passes))
    assert (passes[0] != passes[1]).any()
    skipped.skip(3, 6)
    np.testing.assert_array_equal(skipped.take(3)['user_key'], first[6]['user_key'])


def with_differences(model, relative):
    """Random theta_1 and theta_3 of a model; domain 2 has none."""
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(size=variable.shape, scale=0.1))
    step = InnerStep(model, make_optimizer('sgd', 0.1))
    specific = DomainSpecificParameters(step, model, model.num_domains, relative)
    for domain in (1, 3):
        own = specific.deltas[domain]
        own.is_set = True
        own.dense = [
            tf.constant(rng.normal(size=step.variables[place].shape, scale=0.3), tf.float32)
            for place in step.dense_positions
        ]
        for place in step.sparse_positions:
            variable = step.variables[place]
            rows = rng.permutation(variable.shape[0])[: 1 + variable.shape[0] // 2]
            own.rows.append(
                VariableRows(
                    tf.constant(rows, tf.int64),
                    tf.constant(
                        rng.normal(size=(len(rows), *variable.shape[1:]), scale=0.3), tf.float32
                    ),
                )
            )
    return specific


@pytest.mark.parametrize('name', EVERY_MODEL)
def test_any_model_folded_by_domain_scores_as_with_its_variables_changed(name):
    keras.utils.set_random_seed(1)
    model = build_any(
        make_manifest(3),
        ModelConfig(name=name, embedding_dim=4, hidden_units=[8, 6], auxiliary_network=True),
    )
    specific = with_differences(model, relative=True)
    folded = DomainSpecificModel(specific)
    rows = make_batch(np.random.default_rng(1), 40)
    rows['domain'][:9] = [0, 7, -1, 1, 2, 3, 1, 2, 3]
    features = {key: tf.constant(values) for key, values in rows.items()}
    before = [variable.numpy() for variable in model.variables]
    mixed = folded(features).numpy()
    differing = 0
    for domain in (0, 1, 2, 3):
        here = np.where(rows['domain'] > 3, 0, np.maximum(rows['domain'], 0)) == domain
        of_domain = {
            **{key: tf.constant(values[here]) for key, values in rows.items()},
            'domain': tf.constant(domain),
        }
        specific.enter(domain)
        expected = model(of_domain).numpy()
        specific.leave(keep=False)
        np.testing.assert_allclose(mixed[here], expected, atol=1e-5)
        np.testing.assert_allclose(folded(of_domain).numpy(), expected, atol=1e-5)
        differing += np.abs(model(of_domain).numpy() - expected).max() > 1e-3
    assert differing == 2
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, atol=1e-6)


@pytest.mark.parametrize('name', EVERY_MODEL)
def test_any_model_takes_inner_steps(name):
    keras.utils.set_random_seed(1)
    model = build_any(
        make_manifest(3), ModelConfig(name=name, embedding_dim=4, hidden_units=[8, 6])
    )
    step = InnerStep(model, make_optimizer('sgd', 0.05))
    before = whole(step)
    step.take()
    run(step, np.random.default_rng(0))
    assert any((old != new).any() for old, new in zip(before, whole(step), strict=True))
    step.restore()
    for old, new in zip(before, whole(step), strict=True):
        np.testing.assert_array_equal(old, new)
