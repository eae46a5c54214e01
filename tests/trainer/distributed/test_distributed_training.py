"""Epochs on workers and servers that are all in this process: what they compute."""

import inspect
import itertools

import numpy as np
import pytest

from mdctr.dataset import open_dataset
from mdctr.errors import UserError
from tests.parameters import slow_except
from tests.trainer.frameworks.frameworks_by_hand import TwoParameters, gradient
from tests.trainer.trainer_dataset import write_dataset
from trainer.config import ModelConfig, TrainConfig
from trainer.data.examples import Examples
from trainer.distributed import caches as caches_module
from trainer.distributed import framework as framework_module
from trainer.distributed.chunks import ChunkPacker, ChunkReader, RowRange, for_each_chunk
from trainer.distributed.cluster import LocalCluster
from trainer.distributed.framework import DistributedFramework, check_distributed
from trainer.distributed.plans import Planner
from trainer.frameworks import make_framework
from trainer.frameworks.core.base import Framework
from trainer.frameworks.core.order import DomainStreams, helper_domains, num_domain_batches
from trainer.keras import keras, tf
from trainer.layers.sparse.paths import forced_path
from trainer.loop.validation import validate
from trainer.models import build_model


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    directory = str(tmp_path_factory.mktemp('data') / 'tiny')
    write_dataset(directory, {'train': {1: 130, 2: 70, 3: 17}, 'validation': {1: 20}})
    return directory


def made(dataset, framework, model=None, optimizer='sgd', options=None, schedule='constant'):
    keras.utils.set_random_seed(1)
    examples = Examples(open_dataset(dataset), 'train')
    config = TrainConfig(
        model=model
        or ModelConfig(
            name='mlp', embedding_dim=4, hidden_units=[6], dropout=0.2, id_dropout=0.1
        ),
        framework=framework,
        framework_options=options or {},
        batch_size=16,
        optimizer=optimizer,
        learning_rate=0.05,
        epochs=2,
        lr_schedule=schedule,
        warmup_ratio=0.0 if schedule == 'constant' else 0.1,
    )
    return make_framework(config, build_model(examples.manifest, config.model), examples)


def test_every_method_of_a_framework_is_delegated():
    methods = {name for name, value in vars(Framework).items() if inspect.isfunction(value)}
    inherited = methods - vars(DistributedFramework).keys()
    assert inherited == {'make_optimizer', 'float32_model'}, 'depend on attributes only'


STAR = ModelConfig(name='star', embedding_dim=4, hidden_units=[6], dropout=0.2)
PLAIN = ModelConfig(name='mlp', embedding_dim=4, hidden_units=[6], normalization='none')


def as_in_a_run(framework, epoch):
    """An epoch that is told what it has done, as `trainer.train` does."""
    rows = 0
    framework.update_progress(epoch, rows)
    for progress in framework.epoch(epoch):
        rows += progress.rows
        framework.update_progress(epoch, rows)
        yield progress


def same(one, other, tolerance=1e-6):
    np.testing.assert_allclose(np.asarray(one), np.asarray(other), atol=tolerance)


@pytest.fixture
def dense_means():
    """Makes one process compute the means of sequences as caches of rows do, which can only
    gather: sums are then rounded alike."""
    with forced_path(sparse=False):
        yield


