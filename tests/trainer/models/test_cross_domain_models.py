"""MLP++, MiNet, DDTCDR and DASL, put together from their variables row by row in NumPy."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mdctr.errors import UserError
from mdctr.manifest import Feature
from tests.parameters import slow_except
from tests.trainer import numeric, trainer_dataset
from tests.trainer.layers.test_cross_domain_layers import gru, sigmoid
from trainer.config import ModelConfig
from trainer.keras import keras, tf
from trainer.layers.domain.domain_layer import DomainLayer
from trainer.loop.step import TrainStep, loss_of
from trainer.models import build_model
from trainer.optimizers.row_wise import make_optimizer

NAMES = ['mlp_pp', 'minet', 'ddtcdr', 'dasl']
DIM, LENGTH, DOMAINS = 3, trainer_dataset.LENGTH, 4
PLACES = {'in_d1': ['d1'], 'in_d2': ['d2'], 'in_others': ['d3', 'd4']}


def manifest(places=PLACES, domains=DOMAINS):
    """With the clicks in given domains apart."""
    plain = trainer_dataset.make_manifest(domains)
    return dataclasses.replace(
        plain,
        features=[
            *plain.features,
            *(
                Feature(
                    name,
                    'sequence',
                    'user',
                    trainer_dataset.ITEMS + 1,
                    vocabulary='item_id',
                    length=LENGTH,
                    history=True,
                    domains=names,
                )
                for name, names in places.items()
            ),
        ],
    )


def make(name, of=None, randomize=True, normalization='none', **options):
    keras.utils.set_random_seed(1)
    model = build_model(
        of or manifest(),
        ModelConfig(
            name=name,
            embedding_dim=DIM,
            hidden_units=[5, 4],
            normalization=normalization,
            auxiliary_network=False,
            options=options,
        ),
    )
    if randomize:
        numeric.randomize(model, scale=0.4)
    return model


def make_rows(size=30, seed=0, domains=DOMAINS):
    """Rows of all domains, unseen ones among them."""
    rng = np.random.default_rng(seed)
    batch = trainer_dataset.make_batch(rng, size, domains)
    for name in PLACES:
        batch[name] = np.where(
            np.arange(LENGTH) < rng.integers(0, LENGTH + 1, (size, 1)),
            rng.integers(0, trainer_dataset.ITEMS + 1, (size, LENGTH)),
            -1,
        )
    batch['domain'][:4] = [0, 0, domains, 1]
    return {name: tf.constant(ids, tf.int32) for name, ids in batch.items()}


def of_part(layer, part):
    """A part's own arrays, kernel after bias; those of unseen domains are means."""
    return [
        variable.numpy()[part] if part else variable.numpy()[1:].mean(axis=0)
        for variable in layer.trainable_variables
    ]


def values(layer):
    return [variable.numpy() for variable in layer.trainable_variables]


def score(x, hidden, head):
    for kernel, bias in zip(hidden[::2], hidden[1::2], strict=True):
        x = numeric.relu(x @ kernel + bias)
    return (x @ head[0] + head[1])[0]


def table_of(layer, part):
    if not isinstance(layer, DomainLayer):
        return layer.table.numpy()
    tables = layer.table.numpy().reshape(layer.num_domains, layer.rows, DIM)
    return tables[part] if part else tables[1:].mean(axis=0)


def looked_up(model, batch, i, part):
    """By feature, the vector of row i, or those of a sequence's ids."""
    found = {}
    for layer in (model.embedding, getattr(model, 'own_embedding', model.embedding)):
        for feature in layer.features:
            start = layer._offsets[feature.vocabulary or f'{feature.name} (buckets)']
            ids = np.atleast_1d(batch[feature.name][i])
            vectors = table_of(layer, part)[start + ids[ids >= 0]].astype(np.float64)
            found[feature.name] = vectors if feature.kind == 'sequence' else vectors[0]
    return found


def pooled(row, names):
    return np.concatenate(
        [
            value if value.ndim == 1 else value.mean(axis=0) if len(value) else np.zeros(DIM)
            for value in (row[name] for name in names)
        ]
    )


def names_of(model):
    return [feature.name for feature in model.features]


def mlp_pp(model, row, part, batch, i):
    return score(
        pooled(row, names_of(model)), of_part(model.tower, part), of_part(model.head, part)
    )


