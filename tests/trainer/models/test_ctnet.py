"""CTNet: equation 4, what trains and what does not, newer sources, continuing."""

import dataclasses
import os
import shutil

import numpy as np
import pytest

from mdctr.dataset import open_dataset
from mdctr.errors import UserError
from mdctr.manifest import Feature
from tests.parameters import slow_except
from tests.trainer.periods_dataset import KNOWN_ITEMS, KNOWN_USERS, write_periods
from tests.trainer.trainer_dataset import make_batch, make_manifest
from trainer.config import ModelConfig, TrainConfig
from trainer.export.golden import check_golden
from trainer.export.load import WarmStart, build_or_warm_start, load_model
from trainer.keras import keras, tf
from trainer.loop.step import Predict, TrainStep
from trainer.models import build_model
from trainer.models.extend_model import continue_model, copy_weights, extend_model
from trainer.optimizers.row_wise import make_optimizer
from trainer.train import train

TAGS = 5
TOWERS = ('mlp', 'din', 'taobao_base')
SOURCE = ModelConfig(name='mlp', embedding_dim=4, hidden_units=[8, 6, 5])
TARGET = ModelConfig(name='mlp', embedding_dim=4, hidden_units=[7, 3])
NET = TARGET.replace(name='ctnet', options={'target_tower': 'mlp'})
RUN = TrainConfig(batch_size=64, epochs=1, learning_rate=0.01)


def manifest():
    """With a category of the item."""
    made = make_manifest(3)
    return dataclasses.replace(
        made,
        features=[
            *made.features,
            Feature('tag', 'categorical', 'item', TAGS + 1, vocabulary='tag'),
        ],
    )


def some_rows(rng, size):
    rows = make_batch(rng, size)
    return {**rows, 'tag': (rows['item_id'] % (TAGS + 1)).astype(np.int32)}


def moved(model, seed=0):
    """A model whose weights and moments are not those that it started with."""
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(size=variable.shape) * 0.3)
    model({**tensors(some_rows(rng, 60)), 'domain': tf.constant(1)}, training=True)
    return model


def built(config, source=None, of=None):
    keras.utils.set_random_seed(1)
    return build_model(of or manifest(), config, source)


def net_of(tower='mlp', source='mlp', normalization=None, **options):
    """Both towers moved, adapters as they start."""
    settings = {'normalization': normalization}
    made = moved(built(SOURCE.replace(name=source, **settings)), 5)
    net = built(NET.replace(options={'target_tower': tower, **options}, **settings), made)
    moved(net.target, 6)
    return net


def tensors(rows):
    return {name: tf.constant(values) for name, values in rows.items()}


def logits(model, rows):
    return model(tensors(rows)).numpy()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def values_of(variables):
    return [variable.numpy() for variable in variables]


def assert_equal(variables, values):
    for variable, value in zip(variables, values, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.name)


def train_some(model, steps=5):
    step = TrainStep(model, make_optimizer('adam', 0.05))
    rng = np.random.default_rng(4)
    for number in range(steps):
        rows = some_rows(rng, 40)
        if number % 2:
            rows['domain'] = np.int32(2)
        step({**tensors(rows), 'click': tf.constant(rng.integers(0, 2, 40), tf.float32)})
    return step


