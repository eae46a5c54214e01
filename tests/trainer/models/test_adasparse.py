"""AdaSparse as a whole: its composition, its state, and what the sparsity loss does."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mdctr.errors import UserError
from tests.trainer import trainer_dataset
from tests.trainer.random_model import random_batch, random_model
from trainer.config import ModelConfig
from trainer.keras import keras, tf
from trainer.loop.domain_summaries import domain_summaries
from trainer.loop.step import TrainStep, loss_of
from trainer.models import build_model
from trainer.optimizers.row_wise import make_optimizer

HIDDEN = [8, 6]


def make(name='adasparse', **settings):
    return random_model(name, **settings)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Paper:
    """The network after the embeddings, in NumPy: prune, then the layer, again and again."""

    def __init__(self, model, alpha):
        self.model, self.alpha, self.ratios = model, alpha, []
        self.options = model.options

    def prune(self, name, h, aware):
        pruner = self.model.pruners[name]
        logits = aware @ pruner.context_kernel.numpy() + pruner.bias.numpy()
        if self.options.pruner_inputs == 'both':
            logits = logits + h @ pruner.hidden_kernel.numpy()
        beta = 1.0 if self.options.formulation == 'binarization' else 2.0
        if self.options.formulation == 'scaling':
            return h * beta * sigmoid(logits)
        v = beta * sigmoid(self.alpha * logits)
        self.ratios.append(1 - np.mean(v > 0.25))
        return h * np.where(
            v > 0.25, 1.0 if self.options.formulation == 'binarization' else v, 0.0
        )

    def dense(self, layer, h, aware, domains):
        h = self.prune(layer.name, h, aware)
        if hasattr(layer, 'domain_kernel'):  # of the star
            return np.stack(
                [
                    row @ (layer.kernel.numpy() * layer.domain_kernel.numpy()[p])
                    + layer.bias.numpy()
                    + layer.domain_bias.numpy()[p]
                    for row, p in zip(h, domains, strict=True)
                ]
            )
        return h @ layer.kernel.numpy() + layer.bias.numpy()

    def logits(self, fields, aware, domains):
        x = fields.reshape(len(fields), -1)
        crossed = x
        for layer in self.model.crosses:  # DCN-V2, equation 1, of the pruned x_i
            crossed = self.prune(layer.name, crossed, aware)
            kernel, bias = (variable.numpy() for variable in layer.variables)
            crossed = x * (crossed @ kernel + bias) + crossed
        h = x
        for layer in self.model.hidden:
            h = np.maximum(self.dense(layer, h, aware, domains), 0)
        if self.model.crosses:
            h = np.concatenate([crossed, h], axis=1)
        return self.dense(self.model.head, h, aware, domains)[:, 0]


def looked_up(model, features, aware_names):
    """Embeddings of every row [batch, fields, dim] in the batch's order, and e_d."""
    inputs = model.look_up(features)
    fields = inputs.domains.unsort(inputs.fields).numpy().astype(np.float64)
    aware = [fields[:, model.fields.index(name)] for name in aware_names]
    return fields, np.concatenate(aware, axis=1)


@pytest.mark.parametrize('name', ['adasparse', 'dcnv2_adasparse', 'star_adasparse'])
@pytest.mark.parametrize(
    'options',
    [
        {'formulation': 'binarization'},
        {'formulation': 'scaling'},
        {'formulation': 'fusion'},
        {'pruner_inputs': 'domain'},
        {'domain_aware': ['domain', 'age']},
        {'domain_aware': ['age']},
    ],
    ids=str,
)
def test_logits_and_sparsity_loss_equal_the_paper_in_numpy(name, options):
    model = make(name, **options)
    model.schedule.alpha.assign(3.0)
    for features in (random_batch(), random_batch(domain=2)):
        fields, aware = looked_up(model, features, options.get('domain_aware', ['domain']))
        domains = np.broadcast_to(features['domain'].numpy(), len(fields))
        paper = Paper(model, 3.0)
        expected = paper.logits(fields, aware, domains)
        assert_allclose(model(features), expected, atol=2e-4)
        if paper.ratios:
            assert 0 < np.mean(paper.ratios) < 1
            # R_s of equations 9 and 10, over the layers L.
            distance = np.abs(np.array(paper.ratios) - 0.2)
            outside = distance > 0.05
            lambda_hat = float(model.schedule.lambda_hat)
            click = tf.zeros([len(fields)])
            found = loss_of(model, features, click)
            cross_entropy = np.mean(np.log1p(np.exp(expected)))
            assert_allclose(
                found, cross_entropy + np.mean(outside * lambda_hat * distance**2), atol=1e-4
            )
            model.schedule.alpha.assign(3.0)