SEEN = {
    0: ['in_d2', 'in_others'],
    1: ['in_d2', 'in_others'],
    2: ['in_d2'],
    3: ['in_others'],
    4: ['in_others'],
}  # clicks in targets, by domain


USER, WIDTH = ['user_id', 'age'], 2 * DIM


def minet(model, row, part, batch, i):
    user, item, others = (
        pooled(row, names) for names in (USER, ['item_id', 'genres'], ['history'])
    )
    if part == 1:
        return score(
            np.concatenate([item, user, others]),
            of_part(model.source_tower, 1),
            of_part(model.source_head, 1),
        )

    def attend(layer, clicks):
        kernel, row_kernel, bias, weights = (
            layer.of_click.kernel.numpy(),
            *values(layer.of_row),
            layer.score.kernel.numpy(),
        )
        mapping = layer.map_down.numpy() @ layer.map_up.numpy() if layer.rank else np.eye(DIM)
        if not len(clicks):
            return np.zeros(DIM)
        scores = [
            numeric.relu(
                np.concatenate([e, (e @ mapping) * row['item_id']]) @ kernel
                + np.concatenate([item, user]) @ row_kernel
                + bias
            )
            @ weights[:, 0]
            for e in clicks
        ]
        return numeric.softmax(np.array(scores)) @ clicks

    (source,) = model.source_attention
    (target,) = model.target_attention
    interests = [
        user,
        attend(source, row['in_d1']),
        attend(target, np.concatenate([row[name] for name in SEEN[part]])),
    ]
    kernel, scores, bias = values(model.interests)
    hidden = numeric.relu(np.concatenate([item, *interests]) @ kernel).reshape(3, -1)
    weights = np.exp(np.sum(hidden * scores, axis=1) + bias)
    weighed = [weight * interest for weight, interest in zip(weights, interests, strict=True)]
    number = max(part - 1, 0)
    return score(
        np.concatenate([item, *weighed, others]),
        of_part(model.target_tower, number),
        of_part(model.target_head, number),
    )


def ddtcdr(model, row, part, batch, i):
    own = pooled(row, USER)
    others = pooled(row, [name for name in names_of(model) if name not in USER])

    def tower(user, part):
        return score(
            np.concatenate([user, others]),
            of_part(model.tower, part),
            of_part(model.head, part),
        )

    alpha = model.options.alpha
    if not alpha:
        return tower(own, part)
    mapping = model.mapping.domain_mapping.numpy()
    back = mapping[part].T if part else mapping[2:].mean(axis=0).T
    mapped = own @ (mapping[2] if part == 1 else back)
    p = (1 - alpha) * sigmoid(tower(own, part)) + alpha * sigmoid(
        tower(mapped, 2 if part == 1 else 1)
    )
    return np.log(p / (1 - p))


def dasl(model, row, part, batch, i):
    (attention,) = model.attention
    states = []
    for layers, names in ((model.source_states, ['in_d1']), (model.target_states, SEEN[part])):
        for name in names:
            inputs = [np.concatenate([e, pooled(row, USER)]) for e in row[name][::-1]]
            states += gru(values(layers[0]), inputs)
    of_state, of_target, weights = (
        of_part(layer, part)
        for layer in (attention.of_state, attention.of_target, attention.score)
    )
    scores = [
        (
            np.tanh(
                h @ of_state[0] + of_state[1] + row['item_id'] @ of_target[0] + of_target[1]
            )
            @ weights[0]
            + weights[1]
        )[0]
        for h in states
    ]
    attended = (
        numeric.softmax(np.array(scores)) @ np.stack(states)
        if states
        else np.zeros(model.options.state_units)
    )
    x = np.concatenate(
        [pooled(row, [name for name in names_of(model) if name not in PLACES]), attended]
    )
    return score(x, of_part(model.tower, part), of_part(model.head, part))