@pytest.mark.parametrize(
    ('name', 'model', 'optimizer', 'options', 'schedule'),
    [
        ('alternate', None, 'adam', {}, 'constant'),
        ('alternate', None, 'sgd', {}, 'linear'),
        ('domain_negotiation', None, 'sgd', {'outer_learning_rate': 0.3}, 'constant'),
        (
            'domain_negotiation',
            STAR,
            'adam',
            {'outer_optimizer': 'adagrad', 'outer_learning_rate': 0.1},
            'cosine',
        ),
        pytest.param(
            'domain_regularization',
            PLAIN,
            'adam',
            {'slot_lifetime': 'loop', 'specific_parameters': 'dense'},
            'constant',
            marks=pytest.mark.slow,
        ),
        ('mamdr', None, 'sgd', {}, 'linear'),
        pytest.param(
            'mamdr',
            STAR,
            'momentum',
            {'helper_domains': 1, 'inner_learning_rate': 0.03},
            'cosine',
            marks=pytest.mark.slow,
        ),
    ],
)
def test_one_worker_ends_every_epoch_as_one_process(
    dataset, monkeypatch, dense_means, name, model, optimizer, options, schedule
):
    if model is not STAR:  # so that both kinds of table are seen
        monkeypatch.setattr(caches_module, 'PREFETCH_BYTES', 0)
        monkeypatch.setattr(caches_module, 'INITIAL_ROWS', 8)
    here, there = (made(dataset, name, model, optimizer, options, schedule) for _ in range(2))
    distributed = DistributedFramework(there, LocalCluster(1, servers=3))
    before = [variable.numpy() for variable in here.model.trainable_variables]
    for epoch in range(2):
        steps = list(as_in_a_run(here, epoch))
        points = list(as_in_a_run(distributed, epoch))
        rate = options.get('inner_learning_rate', 0.05)
        assert distributed.learning_rate() == pytest.approx(
            rate
            if schedule == 'constant'
            else 0
            if epoch
            else rate * {'linear': 5 / 9, 'cosine': (1 + np.cos(np.pi * 4 / 9)) / 2}[schedule]
        )
        assert sum(point.steps for point in points) == len(steps)
        assert sum(point.rows for point in points) == sum(step.rows for step in steps)
        for one, other in zip(here.model.variables, there.model.variables, strict=True):
            same(one, other)
        for one, other in zip(here.optimizer.variables, there.optimizer.variables, strict=True):
            same(one, other)
        if here.domain_specific is None:
            continue
        assert any(delta.is_set for delta in here.domain_specific.deltas)
        for one, other in zip(
            here.domain_specific.deltas, there.domain_specific.deltas, strict=True
        ):
            same_differences(one, other)
    assert all(
        (np.abs(variable.numpy() - old) > 1e-3).any()
        for variable, old in zip(here.model.trainable_variables, before, strict=True)
    )


@pytest.mark.parametrize(
    'name',
    slow_except(['mulann', 'din', 'taobao_base', 'ple', 'dcnv2_adasparse'], {'mulann', 'ple'}),
)
def test_layers_of_all_kinds_are_trained_in_caches(dataset, name, monkeypatch, dense_means):
    monkeypatch.setattr(caches_module, 'PREFETCH_BYTES', 1 << 11)
    model = ModelConfig(name=name, embedding_dim=4, hidden_units=[6, 4], auxiliary_network=True)
    here, there = (made(dataset, 'domain_negotiation', model) for _ in range(2))
    list(here.epoch(0))
    list(DistributedFramework(there, LocalCluster(1, servers=2)).epoch(0))
    for one, other in zip(here.model.variables, there.model.variables, strict=True):
        same(one, other, 2e-6)


@pytest.mark.slow
@pytest.mark.parametrize('batches', ['domain', 'mixed'])
def test_joint_training_without_caches_learns_what_one_process_does(tmp_path, batches):
    write_dataset(
        tmp_path / 'tiny',
        {'train': {1: 1500, 2: 900, 3: 200}, 'validation': {1: 900, 2: 700, 3: 200}},
    )
    data, found = str(tmp_path / 'tiny'), []
    for cluster in (None, LocalCluster(workers=2, servers=2)):
        framework = made(data, 'joint', STAR, 'adam')
        framework.config = framework.config.replace(batching=batches)
        trained = framework if cluster is None else DistributedFramework(framework, cluster)
        for epoch in range(2):
            list(trained.epoch(epoch))
        found.append(
            validate(trained, Examples(open_dataset(data), 'validation'))['overall']['auc']
        )
    assert found[0] > 0.7
    assert found[1] > found[0] - 0.03


