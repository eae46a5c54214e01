"""The architectures, by name. Importing this is cheap; a model's module loads TensorFlow."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from beam_jobs.dataset import Manifest
from beam_jobs.errors import UserError
from beam_jobs.options import from_mapping
from trainer.config import ModelConfig

if TYPE_CHECKING:
    from trainer.models.base import CTRModel

MODELS = {
    'mlp': 'trainer.models.mlp:MLP',
    'star': 'trainer.models.star:STAR',
    'shared_bottom': 'trainer.models.shared_bottom:SharedBottom',
    'mulann': 'trainer.models.mulann:MulANN',
    'mmoe': 'trainer.models.mmoe:MMoE',
    'cross_stitch': 'trainer.models.cross_stitch:CrossStitch',
    'cgc': 'trainer.models.ple:CGC',
    'ple': 'trainer.models.ple:PLE',
    'wdl': 'trainer.models.wdl:WDL',
    'neurfm': 'trainer.models.neurfm:NeurFM',
    'autoint': 'trainer.models.autoint:AutoInt',
    'deepfm': 'trainer.models.deepfm:DeepFM',
    'apg': 'trainer.models.apg:APG',
    'adasparse': 'trainer.models.adasparse:AdaSparse',
    'star_adasparse': 'trainer.models.star_adasparse:StarAdaSparse',
    'din': 'trainer.models.din:DIN',
    'taobao_base': 'trainer.models.taobao_base:TaobaoBase',
    'dcnv2': 'trainer.models.dcnv2:DCNv2',
    'dcnv2_star': 'trainer.models.dcnv2:DCNv2Star',
    'dcnv2_apg': 'trainer.models.apg:DCNv2APG',
    'dcnv2_adasparse': 'trainer.models.adasparse:DCNv2AdaSparse',
}


def build_model(manifest: Manifest, config: ModelConfig) -> CTRModel:
    """A new model of the architecture `config.name`, with its variables made.

    Args:
        manifest: of the dataset; features and domains size the variables.
        config: the architecture and its hyper-parameters.

    Raises:
        UserError: no architecture of this name, an option that it does not take, or an
            excluded feature that the dataset does not have.
    """
    if config.name not in MODELS:
        raise UserError(f'There is no model {config.name}; there are {", ".join(MODELS)}.')
    names = [feature.name for feature in manifest.features]
    for name in config.exclude:
        if name not in names:
            raise UserError(f'model.exclude names {name}, which is no feature of the dataset '
                            f'{manifest.name}; it has {", ".join(names)}.')
    if len(config.exclude) == len(names):
        raise UserError(f'model.exclude leaves no feature of the dataset {manifest.name}: '
                        'leave at least one in.')
    module, name = MODELS[config.name].split(':')
    architecture = getattr(importlib.import_module(module), name)
    options = from_mapping(architecture.Options, config.options,
                           f'model.options of {config.name}')
    model = architecture(manifest, config, options)
    model.make_variables()
    return model