PAPERS = {'mlp_pp': mlp_pp, 'minet': minet, 'ddtcdr': ddtcdr, 'dasl': dasl}


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('mlp_pp', {}),
        ('minet', {}),
        ('minet', {'rank': 2, 'attention_units': 3}),
        ('ddtcdr', {}),
        ('ddtcdr', {'alpha': 0.4}),
        ('ddtcdr', {'alpha': 0.0}),
        ('dasl', {'state_units': 2}),
    ],
)
def test_logits_equal_the_papers_in_numpy(name, options):
    model, batch = make(name, **options), make_rows()
    domains = batch['domain'].numpy()
    expected = [
        PAPERS[name](model, looked_up(model, batch, i, part), part, batch, i)
        for i, part in enumerate(domains)
    ]
    assert np.std(expected) > 0.05
    assert_allclose(model(batch), expected, atol=2e-4)
    model.fold()
    assert_allclose(model(batch), expected, atol=2e-4)
    model.unfold()
    for domain in range(DOMAINS + 1):
        rows = {key: tf.boolean_mask(ids, domains == domain) for key, ids in batch.items()}
        found = model({**rows, 'domain': tf.constant(domain)})
        assert_allclose(found, np.array(expected)[domains == domain], atol=2e-4)


@pytest.mark.parametrize('name', NAMES)
def test_a_source_that_is_not_the_first_and_one_target(name):
    """Domains 4 and 2 alone: what is known of a row of another is that it is unseen."""
    places = {'in_d4': ['d4'], 'in_d2': ['d2'], 'in_d1': ['d1']}
    model = make(name, manifest(places), source_domain='d4', target_domain='d2')
    batch = make_rows()
    batch['in_d4'] = batch.pop('in_others')
    assert (model.source_part, model.target_parts) == (2, [1])
    for layer in model.domain_layers():
        for variable in layer.trainable_variables:
            assert variable.shape[0] in (2, 3) or 'table' in variable.name
    found = model(batch).numpy()
    unseen = model({**batch, 'domain': tf.zeros_like(batch['domain'])}).numpy()
    others = np.isin(batch['domain'], [0, 1, 3])
    assert_allclose(found[others], unseen[others], atol=1e-5)
    assert (np.abs(found - unseen)[~others] > 1e-6).all() or name == 'minet'
    for domain in (1, 2, 4):
        rows = batch['domain'].numpy() == domain
        alone = {key: tf.boolean_mask(ids, rows) for key, ids in batch.items()}
        assert_allclose(model({**alone, 'domain': tf.constant(domain)}), found[rows], atol=1e-5)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('training', [False, True])