@pytest.mark.parametrize('name', ['joint', 'domain_regularization'])
def test_workers_beside_each_other_go_down_the_same_schedule(dataset, monkeypatch, name):
    monkeypatch.setattr(framework_module, '_BATCHES', 4)
    options = {'helper_domains': 1} if name == 'domain_regularization' else {}
    distributed = DistributedFramework(
        made(dataset, name, PLAIN, options=options, schedule='linear'),
        LocalCluster(workers=2),
    )
    pack, loops = ChunkPacker.pack, []

    def noted(self, chunks, factors):
        loops.append(factors.numpy())
        return pack(self, chunks, factors)

    monkeypatch.setattr(ChunkPacker, 'pack', noted)
    list(distributed.epoch(1))

    def rate(done):
        return (1 - done) / 0.9

    if name == 'joint':  # 217 rows in 4 loops, two at a time
        spans = [(0, 0.5)] * 2 + [(0.5, 1)] * 2
    else:  # alternate training by two loops, and three domains
        spans = [(0, 1)] * 5
    assert len(loops) == len(spans)
    for factors, (first, last) in zip(loops, spans, strict=True):
        assert factors[0] == pytest.approx(rate((1 + first) / 2))
        assert (
            rate((1 + last) / 2)
            < factors[-1]
            <= rate((1 + last - 1.2 * (last - first) / len(factors)) / 2)
        )
        assert (np.diff(factors) < 0).all()


def test_a_dataset_that_a_worker_cannot_read(tmp_path):
    write_dataset(tmp_path / 'tiny', {'train': {1: 30, 2: 20}, 'validation': {1: 20}})
    distributed = DistributedFramework(
        made(str(tmp_path / 'tiny'), 'alternate', PLAIN), LocalCluster()
    )
    (path,) = (tmp_path / 'tiny/examples/train').glob('part-00001*')
    data = bytearray(path.read_bytes())
    data[4:600] = bytes(596)  # the pages of the first columns
    path.write_bytes(data)
    with pytest.raises(
        UserError, match='cannot read the dataset .*part-00001-of-00002.parquet is damaged'
    ):
        list(distributed.epoch(0))
    path.unlink()
    with pytest.raises(UserError, match='part-00001-of-00002.parquet.*: it must be complete'):
        list(distributed.epoch(0))


def same_differences(one, other):
    assert one.is_set == other.is_set
    for mine, theirs in zip(
        [*one.dense, *one.extra], [*other.dense, *other.extra], strict=True
    ):
        same(mine, theirs)
    for mine, theirs in zip(one.rows, other.rows, strict=True):
        order, other_order = np.argsort(mine.indices), np.argsort(theirs.indices)
        np.testing.assert_array_equal(
            mine.indices.numpy()[order], theirs.indices.numpy()[other_order]
        )
        same(mine.values.numpy()[order], theirs.values.numpy()[other_order])


def test_two_workers_send_the_outer_steps_of_their_own_inner_loops(dataset):
    examples = Examples(open_dataset(dataset), 'train')
    config = TrainConfig(
        framework='domain_negotiation',
        optimizer='sgd',
        learning_rate=0.1,
        framework_options={'outer_learning_rate': 0.4},
        batch_size=16,
        seed=3,
    )
    model = TwoParameters(examples)
    framework = make_framework(config, model, examples)
    distributed = DistributedFramework(framework, LocalCluster(workers=2))
    rows = {
        domain: batch
        for domain in examples.domains
        for batch in [
            next(each for each in examples.in_order(1000) if each['domain'] == domain)
        ]
    }
    theta = np.array([0.5, -1.0])
    planner = Planner(examples, 16, 3)
    for epoch in range(2):
        (point,) = distributed.epoch(epoch)
        trained = 0
        for part in range(2):  # one after the other here, so the second sees the first's step
            inner = theta
            for chunk in planner.domain_passes(epoch, part, 2):
                (row_range,) = chunk.row_ranges
                for batch in chunk.batches:
                    mine = {
                        key: rows[row_range.domain][key][row_range.first + batch]
                        for key in ('age', 'click')
                    }
                    inner = inner - 0.1 * gradient(inner, mine)
                    trained += len(batch)
            theta = theta + 0.4 * (inner - theta)
        same([model.w.numpy(), model.b.numpy()], theta, 5e-6)
        assert trained == point.rows == 217


@pytest.mark.parametrize('kind', ['domain', 'mixed'])
@pytest.mark.parametrize('parts', [1, 3])
def test_joint_training_uses_every_row_once(dataset, kind, parts):
    planner = Planner(Examples(open_dataset(dataset), 'train'), 16, seed=1)
    chunks = [
        chunk for part in range(parts) for chunk in planner.shuffled_pass(2, kind, part, parts)
    ]
    assert rows_of(chunks) == [
        (domain, row) for domain, count in ((1, 130), (2, 70), (3, 17)) for row in range(count)
    ]
    sizes = [len(batch) for chunk in chunks for batch in chunk.batches]
    assert max(sizes) <= 16
    if kind == 'domain':
        # No batch is cut into pieces.
        assert sorted(sizes) == sorted([14] * 5 + [15] * 4 + [14] * 5 + [8, 9])
        assert all(
            len({domain for domain, _ in read(chunk, [batch])}) == 1
            for chunk in chunks
            for batch in chunk.batches
        )


