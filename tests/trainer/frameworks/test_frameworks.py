"""The contract of every learning framework: train, cut, continue, score, export."""

import itertools
import os
import shutil

import numpy as np
import pytest

from mdctr.dataset import open_dataset
from mdctr.errors import UserError
from tests.parameters import EVERY_FRAMEWORK
from tests.trainer.trainer_dataset import record_files, write_dataset, write_split
from trainer.config import ModelConfig, TrainConfig
from trainer.data.examples import Examples
from trainer.export.saved_model import export_model
from trainer.frameworks import make_framework
from trainer.frameworks.core.domain_specific_framework import DomainSpecificFramework
from trainer.keras import keras, tf
from trainer.models import build_model
from trainer.train import train

MODEL = ModelConfig(name='mlp', embedding_dim=4, hidden_units=[8], dropout=0.1)
OPTIONS = {
    'maml': {'second_order': True},
    'mldg': {'second_order': True},
    'finetune': {'tuning_epochs': 2},
    'domain_negotiation': {'outer_optimizer': 'adagrad', 'outer_learning_rate': 0.1},
    'reptile': {'outer_optimizer': 'momentum', 'inner_optimizer': 'rmsprop'},
}


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    """Three domains and no test split: whoever reads it while training fails."""
    directory = str(tmp_path_factory.mktemp('data') / 'tiny')
    write_dataset(
        directory,
        {'train': {1: 150, 2: 70, 3: 33}, 'validation': {1: 60, 2: 40, 3: 20}, 'test': {1: 10}},
    )
    shutil.rmtree(os.path.join(directory, 'examples', 'test'))
    return directory


def made(dataset, name, model=MODEL, **kwargs):
    keras.utils.set_random_seed(1)
    options = kwargs.pop('options', OPTIONS.get(name, {}))
    config = TrainConfig(
        model=model,
        framework=name,
        framework_options=options,
        **{'batch_size': 32, 'learning_rate': 0.01, **kwargs},
    )
    examples = Examples(open_dataset(dataset), 'train')
    return make_framework(config, build_model(examples.manifest, config.model), examples)


def logits(framework, split):
    """Of every row of a split, by domain."""
    return {
        int(batch['domain']): framework.predict(
            {name: tf.constant(values) for name, values in batch.items()}
        ).numpy()
        for batch in split.in_order(1000)
    }


def trackables(framework):
    return tf.train.Checkpoint(
        weights=tf.train.Checkpoint(**framework.weights()),
        state=tf.train.Checkpoint(**framework.state()),
    )


@pytest.mark.parametrize('name', EVERY_FRAMEWORK)
def test_a_cut_run_continues_and_the_export_scores_as_training_did(name, dataset, tmp_path):
    framework = made(dataset, name)
    validation = Examples(open_dataset(dataset), 'validation')
    first = list(framework.epoch(0))
    assert [progress.position for progress in first] == list(range(1, len(first) + 1))
    assert np.isfinite([float(progress.loss) for progress in first]).all()
    rest, middle = framework.epoch(1), len(first) // 2
    for progress in rest:
        if progress.position == middle:
            path = trackables(framework).write(str(tmp_path / 'middle'))
    framework.finish(validation)
    expected = logits(framework, validation)

    again = made(dataset, name)
    trackables(again).read(path).assert_existing_objects_matched()
    assert len(list(again.epoch(1, middle))) == len(first) - middle
    again.finish(validation)
    for domain, values in logits(again, validation).items():
        np.testing.assert_allclose(values, expected[domain], atol=1e-5)

    if name != 'joint' and not isinstance(framework, DomainSpecificFramework):
        assert framework.serving_model() is framework.model  # exported as that of `joint` is
        return
    exported = export_model(
        framework.serving_model(),
        str(tmp_path / 'export'),
        validation,
        framework.config,
        {},
        1,
    )
    encoded = tf.saved_model.load(exported).signatures['encoded']
    batches = list(validation.in_order(1000))
    order = np.random.default_rng(0).permutation(sum(len(b['click']) for b in batches))
    mixed = {
        feature.name: tf.constant(
            np.concatenate([batch[feature.name] for batch in batches])[order].astype(np.int64)
        )
        for feature in validation.features
    }
    domains = np.concatenate([np.full(len(b['click']), int(b['domain'])) for b in batches])
    scores = encoded(**mixed, domain=tf.constant(domains[order]))['score'].numpy()
    wanted = np.concatenate([expected[int(batch['domain'])] for batch in batches])[order]
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-wanted)), atol=1e-6)
    unseen = encoded(**mixed, domain=tf.zeros(len(order), tf.int64))['score'].numpy()
    shared = framework.model({**mixed, 'domain': tf.constant(0)}).numpy()
    np.testing.assert_allclose(unseen, 1 / (1 + np.exp(-shared)), atol=1e-6)
    if isinstance(framework, DomainSpecificFramework):
        assert np.abs(unseen - scores).max() > 1e-4


