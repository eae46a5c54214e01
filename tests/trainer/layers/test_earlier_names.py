"""Configurations of layers that earlier versions wrote."""

import pytest

from trainer.keras import keras
from trainer.layers.attention.multi_head_attention import MaskedMultiHeadAttention
from trainer.layers.basic.batch_normalization import WarmUpBatchNormalization
from trainer.layers.basic.dropout import ResumableDropout


@pytest.mark.parametrize(
    ('name', 'module', 'config', 'layer'),
    [
        ('Dropout', 'dropout', {'rate': 0.5, 'seed': 3}, ResumableDropout),
        (
            'BatchNormalization',
            'batch_normalization',
            {'momentum': 0.9, 'epsilon': 0.01},
            WarmUpBatchNormalization,
        ),
        (
            'MultiHeadAttention',
            'multi_head',
            {'heads': 2, 'head_dim': 3, 'units': None},
            MaskedMultiHeadAttention,
        ),
    ],
)
def test_a_renamed_layer_is_loaded_by_its_earlier_name(name, module, config, layer):
    loaded = keras.saving.deserialize_keras_object(
        {
            'module': f'trainer.layers.{module}',
            'class_name': name,
            'config': {'name': 'x', 'trainable': True, 'dtype': 'float32', **config},
            'registered_name': f'mdctr>{name}',
            'build_config': None,
        }
    )
    assert type(loaded) is layer
    assert {key: loaded.get_config()[key] for key in config} == config
    assert keras.utils.get_registered_name(layer) == f'mdctr>{layer.__name__}'