@pytest.mark.parametrize(('parts', 'at_once'), [(1, 1000), (2, 1000), (1, 40), (3, 32)])
def test_passes_use_every_row_once_domain_after_domain(dataset, parts, at_once):
    planner = Planner(Examples(open_dataset(dataset), 'train'), 16, seed=1, rows=at_once)
    chunks = [planner.domain_passes(0, part, parts) for part in range(parts)]
    assert rows_of([chunk for part in chunks for chunk in part]) == [
        (domain, row) for domain, count in ((1, 130), (2, 70), (3, 17)) for row in range(count)
    ]
    for part in chunks:
        order = [chunk.row_ranges[0].domain for chunk in part]
        assert len(set(order)) == len(list(itertools.groupby(order)))
        assert all(
            chunk.row_ranges[0].last - chunk.row_ranges[0].first <= at_once for chunk in part
        )
    again = planner.domain_passes(1, 0, parts)
    assert rows_in_order(again) != rows_in_order(chunks[0])


def read(chunk, batches):
    """(domain, row in the domain's files) of the rows of some batches of a chunk."""
    rows = [
        (each.domain, row) for each in chunk.row_ranges for row in range(each.first, each.last)
    ]
    return [rows[number] for batch in batches for number in batch]


def rows_in_order(chunks):
    return [row for chunk in chunks for row in read(chunk, chunk.batches)]


def rows_of(chunks):
    return sorted(rows_in_order(chunks))


