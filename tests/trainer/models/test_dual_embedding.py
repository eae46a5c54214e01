"""Dual embedding: the source's ID embeddings beside the target's own."""

import numpy as np
import pytest

from mdctr.errors import UserError
from tests.trainer.models.test_ctnet import (
    SOURCE,
    TARGET,
    built,
    moved,
    some_rows,
    tensors,
    train_some,
)
from tests.trainer.trainer_dataset import ITEMS, USERS
from trainer.config import ModelConfig
from trainer.models.extend_model import continue_model

SIZES = {'user_id': USERS + 1, 'item_id': ITEMS + 1}


def dual_of(source, **options):
    return built(
        ModelConfig(
            name='dual_embedding',
            embedding_dim=4,
            hidden_units=[7, 3],
            normalization='none',
            options={'target_tower': 'mlp', **options},
        ),
        source,
    )


def test_the_extra_embeddings_enter_beside_the_own_ones():
    source = moved(built(SOURCE))
    dual = dual_of(source)
    assert dual.id_names == ['user_id', 'item_id', 'history']
    rows = some_rows(np.random.default_rng(0), 30)
    table, place = source.embedding.table.numpy(), source.embedding._offsets
    history = np.zeros((30, 4))
    for row, ids in enumerate(rows['history']):
        if (ids >= 0).any():
            history[row] = table[place['item_id'] + ids[ids >= 0]].mean(axis=0)
    extra = np.concatenate(
        [
            table[place['user_id'] + rows['user_id']],
            table[place['item_id'] + rows['item_id']],
            history,
        ],
        axis=1,
    )
    tower, features = dual.target, tensors({**rows, 'domain': np.int32(1)})
    first, second = tower.hidden
    own = tower.look_up(features).flat.numpy()
    joined = np.concatenate([own, extra], axis=1) @ np.concatenate(
        [first.kernel.numpy(), dual.extra_kernel.kernel.numpy()]
    )
    z = np.maximum(joined + first.bias.numpy(), 0)
    z = np.maximum(z @ second.kernel.numpy() + second.bias.numpy(), 0)
    logit = z @ tower.head.kernel.numpy() + tower.head.bias.numpy()
    np.testing.assert_allclose(dual(features), logit[:, 0], rtol=1e-4, atol=1e-5)


def test_all_of_it_trains_and_the_source_model_stays():
    source = moved(built(SOURCE))
    dual = dual_of(source, id_features=['genres'])
    assert 'genres' in dual.id_names
    before = [variable.numpy() for variable in source.variables]
    extra = dual.extra.table.numpy()
    kernel = dual.extra_kernel.kernel.numpy()
    train_some(dual)
    assert (dual.extra.table.numpy() != extra).any()
    assert (dual.extra_kernel.kernel.numpy() != kernel).any()
    for variable, value in zip(source.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_continued_it_takes_the_extra_embeddings_of_its_new_source():
    first = dual_of(moved(built(SOURCE), 1))
    train_some(first)
    newer = moved(built(SOURCE), 2)
    second = dual_of(newer)
    continue_model(second, first, 'first')
    np.testing.assert_array_equal(second.extra_kernel.kernel, first.extra_kernel.kernel)
    np.testing.assert_array_equal(second.embedding.table, first.embedding.table)
    for name, size in SIZES.items():
        mine = second.extra.table.numpy()[second.extra._offsets[name] :][:size]
        theirs = newer.embedding.table.numpy()[newer.embedding._offsets[name] :][:size]
        np.testing.assert_array_equal(mine, theirs)
    # From the target's model of before, its tower is taken.
    base = moved(built(TARGET.replace(normalization='none')), 3)
    third = dual_of(newer)
    continue_model(third, base, 'base')
    np.testing.assert_array_equal(third.target.head.kernel, base.head.kernel)
    np.testing.assert_array_equal(third.embedding.table, base.embedding.table)


def test_a_wrong_option_is_one_sentence():
    with pytest.raises(UserError, match='names brand, which is not a feature of both'):
        dual_of(built(SOURCE), id_features=['brand'])
