"""Keras's optimizers by name: against Keras's own steps, restored, and in frameworks."""

import numpy as np
import pytest

from mdctr.dataset import open_dataset
from mdctr.errors import UserError
from tests.trainer.trainer_dataset import make_batch, make_manifest, write_dataset
from trainer.config import ModelConfig, TrainConfig
from trainer.data.examples import Examples
from trainer.export.golden import read_golden
from trainer.frameworks import make_framework
from trainer.keras import keras, tf
from trainer.loop.checkpoints import Checkpoints, RunState
from trainer.loop.step import TrainStep, loss_of
from trainer.models import build_model
from trainer.optimizers.keras_optimizers import slot_variables
from trainer.optimizers.row_wise import make_optimizer
from trainer.train import train

MODEL = ModelConfig(name='mlp', embedding_dim=2, hidden_units=[3], normalization='none')
CLASSES = {
    'adadelta': (keras.optimizers.Adadelta, {'rho': 0.9}),
    'adafactor': (keras.optimizers.Adafactor, {}),
    'adamax': (keras.optimizers.Adamax, {'beta_1': 0.8}),
    'adamw': (keras.optimizers.AdamW, {'weight_decay': 0.1}),
    'ftrl': (keras.optimizers.Ftrl, {'l1_regularization_strength': 0.01}),
    'lion': (keras.optimizers.Lion, {}),
    'nadam': (keras.optimizers.Nadam, {'beta_1': 0.8}),
    'keras_adam': (keras.optimizers.Adam, {'amsgrad': True}),
    'keras_sgd': (keras.optimizers.SGD, {'momentum': 0.9, 'nesterov': True}),
}


def batches(count=4):
    rng = np.random.default_rng(0)
    for _ in range(count):
        batch = {**make_batch(rng, 8), 'click': rng.integers(0, 2, 8).astype(np.float32)}
        yield {name: tf.constant(value) for name, value in batch.items()}


def model():
    keras.utils.set_random_seed(3)
    return build_model(make_manifest(), MODEL)


@pytest.mark.parametrize('name', CLASSES)
def test_steps_are_those_of_keras(name):
    made, options = CLASSES[name]
    mine, other = model(), model()
    step, theirs = TrainStep(mine, make_optimizer(name, 0.05, options)), made(0.05, **options)
    for batch in batches():
        step(batch)
        theirs.minimize(
            lambda batch=batch: loss_of(other, batch, batch['click']), other.trainable_variables
        )
    for one, expected in zip(mine.trainable_variables, other.trainable_variables, strict=True):
        np.testing.assert_allclose(one, expected, atol=2e-5, err_msg=one.name)