def test_no_tower_of_another_domain_touches_a_row(name, training):
    """Part 4's weights are not-a-number: only its own rows can show it."""
    model, batch = make(name), make_rows()
    domains = batch['domain'].numpy()
    batch = {key: ids[domains > 0] for key, ids in batch.items()}
    domains = domains[domains > 0]
    for layer in model.domain_layers():
        for variable in layer.trainable_variables:
            rows = variable.numpy()
            number = (
                4 * (len(rows) // layer.num_domains)
                if 'table' in variable.name
                else (4 if len(rows) == 5 else 3)
            )  # MiNet counts targets alone
            rows[number:] = np.nan
            variable.assign(rows)
    found = model(batch, training=training).numpy()
    assert_array_equal(np.isnan(found), domains == 4)


def test_a_source_row_of_minet_needs_no_attention():
    """Nor does a target's touch the source's tower."""
    batch = make_rows()
    for broken, rows in (
        ('interests', lambda domain: domain != 1),
        ('source_attention', lambda domain: domain != 1),
        ('source_tower', lambda domain: domain == 1),
    ):
        model = make('minet')
        layers = getattr(model, broken)
        for layer in layers if isinstance(layers, list) else [layers]:
            for variable in layer.trainable_variables:
                variable.assign(variable * np.nan)
        has_clicks = (batch['in_d1'].numpy()[:, 0] >= 0) | (broken != 'source_attention')
        assert_array_equal(np.isnan(model(batch)), rows(batch['domain'].numpy()) & has_clicks)


def gradients(model, batch, click):
    with tf.GradientTape() as tape:
        loss = loss_of(model, batch, click)
    return [
        tf.convert_to_tensor(gradient).numpy()
        for gradient in tape.gradient(loss, model.trainable_variables)
    ]


def test_gamma_weighs_the_rows_of_the_source():
    batch = make_rows()
    click = tf.constant(np.arange(30) % 3 == 0, tf.float32)
    weighted, plain = make('minet', gamma=0.3), make('minet')
    source = batch['domain'].numpy() == 1
    with tf.GradientTape() as tape:
        each = tf.nn.sigmoid_cross_entropy_with_logits(click, plain(batch, training=True))
        loss = tf.reduce_mean(tf.where(source, 0.3, 1.0) * each)
    expected = tape.gradient(loss, plain.trainable_variables)
    for one, other in zip(gradients(weighted, batch, click), expected, strict=True):
        assert_allclose(one, tf.convert_to_tensor(other), atol=1e-6)


@pytest.mark.parametrize('name', ['ddtcdr', 'dasl'])
def test_losses_of_the_mapping(name):
    model, batch = make(name), make_rows()
    batch = {key: ids[4:] for key, ids in batch.items()}
    domains = batch['domain'].numpy()
    model(batch)
    assert name == 'dasl' or not model.losses
    model(batch, training=True)
    mapping = model.mapping.domain_mapping.numpy()
    used = [2 if part == 1 else part for part in sorted(set(domains))]
    penalty = np.mean([np.sum((mapping[p] @ mapping[p].T - np.eye(WIDTH)) ** 2) for p in used])
    expected = [0.1 * penalty]
    if name == 'dasl':
        away = []
        for i, part in enumerate(domains):
            if part != 1:
                own, source = (pooled(looked_up(model, batch, i, p), USER) for p in (part, 1))
                away.append(np.sum((own @ mapping[part].T - source) ** 2))
        expected = [0.1 * np.mean(away), *expected]
    assert_allclose(model.losses, expected, rtol=1e-3)
    model({**batch, 'domain': tf.constant(1)}, training=True)
    x = mapping[2]
    assert_allclose(model.losses[-1], 0.1 * np.sum((x @ x.T - np.eye(WIDTH)) ** 2), rtol=1e-4)
    if name == 'dasl':
        assert float(model.losses[0]) == 0  # the source has no target's vector to be near to


def batches(count, seed=5):
    """Rows whose clicks depend on user and item."""
    for number in range(count):
        batch = make_rows(64, seed + number)
        item, user = batch['item_id'].numpy(), batch['user_id'].numpy()
        click = (item % 2 == user % 2).astype(np.float32)
        yield {**batch, 'click': tf.constant(click)}


@pytest.mark.parametrize('name', slow_except(['ddtcdr', 'dasl'], {'ddtcdr'}))
@pytest.mark.parametrize('start', ['orthogonal', 'anywhere'])
def test_the_mapping_becomes_and_stays_orthogonal(name, start):
    model = make(
        name,
        randomize=False,
        normalization='bn',
        **({'alpha': 0.4} if name == 'ddtcdr' else {}),
    )
    if start == 'anywhere':
        numeric.randomize(model.mapping, scale=0.5)
    before = model.mapping.domain_mapping.numpy()
    step = TrainStep(model, make_optimizer('adam', 0.02))
    for batch in batches(100):
        step(batch)
    after = model.mapping.domain_mapping.numpy()
    for target in model.target_parts:
        assert np.abs(after[target] - before[target]).max() > 1e-3
        assert_allclose(after[target] @ after[target].T, np.eye(WIDTH), atol=0.1)


@pytest.mark.parametrize('name', slow_except(NAMES, {'minet', 'mlp_pp'}))
def test_training_moves_what_the_rows_use_and_nothing_else(name):
    """Batches of domains 1 and 2 leave everything of domains 3 and 4 as it was, though Adam
    would have moved it on."""
    model = make(name, randomize=False)
    step = TrainStep(model, make_optimizer('adam', 0.01))
    for batch in batches(2, seed=9):
        step({key: ids[4:] for key, ids in batch.items()})  # none of an unseen domain
    before = [variable.numpy() for variable in model.trainable_variables]
    for batch in batches(2):
        domains = batch['domain'].numpy()
        batch = {key: ids[(domains == 1) | (domains == 2)] for key, ids in batch.items()}
        step(batch)
        for domain in (1, 2):
            rows = {key: ids[batch['domain'].numpy() == domain] for key, ids in batch.items()}
            step({**rows, 'domain': tf.constant(domain)})
    for variable, old in zip(model.trainable_variables, before, strict=True):
        new = variable.numpy()
        if '/domain_' in variable.name:
            parts = 5 if name != 'minet' else 4 if 'target' in variable.name else 2
            old, new = (array.reshape(parts, -1) for array in (old, new))
            used = [1] if parts < 5 else [2] if 'mapping' in variable.name else [1, 2]
            moved = (old != new).any(axis=1)
            assert_array_equal(np.flatnonzero(moved), used, err_msg=variable.name)
        else:
            assert (old != new).any(), variable.name


def test_without_histories_by_domain_all_clicks_stand_for_both():
    plain = trainer_dataset.make_manifest(3)
    batch = make_rows(domains=3)
    for name in ('minet', 'dasl'):
        model = make(name, plain)
        for variable in model.trainable_variables:
            if 'bias' in variable.name:  # no dead units
                variable.assign(tf.abs(variable))
        (clicks,) = model.clicks
        assert [each.name for each in (*clicks.source, *clicks.targets)] == ['history'] * 2
        found = model(batch).numpy()
        empty = model({**batch, 'history': tf.fill([30, LENGTH], -1)}).numpy()
        clicked = batch['history'].numpy()[:, 0] >= 0
        if name == 'minet':
            clicked &= batch['domain'].numpy() != 1
        assert_array_equal(np.abs(found - empty) > 1e-7, clicked)


@pytest.mark.parametrize('name', ['minet', 'dasl'])
def test_no_clicks_at_all_and_longer_sequences(name):
    model, batch = make(name), make_rows()
    for length in (LENGTH, 0):
        nothing = {**batch, **{key: tf.fill([30, length], -1) for key in PLACES}}
        found = model(nothing).numpy()
        assert np.isfinite(found).all()
    longer = {
        **batch,
        **{key: tf.concat([batch[key], tf.fill([30, 5], -1)], axis=1) for key in PLACES},
    }
    assert_allclose(model(longer), model(batch), atol=1e-5)


@pytest.mark.parametrize('normalization', ['bn', 'ln', 'pn'])
def test_minet_normalizes_the_short_term_interests_of_targets(normalization):
    model, batch = make('minet', normalization=normalization), make_rows()
    sources = {**batch, 'domain': tf.ones_like(batch['domain'])}
    before = values(model.short_term) + [
        variable.numpy() for variable in model.short_term.non_trainable_variables
    ]
    model(sources, training=True)
    model({**sources, 'domain': tf.constant(1)}, training=True)
    after = values(model.short_term) + [
        variable.numpy() for variable in model.short_term.non_trainable_variables
    ]
    for one, other in zip(before, after, strict=True):
        assert_array_equal(one, other)
    assert np.isfinite(model(batch, training=True)).all()


ONE = trainer_dataset.make_manifest(1)
WITHOUT = dataclasses.replace(
    trainer_dataset.make_manifest(2),
    features=[feature for feature in trainer_dataset.make_features() if not feature.history],
)


@pytest.mark.parametrize(
    ('name', 'of', 'options', 'sentence'),
    [
        *(
            (
                name,
                ONE,
                {},
                'transfers from a source domain to others, but tiny has only one domain',
            )
            for name in NAMES
        ),
        ('mlp_pp', None, {'source_domain': 'x'}, 'source_domain of mlp_pp is x, which is not'),
        (
            'minet',
            None,
            {'target_domain': 'd9'},
            'target_domain of minet is d9.*it has d1, d2, d3',
        ),
        ('dasl', None, {'target_domain': 'd1'}, 'd1 is both source_domain and target_domain'),
        (
            'dasl',
            None,
            {'source_domain': 'd3', 'target_domain': 'd1'},
            r'clicks in the domain d3 apart.*`domains: \[d3\]`',
        ),
        (
            'minet',
            manifest({'in_d1': ['d1'], 'in_d2': ['d2']}),
            {},
            r'clicks in the domain d3 apart.*`domains: \[d3\]`',
        ),
        ('minet', manifest({'in_d2': ['d2']}, 2), {}, r'clicks in the domain d1 apart'),
        ('minet', WITHOUT, {}, 'add a feature of the kind history'),
        ('dasl', WITHOUT, {}, 'add a feature of the kind history'),
    ],
)
def test_a_wrong_option_is_one_sentence(name, of, options, sentence):
    with pytest.raises(UserError, match=sentence):
        make(name, of, **options)


@pytest.mark.parametrize('name', NAMES)
def test_users_are_needed(name):
    with pytest.raises(UserError, match='needs a feature of the user: do not exclude user_id'):
        build_model(
            trainer_dataset.make_manifest(2),
            ModelConfig(name=name, exclude_features=['user_id', 'age']),
        )