def test_a_run_that_finishes_with_fine_tuning_exports_a_model(dataset, tmp_path):
    config = TrainConfig(
        model=MODEL, framework='finetune', epochs=2, batch_size=32, checkpoint_steps=5
    )
    exported = train(dataset, str(tmp_path / 'run'), config)
    assert os.path.exists(os.path.join(exported, 'saved_model.pb'))


def test_negotiation_with_beta_one_is_alternate_training_to_the_last_bit(dataset):
    model = ModelConfig(name='star', embedding_dim=4, hidden_units=[8], dropout=0.1)
    frameworks = [
        made(dataset, 'alternate', model),
        made(dataset, 'domain_negotiation', model, options={'outer_learning_rate': 1.0}),
    ]
    for epoch in range(2):
        for framework in frameworks:
            list(framework.epoch(epoch))
        for one, other in zip(*(each.model.variables for each in frameworks), strict=True):
            np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.name)


def test_separate_models_are_those_of_each_domain_alone_to_the_last_bit(dataset, tmp_path):
    model = ModelConfig(name='star', embedding_dim=4, hidden_units=[8], dropout=0.1)
    separate = made(dataset, 'separate', model)
    alone = made(dataset, 'alternate', model)
    alone.examples.domains = [2]
    alone.examples._counts = {2: alone.examples.count(2)}
    for epoch in range(2):
        list(separate.epoch(epoch))
        list(alone.epoch(epoch))
    batch = {
        name: tf.constant(values)
        for name, values in next(
            Examples(open_dataset(dataset), 'validation').domain_epoch(2, 0, 100)
        ).items()
    }
    np.testing.assert_array_equal(separate.predict(batch), alone.predict(batch))


@pytest.mark.parametrize('slots', ['run', 'loop'])
def test_inner_slots_live_for_the_run_or_for_a_loop(dataset, slots):
    framework = made(dataset, 'mamdr', options={'slot_lifetime': slots, 'helper_domains': 1})
    for epoch in range(2):
        points = len(list(framework.epoch(epoch)))
    steps = points - 3  # the last three are domains
    for optimizer in (framework.optimizer, framework.regularization.step.optimizer):
        moments = [
            slot.numpy()
            for variable in framework.model.trainable_variables
            for slot, _ in optimizer.slots_of(variable)
        ]
        assert all((moment == 0).all() for moment in moments) == (slots == 'loop')
    assert int(framework.optimizer.iterations) == (2 * steps if slots == 'run' else 0)


@pytest.mark.parametrize('specific', ['all', 'dense'])
def test_differences_hold_the_rows_that_a_domain_touched_and_no_more(dataset, specific):
    framework = made(
        dataset, 'mamdr', options={'specific_parameters': specific, 'helper_domains': 1}
    )
    list(framework.epoch(0))
    table = framework.model.embedding.table
    rows = {
        variable.name: place
        for place, variable in enumerate(
            framework.domain_specific.step.variables[row]
            for row in framework.domain_specific.step.sparse_positions
        )
    }
    assert (table.name in rows) == (specific == 'all')
    for domain in (1, 2, 3):
        own = framework.domain_specific.deltas[domain]
        before = table.numpy()
        framework.domain_specific.enter(domain)
        changed = np.flatnonzero((table.numpy() != before).any(axis=1))
        framework.domain_specific.leave(keep=False)
        np.testing.assert_array_equal(table.numpy(), before)
        if specific == 'dense':
            assert not len(changed) and own.dense
            continue
        numbers = own.rows[rows[table.name]].indices.numpy()
        assert len(set(numbers)) == len(numbers) < table.shape[0]
        assert 0 < len(changed) <= len(numbers) and set(changed) <= set(numbers)
    assert not framework.domain_specific.deltas[0].is_set