def test_alpha_is_frozen_but_for_training_and_goes_with_the_weights(tmp_path):
    model = make(alpha_steps=10)
    for _ in range(3):
        model(random_batch(), training=False)
    assert float(model.schedule.alpha) == pytest.approx(0.1)
    step = TrainStep(model, make_optimizer('adam', 0.01))
    rows = {**random_batch(), 'click': tf.ones([24])}
    for _ in range(4):
        step(rows)
    assert float(model.schedule.alpha) == pytest.approx(0.1 + 4 * 0.49)
    path = str(tmp_path / 'weights')
    model.save_weights(path)
    again = make(alpha_steps=10)
    again.load_weights(path)
    assert float(again.schedule.alpha) == float(model.schedule.alpha)
    assert_allclose(again(random_batch()), model(random_batch()), atol=1e-6)


@pytest.mark.parametrize(
    ('formulation', 'pruner_inputs'),
    [('binarization', 'both'), ('fusion', 'both'), ('fusion', 'domain')],
)
def test_training_drives_the_ratios_into_their_band(formulation, pruner_inputs):
    keras.utils.set_random_seed(1)
    model = build_model(
        trainer_dataset.make_manifest(3),
        ModelConfig(
            name='adasparse',
            embedding_dim=8,
            hidden_units=[32, 16],
            options={
                'formulation': formulation,
                'pruner_inputs': pruner_inputs,
                'alpha_steps': 60,
                'lambda_growth': 0.5,
            },
        ),
    )
    step = TrainStep(model, make_optimizer('adam', 0.02))
    # The clicks follow item, age and domain.
    data = [learnable(rng) for rng in map(np.random.default_rng, range(8))]
    first = ratios(model, data[0])
    losses, settled = [], []
    for i in range(220):
        losses.append(float(step(data[i % len(data)])))
        if i >= 180:
            settled.append(list(ratios(model, data[i % len(data)]).values()))
    assert max(first.values()) == 0  # nothing is pruned at first
    settled = np.mean(settled, axis=0)
    assert settled.shape == (3,)
    assert (settled >= 0.15 - 0.01).all() and (settled <= 0.25 + 0.01).all(), settled
    assert np.mean(losses[-20:]) < 0.9 * losses[0]  # and it has learned


def learnable(rng):
    parts = [trainer_dataset.make_rows(60, domain, rng) for domain in (1, 2, 3)]
    rows = {
        name: np.concatenate([part[name] for part in parts]).astype(np.int32)
        for name in ('user_id', 'item_id', 'age', 'domain', 'click')
    }
    padded = {
        name: np.full((180, length), -1, np.int32)
        for name, length in (('genres', 3), ('history', trainer_dataset.LENGTH))
    }
    return {
        **{name: tf.constant(values) for name, values in {**rows, **padded}.items()},
        'click': tf.constant(rows['click'], tf.float32),
    }


def ratios(model, rows):
    factors = model.factors({name: rows[name] for name in (*model.fields[:-1], 'domain')})
    return {name: float(np.mean(values.numpy() == 0)) for name, values in factors.items()}


def test_masks_by_domain_for_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from mdctr.dataset import open_dataset
    from trainer.data.examples import Examples
    from trainer.loop.tensorboard import Logs

    trainer_dataset.write_dataset(tmp_path / 'data')
    examples = Examples(open_dataset(str(tmp_path / 'data')), 'validation')
    model = make(pruner_inputs='domain')
    model.schedule.alpha.assign(5.0)
    names, found = domain_summaries(model, examples)
    assert names == ['d1', 'd2', 'd3']
    assert list(found) == [f'kept_neurons/{name}' for name in ('hidden_0', 'hidden_1', 'head')]
    aware = model.domain_field.domain_table.numpy()[1:]
    pruner = model.pruners['hidden_1']
    kept = 2 * sigmoid(5 * (aware @ pruner.context_kernel.numpy() + pruner.bias.numpy())) > 0.25
    assert_array_equal(found['kept_neurons/hidden_1'], kept)
    assert 0 < kept.mean() < 1
    logs = Logs(str(tmp_path / 'logs'))
    logs.domains(1, names, found)
    logs.close()
    events = EventAccumulator(str(tmp_path / 'logs'))
    events.Reload()
    assert 'kept_neurons/hidden_1' in events.Tags()['tensors']
    shown = tf.make_ndarray(events.Tensors('kept_neurons/hidden_1/d2')[0].tensor_proto)
    assert float(shown) == pytest.approx(kept[1].mean())
    assert domain_summaries(make('mlp'), examples) == ([], {})