@pytest.mark.parametrize('name', ['adafactor', 'nadam', 'ftrl'])
def test_a_restored_one_goes_on_to_the_same_end(name, tmp_path):
    def made():
        one = model()
        step = TrainStep(one, make_optimizer(name, 0.05))
        return one, step, tf.train.Checkpoint(model=one, optimizer=step.optimizer)

    (one, step, saved), (other, continued, restored) = made(), made()
    for number, batch in enumerate(batches()):
        if number == 2:
            restored.read(saved.write(str(tmp_path / 'state'))).assert_consumed()
        step(batch)
        if number >= 2:
            continued(batch)
    for mine, theirs in zip(one.trainable_variables, other.trainable_variables, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert all(
        np.array_equal(mine, theirs)
        for mine, theirs in zip(
            slot_variables(step.optimizer), slot_variables(continued.optimizer), strict=True
        )
    )


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    directory = str(tmp_path_factory.mktemp('data') / 'tiny')
    write_dataset(
        directory, rows={'train': {1: 90, 2: 60, 3: 20}, 'validation': {1: 60, 2: 40, 3: 20}}
    )
    return directory


def config(framework, **options):
    return TrainConfig(
        model=MODEL,
        framework=framework,
        batch_size=32,
        learning_rate=0.05,
        framework_options=options,
        epochs=2,
    )


def made(dataset, framework, **options):
    keras.utils.set_random_seed(5)
    examples = Examples(open_dataset(dataset), 'train')
    one = build_model(examples.manifest, MODEL)
    return make_framework(config(framework, **options), one, examples)


@pytest.mark.parametrize('name', ['ftrl', 'nadam', 'lion'])
def test_domain_negotiation_moves_whole_tables_where_its_inner_optimizer_does(dataset, name):
    """beta 0.25 from theta ends a quarter of the way to where alternate training ends."""
    one = made(dataset, 'domain_negotiation', inner_optimizer=name, outer_learning_rate=0.25)
    other = made(dataset, 'domain_negotiation', inner_optimizer=name, outer_learning_rate=1.0)
    first = [variable.numpy() for variable in one.model.trainable_variables]
    for framework in (one, other):
        for _ in framework.epoch(0):
            pass
    moved = 0
    for start, mine, end in zip(
        first, one.model.trainable_variables, other.model.trainable_variables, strict=True
    ):
        np.testing.assert_allclose(mine, start + 0.25 * (end.numpy() - start), atol=1e-6)
        moved += np.abs(end.numpy() - start).max() > 1e-4
    assert moved == len(first)


@pytest.mark.parametrize('slots', ['run', 'loop'])
def test_how_long_the_inner_slots_live(dataset, slots):
    framework = made(
        dataset, 'domain_negotiation', inner_optimizer='nadam', slot_lifetime=slots
    )
    new = [each.numpy() for each in slot_variables(framework.optimizer)]
    assert len(new) == 1 + 2 * len(framework.model.trainable_variables)
    for _ in framework.epoch(0):
        pass
    same = [
        np.array_equal(before, after)
        for before, after in zip(new, slot_variables(framework.optimizer), strict=True)
    ]
    assert all(same) if slots == 'loop' else not any(same)
    assert int(framework.optimizer.iterations) == (0 if slots == 'loop' else 6)


@pytest.mark.parametrize(
    ('framework', 'options'),
    [
        (
            'mamdr',
            {
                'inner_optimizer': 'ftrl',
                'inner_optimizer_options': {'beta': 0.1},
                'helper_domains': 1,
            },
        ),
        (
            'mamdr',
            {
                'inner_optimizer': 'nadam',
                'slot_lifetime': 'loop',
                'helper_domains': 1,
                'outer_optimizer': 'adamax',
                'outer_learning_rate': 0.01,
            },
        ),
        (
            'reptile',
            {
                'outer_optimizer': 'lion',
                'outer_learning_rate': 0.01,
                'outer_optimizer_options': {'beta_1': 0.8},
            },
        ),
    ],
)
def test_frameworks_with_others_serve_what_they_trained(dataset, framework, options):
    one = made(dataset, framework, **options)
    for progress in one.epoch(0):
        assert np.isfinite(progress.loss)
    serving = one.serving_model()
    batch = next(batches(1))
    together = serving({name: batch[name] for name in batch if name != 'click'}).numpy()
    for domain in (1, 2, 3):
        mine = batch['domain'].numpy() == domain
        alone = one.predict(
            {
                name: tf.constant(values.numpy()[mine])
                if name != 'domain'
                else tf.constant(domain)
                for name, values in batch.items()
            }
        )
        np.testing.assert_allclose(together[mine], alone, atol=1e-5)


@pytest.mark.parametrize('framework', ['separate', 'finetune'])
def test_domains_keep_their_own_slots_and_copies(dataset, framework, tmp_path):
    settings = config(framework).replace(optimizer='adamax', optimizer_options={'beta_1': 0.8})
    exported = train(dataset, str(tmp_path / 'run'), settings)
    assert np.isfinite(read_golden(exported)[1]).all()


def test_separate_domains_do_not_meet_in_the_optimizer(dataset):
    """Two domains' steps, one after another, are those of each alone."""

    def run(only):
        keras.utils.set_random_seed(5)
        examples = Examples(open_dataset(dataset), 'train')
        framework = make_framework(
            config('separate').replace(optimizer='nadam'),
            build_model(examples.manifest, MODEL),
            examples,
        )
        if only:
            examples.domains = only
        for number in range(2):
            for _ in framework.epoch(number):
                pass
        return framework.domain_specific.deltas

    together, alone = run(None), run([2])
    for mine, other in zip(together[2].dense, alone[2].dense, strict=True):
        np.testing.assert_array_equal(mine, other)
    assert together[1].is_set and not alone[1].is_set


def test_options_of_the_row_wise_ones():
    rows, other = tf.Variable([[1.0], [2.0]]), tf.Variable([[1.0], [2.0]])
    mine = make_optimizer('adam', 0.1, {'beta_1': 0.5, 'epsilon': 0.1})
    theirs = keras.optimizers.Adam(0.1, beta_1=0.5, epsilon=0.1)
    for gradient in ([[1.0], [-2.0]], [[0.5], [3.0]]):
        mine.apply_gradients([(tf.constant(gradient), rows)])
        theirs.apply_gradients([(tf.constant(gradient), other)])
    np.testing.assert_allclose(rows, other, rtol=1e-5)
    assert mine.get_config()['beta_1'] == 0.5
    adagrad = make_optimizer('adagrad', 1.0, {'initial_accumulator_value': 3.0})
    value = tf.Variable([1.0])
    adagrad.apply_gradients([(tf.constant([1.0]), value)])
    assert float(value[0]) == pytest.approx(0.5, abs=1e-5)  # 1 - 1 / sqrt(3 + 1)
    clipped = make_optimizer('sgd', 1.0, {'clipvalue': 0.25})
    clipped.apply_gradients([(tf.constant([8.0]), value)])
    assert float(value[0]) == pytest.approx(0.25, abs=1e-5)


class Forgetful(keras.optimizers.SGD):
    """Its rate falls by a count that nothing saves."""

    def __init__(self, learning_rate=0.1, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.steps = 0

    def update_step(self, gradient, variable):
        self.steps += 1
        super().update_step(gradient / self.steps, variable)


class Halving(keras.optimizers.SGD):
    """Half of every gradient."""

    def update_step(self, gradient, variable):
        super().update_step(gradient / 2, variable)


def test_an_optimizer_of_ones_own():
    value = tf.Variable([1.0])
    make_optimizer(f'{__name__}:Halving', 0.5).apply_gradients([(tf.constant([1.0]), value)])
    assert float(value[0]) == 0.75


@pytest.mark.parametrize(
    ('name', 'options', 'sentence'),
    [
        (f'{__name__}:Forgetful', {}, 'Forgetful has state that a checkpoint does not restore'),
        (f'{__name__}:MODEL', {}, 'MODEL is not an optimizer: make it a subclass'),
        (
            'tf_keras.optimizers.legacy:Adam',
            {},
            'is not an optimizer: .*not of the legacy optimizer',
        ),
        ('no_such_module:Adam', {}, 'The optimizer no_such_module:Adam cannot be imported'),
        (
            'nadam',
            {'beta3': 1},
            'nadam does not accept the option beta3; it accepts beta_1, beta_2',
        ),
        ('nadam', {'use_ema': True}, 'does not accept the option use_ema'),
        ('ftrl', {'initial_accumulator_value': -1.0}, 'ftrl rejects its options'),
        ('adam', {'amsgrad': True}, 'does not accept the option amsgrad.*own is keras_adam'),
        ('adam', {'beta_1': 'much'}, 'adam rejects its options'),
    ],
)
def test_a_wrong_optimizer_is_one_sentence(name, options, sentence):
    with pytest.raises(UserError, match=sentence):
        make_optimizer(name, 0.1, options)


def test_a_checkpoint_of_another_optimizer_is_refused(dataset, tmp_path):
    def checkpoints(name):
        examples = Examples(open_dataset(dataset), 'train')
        framework = make_framework(
            config('joint').replace(optimizer=name),
            build_model(examples.manifest, MODEL),
            examples,
        )
        return Checkpoints(str(tmp_path / 'checkpoints'), {'of': 'this run'}, framework)

    checkpoints('sgd').save(RunState(step=3))
    assert checkpoints('sgd').restore().step == 3
    with pytest.raises(UserError, match='does not hold the state of this model and its opt'):
        checkpoints('nadam').restore()