@pytest.mark.parametrize(('adapter', 'output'), [('gated', True), ('linear', False)])
def test_logits_equal_equation_4_in_numpy(adapter, output):
    net = net_of(adapter=adapter, output_adapter=output)
    rng = np.random.default_rng(1)
    for layer in net.adapters:
        for variable in layer.trainable_variables:
            variable.assign(rng.normal(size=variable.shape))
    assert len(net.adapters) == 2 + output
    rows = some_rows(rng, 30)
    features = tensors({**rows, 'domain': np.int32(2)})

    def dense(layer, z):
        return z @ layer.kernel.numpy() + layer.bias.numpy()

    def g(layer, z):
        if adapter == 'linear':
            return z @ layer.value.numpy()
        return z @ layer.value.numpy() * sigmoid(z @ layer.gate.numpy())

    of_source = [net.source.look_up(features).flat.numpy()]
    for layer in net.source.hidden:
        of_source.append(np.maximum(dense(layer, of_source[-1]), 0))
    z = net.target.look_up(features).flat.numpy()
    for layer, adapted, knowledge in zip(
        net.target.hidden, net.adapters, of_source, strict=False
    ):
        z = np.maximum(dense(layer, z) + g(adapted, knowledge), 0)
    logit = dense(net.target.head, z)
    if output:
        logit += g(net.adapters[2], of_source[2])
    np.testing.assert_allclose(net(features), logit[:, 0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('tower', TOWERS)
@pytest.mark.parametrize('source', TOWERS)
def test_it_starts_as_its_target_tower(tower, source):
    net = net_of(tower, source)
    rows = some_rows(np.random.default_rng(2), 50)
    target = logits(net.target, rows)
    assert target.std() > 0.05
    np.testing.assert_allclose(sigmoid(logits(net, rows)), sigmoid(target), atol=1e-4)


@pytest.mark.parametrize('normalization', ['bn', 'pn', 'ln'])
@pytest.mark.parametrize('tower', slow_except(TOWERS, {'mlp', 'din'}))
def test_only_the_target_tower_and_the_adapters_train(tower, normalization):
    net = net_of(tower, tower, normalization)
    frozen = values_of(net.source.variables)
    before = {id(variable): variable.numpy() for variable in net.trainable_variables}
    assert not net.source.trainable_variables
    step = train_some(net)
    assert_equal(net.source.variables, frozen)
    assert not {id(variable) for variable in step.variables} & {
        id(variable) for variable in net.source.variables
    }
    assert len(step.optimizer.variables) == 1 + 2 * len(net.trainable_variables)  # Adam's
    for variable in net.trainable_variables:
        if 'positions' not in variable.name and 'attention' not in variable.name:
            assert (variable.numpy() != before[id(variable)]).any(), variable.name


def test_every_adapter_and_its_gate_learns():
    net = net_of()
    train_some(net, 30)
    for layer in net.adapters:
        assert np.abs(layer.value).max() > 0.01 and np.abs(layer.gate).max() > 0.01


def test_the_sources_gradient_is_not_even_recorded():
    net = net_of()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(
            net(tensors(some_rows(np.random.default_rng(0), 8)), training=True)
        )
    assert tape.gradient(loss, list(net.source.variables)) == [None] * len(net.source.variables)


def test_a_domain_of_its_own_means_the_same_to_a_source_with_domains():
    """Rows are sorted for one tower; the other, which knows fewer domains, sorts otherwise."""
    source = moved(
        built(
            SOURCE.replace(normalization='pn'),
            of=dataclasses.replace(manifest(), domains=manifest().domains[:2]),
        )
    )
    net = built(NET, source)
    rng = np.random.default_rng(0)
    for layer in net.adapters:
        for variable in layer.trainable_variables:
            variable.assign(rng.normal(size=variable.shape))
    rows = some_rows(rng, 40)
    rows['domain'] = rng.integers(0, 4, 40).astype(np.int32)
    mixed = logits(net, rows)
    for place in range(0, 40, 4):
        row = {name: values[place : place + 1] for name, values in rows.items()}
        np.testing.assert_allclose(
            logits(net, {**row, 'domain': rows['domain'][place]}),
            mixed[place : place + 1],
            rtol=1e-4,
            atol=1e-5,
        )


def test_what_one_tower_does_not_know_is_empty_to_it():
    own = manifest()
    brand = Feature('brand', 'categorical', 'item', 9, vocabulary='brand')
    clicked = Feature('clicked', 'sequence', 'user', 9, vocabulary='brand', length=3)
    of_source = dataclasses.replace(
        own,
        features=[
            *[
                feature
                if feature.vocabulary != 'item_id'
                else dataclasses.replace(feature, size=20)
                for feature in own.features
                if feature.name != 'age'
            ],
            brand,
            clicked,
        ],
    )
    source = built(SOURCE, of=of_source)
    rng = np.random.default_rng(0)
    for variable in source.trainable_variables:
        variable.assign_add(rng.normal(size=variable.shape) * 0.3)
    net = built(NET, source)
    assert [feature.name for feature in net.features] == [
        feature.name for feature in own.features
    ]
    rows = some_rows(rng, 30)
    levels, _ = net.source_outputs({**tensors(rows), 'domain': tf.constant(1)})
    empty = {
        **rows,
        'brand': np.zeros(30, np.int32),
        'domain': np.int32(1),
        'clicked': np.full((30, 3), -1, np.int32),
    }
    for name in ('item_id', 'history'):
        empty[name] = np.where(rows[name] >= 20, 0, rows[name])
    expected = source.look_up(tensors(empty)).flat.numpy()
    np.testing.assert_allclose(levels[0], expected, atol=1e-6)

    # The dataset has a feature that the target tower is not to see.
    wide = dataclasses.replace(own, features=[*own.features, brand])
    narrow = built(
        NET.replace(options={'target_tower': 'mlp', 'source_only_features': ['brand']}),
        source,
        wide,
    )
    assert 'brand' in [feature.name for feature in narrow.features]
    assert 'brand' not in narrow.target.fields
    rows['brand'] = rng.integers(1, 9, 30).astype(np.int32)
    empty['brand'] = rows['brand']
    levels, _ = narrow.source_outputs({**tensors(rows), 'domain': tf.constant(1)})
    np.testing.assert_allclose(
        levels[0], source.look_up(tensors(empty)).flat.numpy(), atol=1e-6
    )


@pytest.mark.parametrize('tower', ['din', 'taobao_base'])
def test_shared_attention_scores_the_same_and_is_computed_once(tower):
    own = net_of(tower, tower)
    shared = built(
        NET.replace(options={'target_tower': tower, 'share_attention': True}), own.source
    )
    names = list(own.target.shareable_attentions())
    assert shared.shared == names and names
    # The towers' attentions, and what they look at, have the same parameters.
    own.target.embedding.table.assign(own.source.embedding.table)
    for name in names:
        for mine, theirs in zip(
            own.target.shareable_attentions()[name].variables,
            own.source.shareable_attentions()[name].variables,
            strict=True,
        ):
            mine.assign(theirs)
    if tower == 'taobao_base':
        own.target.categories.category.assign(own.source.categories.category)
    for layer, other in shared.layers_to_restore(own):
        copy_weights(layer, other)
    rows = some_rows(np.random.default_rng(3), 40)
    np.testing.assert_allclose(logits(shared, rows), logits(own, rows), rtol=1e-5, atol=1e-5)

    # What is shared is the source's now, and frozen.
    for name in names:
        for variable in shared.target.shareable_attentions()[name].variables:
            variable.assign(variable + 1.0)
    np.testing.assert_allclose(logits(shared, rows), logits(own, rows), rtol=1e-5, atol=1e-5)
    trained = {id(variable) for variable in shared.trainable_variables}
    assert not trained & {
        id(variable)
        for name in names
        for variable in shared.target.shareable_attentions()[name].variables
    }

    of = {'din': ('Sigmoid', 'attention_history'), 'taobao_base': ('Softmax', '')}

    def operations(net):
        concrete = tf.function(
            lambda features: net(features), autograph=False
        ).get_concrete_function(tensors(rows))
        kind, part = of[tower]
        return sum(
            operation.type == kind and part in operation.name
            for operation in concrete.graph.get_operations()
        )

    if tower == 'taobao_base':
        # A Transformer and three attentions a tower, of which the target leaves two.
        assert (operations(own), operations(shared)) == (8, 6)
    else:
        assert (operations(own), operations(shared)) == (2, 1)


@pytest.mark.parametrize('share', [False, True])
def test_the_source_tower_is_computed_once_for_a_row_of_several_epochs(share):
    def trained(remembered_mib):
        made = moved(built(SOURCE.replace(name='din')), 5)
        net = built(
            NET.replace(
                options={
                    'target_tower': 'din',
                    'share_attention': share,
                    'source_cache_mib': remembered_mib or 0,
                },
            ),
            made,
        )
        if remembered_mib is not None:
            net.remember()
        step = TrainStep(net, make_optimizer('adam', 0.01))
        predict = Predict(net)
        rng = np.random.default_rng(1)
        rows = {
            **some_rows(rng, 60),
            'click': rng.integers(0, 2, 60).astype(np.float32),
        }
        computed, losses = [], []
        for _ in range(3):
            order = rng.permutation(60)
            for number in range(3):
                batch = {
                    name: values[order[number * 20 :][:20]] for name, values in rows.items()
                }
                losses.append(float(step(tensors(batch))))
            if net.frozen_rows is not None:
                computed.append(net.frozen_rows.computed)
        batch = {**rows, 'domain': np.int32(1)}
        return losses, computed, predict(tensors(batch)).numpy(), logits(net, batch)

    losses, computed, predicted, called = trained(1)
    assert computed == [60, 60, 60]
    np.testing.assert_allclose(predicted, called, rtol=1e-5, atol=1e-5)
    full, of_full, _, _ = trained(0)  # no memory at all
    assert of_full == [60, 120, 180]
    np.testing.assert_allclose(losses, full, rtol=1e-5)
    without, _, other, _ = trained(None)
    np.testing.assert_allclose(losses, without, rtol=1e-4)
    np.testing.assert_allclose(predicted, other, rtol=1e-3, atol=1e-4)


def test_a_newer_source_comes_in_without_touching_the_rest():
    net = net_of('taobao_base', 'mlp')
    train_some(net, 3)
    newer = moved(extend_model(net.source, longer(net.source.manifest)), 9)
    kept = values_of(
        [
            *net.target.variables,
            *(variable for layer in net.adapters for variable in layer.variables),
        ]
    )
    swapped = built(net.config, newer)
    continue_model(swapped, net, 'net')
    assert_equal(
        [
            *swapped.target.variables,
            *(variable for layer in swapped.adapters for variable in layer.variables),
        ],
        kept,
    )
    assert swapped.source is newer and not swapped.source.trainable_variables
    # As one built of these parts from the start.
    fresh = built(net.config, newer)
    for layer, old in fresh.layers_to_restore(net):
        for variable, value in zip(layer.variables, old.variables, strict=True):
            variable.assign(value)
    rows = some_rows(np.random.default_rng(3), 40)
    np.testing.assert_array_equal(logits(swapped, rows), logits(fresh, rows))
    assert np.abs(logits(swapped, rows) - logits(net, rows)).max() > 1e-4
    other = built(net.config, built(SOURCE.replace(embedding_dim=3)))
    with pytest.raises(UserError, match=r'adapter_1/value.* cannot'):
        continue_model(other, net, 'net')


def longer(before):
    return dataclasses.replace(
        before,
        features=[
            dataclasses.replace(feature, size=feature.size + 7)
            if feature.vocabulary
            else feature
            for feature in before.features
        ],
    )


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    return write_periods(tmp_path_factory.mktemp('data') / 'periods')


@pytest.fixture(scope='module')
def sources(dataset, tmp_path_factory):
    """Of the first day, and continued on the second, of domain 1 alone."""
    directory = tmp_path_factory.mktemp('sources')
    config = RUN.replace(model=SOURCE, epochs=3)
    first = train(dataset, str(directory / '1'), config, 'period-1', None, ['d1'])
    second = train(
        dataset,
        str(directory / '2'),
        config,
        'period-2',
        None,
        ['d1'],
        warm_start=WarmStart(first),
    )
    return first, second


@pytest.fixture(scope='module')
def base(dataset, tmp_path_factory):
    return train(
        dataset,
        str(tmp_path_factory.mktemp('base') / 'run'),
        RUN.replace(model=TARGET, epochs=3),
        'period-1',
        None,
        ['d2'],
    )


@pytest.fixture(scope='module')
def first_net(dataset, sources, base, tmp_path_factory):
    """The CTNet of the first period, from the base model of the target (algorithm 1)."""
    return train(
        dataset,
        str(tmp_path_factory.mktemp('net') / 'run'),
        RUN.replace(model=NET),
        'period-1',
        None,
        ['d2'],
        warm_start=WarmStart(base),
        source=sources[0],
    )


def rows_of(seed=3):
    return make_batch(np.random.default_rng(seed), 60)


def encoded(exported, rows):
    ids = {name: tf.constant(values, tf.int64) for name, values in rows.items()}
    return tf.saved_model.load(exported).signatures['encoded'](**ids)['score'].numpy()


def start(dataset, config, splits, warm_start=None, source=None):
    return build_or_warm_start(open_dataset(dataset), config, splits, warm_start, source).model


def test_it_starts_from_the_base_model_with_adapters_near_zero(dataset, sources, base):
    net = start(dataset, NET, ['period-1'], WarmStart(base), sources[0])
    np.testing.assert_allclose(
        sigmoid(logits(net, rows_of())), encoded(base, rows_of()), atol=1e-4
    )
    assert_equal(net.source.variables, values_of(load_model(sources[0]).model.variables))
    assert all(
        np.abs(variable).max() < 1e-3 for layer in net.adapters for variable in layer.variables
    )


def test_the_export_holds_both_towers(first_net, sources, tmp_path):
    alone = str(tmp_path / 'alone')
    shutil.copytree(first_net, alone)
    assert check_golden(alone) is None
    net = load_model(alone).model
    np.testing.assert_allclose(
        sigmoid(logits(net, rows_of())), encoded(alone, rows_of()), atol=1e-6
    )
    assert_equal(net.source.variables, values_of(load_model(sources[0]).model.variables))
    assert not net.source.trainable_variables


def test_the_next_period_continues_on_the_newest_source(dataset, sources, first_net, tmp_path):
    before, newest = load_model(first_net).model, load_model(sources[1]).model
    net = start(dataset, NET, ['period-2'], WarmStart(first_net), sources[1])
    assert_equal(net.source.variables, values_of(newest.variables))
    for mine, theirs in zip(net.adapters, before.adapters, strict=True):
        assert_equal(mine.variables, values_of(theirs.variables))
        assert np.abs(theirs.value).max() > 1e-3
    assert_equal(
        [net.target.head.kernel, *(layer.kernel for layer in net.target.hidden)],
        values_of(
            [before.target.head.kernel, *(layer.kernel for layer in before.target.hidden)]
        ),
    )
    assert net.target.embedding._sizes['user_id'] > before.target.embedding._sizes['user_id']
    np.testing.assert_array_equal(
        net.target.embedding.table.numpy()[:KNOWN_USERS],
        before.target.embedding.table.numpy()[:KNOWN_USERS],
    )
    exported = train(
        dataset,
        str(tmp_path / 'run'),
        RUN.replace(model=NET),
        'period-2',
        None,
        ['d2'],
        WarmStart(first_net),
        sources[1],
    )
    assert check_golden(exported) is None
    after = load_model(exported).model
    assert_equal(after.source.variables, values_of(newest.variables))
    rows = {**rows_of(), 'item_id': np.full(60, KNOWN_ITEMS + 2, np.int32)}
    assert np.isfinite(logits(after, rows)).all()


def test_a_source_that_does_not_fit_is_one_sentence(
    dataset, sources, base, first_net, tmp_path
):
    def refused(sentence, config, warm_start=None, source=sources[0]):
        with pytest.raises(UserError, match=sentence):
            start(dataset, config, ['period-2'], warm_start, source)

    refused('is built on a trained model of the source domain: give', NET, source=None)
    refused('The model mlp does not use a source model', TARGET)
    refused(
        'tower of ctnet is star, which does not end',
        NET.replace(options={'target_tower': 'star'}),
    )
    refused('source model of ctnet is a ctnet, which does not end', NET, source=first_net)
    refused(
        'whose attention layers do not match',
        NET.replace(options={'target_tower': 'mlp', 'share_attention': True}),
    )
    refused('does not contain an exported model', NET, source=str(tmp_path / 'none'))
    refused(
        'architecture mlp, but this run has din',
        NET.replace(options={'target_tower': 'din'}),
        WarmStart(base),
    )
    refused(
        'has 2 layers between its towers|3 layers between its towers',
        NET.replace(options={'target_tower': 'mlp', 'output_adapter': False}),
        WarmStart(first_net),
    )
    refused(
        'The layers of adapter_1 and of adapter_1 differ',
        NET.replace(options={'target_tower': 'mlp', 'adapter': 'linear'}),
        WarmStart(first_net),
    )
    half = str(tmp_path / 'half')
    shutil.copytree(sources[0], half)
    os.remove(os.path.join(half, 'weights', 'weights.index'))
    refused('weights/weights.index is missing', NET, source=half)
    other = dataclasses.replace(
        manifest(),
        features=[
            dataclasses.replace(feature, boundaries=[1.0, 2.0, 3.0])
            if feature.name == 'age'
            else feature
            for feature in manifest().features
        ],
    )
    with pytest.raises(
        UserError, match='The feature age of the source model of ctnet has other ids'
    ):
        built(NET, built(SOURCE, of=other))