def test_unseen_domains_and_rows_alone():
    model = make()
    model.schedule.alpha.assign(5.0)
    together = model(random_batch()).numpy()
    for i in range(3):
        alone = {name: values[i : i + 1] for name, values in random_batch().items()}
        assert_allclose(model(alone), together[i : i + 1], atol=1e-5)
    unseen = model(random_batch(domain=0)).numpy()
    assert np.isfinite(unseen).all()
    assert_allclose(model(random_batch(domain=99)), unseen, atol=1e-6)


def test_what_cannot_be_says_so():
    for options, message in (
        ({'domain_aware': ['colour']}, 'not a feature of the model'),
        ({'domain_feature': False}, 'with domain_feature: true'),
        ({'domain_aware': []}, 'is empty'),
        ({'r_min': 0.5, 'r_max': 0.2}, 'r_min must not be more'),
        ({'formulation': 'hard'}, 'formulation must be one of'),
    ):
        with pytest.raises(UserError, match=message):
            make(**options)


def test_options_are_the_papers():
    options = make().options.model_dump()
    paper = {
        'epsilon': 0.25,
        'beta': 2.0,
        'r_min': 0.15,
        'r_max': 0.25,
        'pruner_inputs': 'both',
        'domain_aware': ('domain',),
    }
    assert {name: options[name] for name in paper} == paper


@pytest.mark.parametrize('name', ['adasparse', 'star_adasparse'])
@pytest.mark.parametrize('pruner_inputs', ['both', 'domain'])
def test_a_batch_of_one_domain_learns_what_mixed_rows_of_it_do(name, pruner_inputs):
    """Mixed rows go through the layers as those are tested, one domain's a shorter way."""
    model = make(name, pruner_inputs=pruner_inputs)
    click, found = tf.constant([0.0, 1.0] * 12), []
    for domain in (tf.constant(2), tf.fill([24], 2)):
        model.schedule.alpha.assign(3.0)
        model.schedule.lambda_hat.assign(5.0)
        with tf.GradientTape() as tape:
            loss = loss_of(model, {**random_batch(), 'domain': domain}, click)
        found.append(
            [loss, *map(tf.convert_to_tensor, tape.gradient(loss, model.trainable_variables))]
        )
    for one, other in zip(*found, strict=True):
        assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize('dropout', [0.0, 0.5])
@pytest.mark.parametrize('single_domain', [True, False])
@pytest.mark.parametrize('name', ['dcnv2_adasparse', 'star_adasparse'])
def test_what_a_cross_layer_prunes_does_not_return_through_dropout(
    name, single_domain, dropout
):
    keras.utils.set_random_seed(1)
    model = build_model(
        trainer_dataset.make_manifest(3),
        ModelConfig(
            name=name,
            embedding_dim=4,
            hidden_units=[3],
            normalization='none',
            auxiliary_network=False,
            dropout=dropout,
            options={'formulation': 'binarization', 'backbone': 'dcnv2', 'cross_layers': 1},
        ),
    )
    width = len(model.fields) * 4
    pruned = np.arange(width) % 2 == 0
    # The cross layer adds nothing to its input, of which half of the neurons are pruned; the
    # logit is the sum of these neurons after it.
    for variable in model.crosses[0].variables:
        variable.assign(tf.zeros_like(variable))
    for layer, bias in ((model.crosses[0], np.where(pruned, -99, 99)), (model.head, 99)):
        for variable in model.pruners[layer.name].trainable_variables:
            variable.assign(tf.zeros_like(variable))
        pruner = model.pruners[layer.name]
        pruner.bias.assign(np.broadcast_to(bias, pruner.bias.shape))
    model.head.kernel.assign(np.append(pruned, [0.0] * 3)[:, None])
    model.embedding.table.assign(tf.ones_like(model.embedding.table))
    batch = trainer_dataset.make_batch(np.random.default_rng(0), 50)
    features = {key: tf.constant(values) for key, values in batch.items()}
    if single_domain:
        features['domain'] = tf.constant(1)
    np.testing.assert_array_equal(model(features, training=True), 0)