@pytest.mark.parametrize('at_once', [1000, 48])
def test_the_turns_of_domain_regularization_are_those_of_one_process(dataset, at_once):
    examples = Examples(open_dataset(dataset), 'train')
    planner = Planner(examples, 16, seed=1, rows=at_once)
    targets = [2, 3, 1]
    helpers = {target: helper_domains(examples, target, 2, 1, 0) for target in targets}
    steps = {
        target: max(1, (num_domain_batches(examples, target, 16) - 1) // 2)
        for target in targets
    }
    planned = list(planner.regularization_turns(0, targets, helpers, steps))
    streams = DomainStreams(examples, 0, 16, 1)
    keys = {
        domain: np.concatenate(
            [
                batch['user_key']
                for batch in examples.in_order(1000)
                if batch['domain'] == domain
            ]
        )
        for domain in targets
    }
    for target, chunks in zip(targets, planned, strict=True):
        found = [
            [keys[chunk.row_ranges[0].domain][row] for _, row in read(chunk, [batch])]
            for chunk in chunks
            for batch in chunk.batches
        ]
        order = [
            domain
            for helper in helpers[target]
            for domain in [helper] * steps[target] + [target] * steps[target]
        ]
        assert [chunk.row_ranges[0].domain for chunk in chunks for _ in chunk.batches] == order
        if at_once == 1000:
            expected = [streams.take(domain)['user_key'].tolist() for domain in order]
            assert found == expected
        assert [chunk.starts_loop for chunk in chunks].count(True) == 2
        assert [chunk.ends_helper for chunk in chunks].count(True) == 2


def test_workers_read_what_the_files_hold(dataset):
    examples = Examples(open_dataset(dataset), 'train')
    reader = ChunkReader(examples.features)
    planner = Planner(examples, 16, seed=1)
    chunks = planner.domain_passes(0)
    chunks[0].row_ranges = [RowRange(chunks[0].row_ranges[0].domain, 3, 12)]
    chunks[0].batches = [np.array([0, 8, 4])]
    count = sum(len(chunk.batches) for chunk in chunks)
    packed, found = ChunkPacker(examples).pack(chunks, tf.range(count, dtype=tf.float32)), []

    @tf.function(autograph=False)
    def run(packed):
        def step(features, click, factor):
            names = sorted(features)
            tf.py_function(
                lambda *values: found.append(
                    dict(
                        zip(
                            [*names, 'click', 'factor'],
                            [value.numpy() for value in values],
                            strict=True,
                        )
                    )
                ),
                [*(features[name] for name in names), click, factor],
                [],
            )
            return tf.reduce_mean(click)

        return for_each_chunk(packed, lambda chunk: reader.for_each_batch(packed, chunk, step))

    clicks, rows = run(packed)
    batches = [batch for chunk in chunks for batch in chunk.batches]
    assert len(found) == len(batches) and rows == sum(map(len, batches))
    assert [batch['factor'] for batch in found] == list(range(count))
    assert clicks.numpy() == pytest.approx(sum(batch['click'].sum() for batch in found))
    in_files = {int(batch['domain']): batch for batch in examples.in_order(1000)}
    numbers = [(chunk.row_ranges[0], batch) for chunk in chunks for batch in chunk.batches]
    for (row_range, batch), values in zip(numbers, found, strict=True):
        expected = in_files[row_range.domain]
        assert values['domain'] == row_range.domain
        for name in (*(feature.name for feature in examples.features), 'click'):
            np.testing.assert_array_equal(values[name], expected[name][row_range.first + batch])


def test_rows_pulled_and_pushed_are_those_that_batches_hold(dataset, monkeypatch):
    monkeypatch.setattr(caches_module, 'PREFETCH_BYTES', 0)
    framework = made(dataset, 'domain_negotiation', PLAIN)
    distributed = DistributedFramework(framework, LocalCluster(workers=2, servers=2))
    list(distributed.epoch(0))
    plain = DistributedFramework(
        made(dataset, 'alternate', PLAIN), LocalCluster(workers=2, servers=2)
    )
    list(plain.epoch(0))
    examples = framework.examples
    files = {int(batch['domain']): batch for batch in examples.in_order(1000)}
    looked_up = {
        domain: np.concatenate(
            [
                framework.model.embedding._places(
                    batch[feature.name]
                    if feature.kind == 'sequence'
                    else batch[feature.name][:, None],
                    [feature],
                ).numpy()
                for feature in examples.features
            ],
            axis=1,
        )
        for domain, batch in files.items()
    }
    with_caches = without = 0
    for part in range(2):
        chunks = Planner(examples, 16, 1).domain_passes(0, part, 2)
        batches = [
            looked_up[chunk.row_ranges[0].domain][chunk.row_ranges[0].first + batch]
            for chunk in chunks
            for batch in chunk.batches
        ]
        with_caches += len(np.unique(np.concatenate(batches)))
        without += sum(len(np.unique(batch)) for batch in batches)
    assert distributed.traffic[:2].tolist() == [with_caches, with_caches]
    assert plain.traffic[:2].tolist() == [without, without]
    assert without > 3 * with_caches
    assert plain.traffic[2] > 3 * distributed.traffic[2] > 0


def test_an_epoch_is_continued_where_it_was_cut(dataset):
    options = {'helper_domains': 1}
    whole, cut, rest = (made(dataset, 'mamdr', PLAIN, options=options) for _ in range(3))
    list(DistributedFramework(whole, LocalCluster()).epoch(0))
    distributed = DistributedFramework(cut, LocalCluster())
    positions = []
    for point in distributed.epoch(0):
        positions.append(point.position)
        if point.position == 1:
            distributed.collect()
            break
    assert positions == [1]
    for one, other in zip(cut.model.variables, rest.model.variables, strict=True):
        other.assign(one)
    list(DistributedFramework(rest, LocalCluster()).epoch(0, start=1))
    for one, other in zip(whole.model.variables, rest.model.variables, strict=True):
        same(one, other)
    for one, other in zip(
        whole.domain_specific.deltas, rest.domain_specific.deltas, strict=True
    ):
        same_differences(one, other)


@pytest.mark.parametrize(
    ('changed', 'sentence'),
    [
        (
            {'framework': 'pcgrad'},
            'pcgrad does not train on parameter servers: choose one of joint, alter',
        ),
        ({'xla': True}, 'train.xla is for training in one process'),
        ({'mixed_precision': True}, 'train.mixed_precision is for'),
        ({'streaming_buffer_size': 100_000}, 'train.streaming_buffer_size is for'),
    ],
)
def test_what_a_cluster_cannot_train_is_one_sentence(changed, sentence):
    with pytest.raises(UserError, match=sentence):
        check_distributed(TrainConfig(**changed))