def test_a_domain_keeps_its_own_rows_of_domain_variables(dataset):
    framework = made(
        dataset, 'mamdr', ModelConfig(name='star', embedding_dim=4, hidden_units=[8])
    )
    list(framework.epoch(0))
    step = framework.domain_specific.step
    found = 0
    for place, row in enumerate(step.sparse_positions):
        if '/domain_' in step.variables[row].name:
            for domain in (1, 2, 3):
                numbers = framework.domain_specific.deltas[domain].rows[place].indices.numpy()
                np.testing.assert_array_equal(numbers, [domain])
                found += 1
    assert found


def other_dataset(tmp_path, train_rows, validation_rows, one_class=None):
    directory = str(tmp_path / 'other')
    rows = write_dataset(directory, {'train': train_rows, 'validation': validation_rows})
    if one_class:
        shutil.rmtree(os.path.join(directory, 'examples', 'train'))
        rows['train'][one_class]['click'][:] = 0
        write_split(directory, 'train', rows['train'])
        record_files(directory)
    return directory


@pytest.mark.parametrize('name', ['finetune', 'mamdr', 'separate'])
def test_domains_without_training_rows_without_validation_rows_or_with_one_class(
    name, tmp_path
):
    directory = other_dataset(tmp_path, {1: 60, 2: 40}, {1: 30, 3: 20}, one_class=2)
    framework = made(directory, name)
    losses = [float(progress.loss) for progress in framework.epoch(0)]
    assert np.isfinite(losses).all()
    framework.finish(Examples(open_dataset(directory), 'validation'))
    differences = framework.domain_specific.deltas
    assert not differences[3].is_set  # no training rows: the shared model
    assert differences[2].is_set == (name != 'finetune')  # not tuned without validation rows
    rows = next(Examples(open_dataset(directory), 'validation').domain_epoch(3, 0, 100))
    batch = {key: tf.constant(values) for key, values in rows.items()}
    np.testing.assert_array_equal(framework.predict(batch), framework._predict(batch))


def test_tuning_has_its_rate_when_the_run_s_has_fallen_to_nothing(dataset, monkeypatch):
    # Without normalization, whose moments move at any rate.
    framework = made(
        dataset,
        'finetune',
        MODEL.replace(normalization='none'),
        lr_schedule='cosine',
        warmup_ratio=0.1,
    )
    framework.progress.fraction.assign(1.0)
    assert framework.learning_rate() == 0
    before = logits(framework, Examples(open_dataset(dataset), 'validation'))
    rising = itertools.count()
    monkeypatch.setattr(framework, '_metric', lambda *_: float(next(rising)))
    framework.finish(Examples(open_dataset(dataset), 'validation'))
    after = logits(framework, Examples(open_dataset(dataset), 'validation'))
    for domain in (1, 2, 3):
        assert np.abs(after[domain] - before[domain]).max() > 0.01


@pytest.mark.parametrize(
    'name, options, sentence',
    [
        (
            'mamdr',
            {'helper_domains': 3},
            'helper_domains is 3 and only 2 other domains have training rows',
        ),
        ('domain_regularization', {'helper_domains': 0}, 'helper_domains must be at least 1'),
        ('mamdr', {'gamma': 1}, 'unknown key gamma'),
        (
            'domain_regularization',
            {'outer_learning_rate': 1.0},
            'unknown key outer_learning_rate',
        ),
        ('reptile', {'outer_optimizer': 'lamb'}, 'no optimizer lamb; .*[Tt]here are sgd'),
        (
            'domain_negotiation',
            {'inner_optimizer': 'lamb'},
            'no optimizer lamb; .*[Tt]here are sgd',
        ),
        ('weighted_loss', {'max_weight': 1}, 'max_weight must be more than 1'),
        ('mamdr', {'slot_lifetime': 'epoch'}, 'slot_lifetime must be one of run, loop'),
        ('negotiation', {}, 'no framework negotiation; .*[Tt]here are joint'),
    ],
)
def test_a_wrong_option_is_one_sentence(dataset, name, options, sentence):
    with pytest.raises(UserError, match=sentence):
        made(dataset, name, options=options)


def test_regularization_needs_another_domain(tmp_path):
    directory = other_dataset(tmp_path, {1: 20}, {1: 20})
    with pytest.raises(UserError, match='rows of one domain only'):
        made(directory, 'mamdr')
