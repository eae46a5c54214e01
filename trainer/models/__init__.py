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
    'mlp_pp': 'trainer.models.mlp_pp:MLPPlusPlus',
    'minet': 'trainer.models.minet:MiNet',
    'ddtcdr': 'trainer.models.ddtcdr:DDTCDR',
    'dasl': 'trainer.models.dasl:DASL',
    'ctnet': 'trainer.models.ctnet:CTNet',
    'dual_embedding': 'trainer.models.dual_embedding:DualEmbedding',
    'dcnv2': 'trainer.models.dcnv2:DCNv2',
    'dcnv2_star': 'trainer.models.dcnv2:DCNv2Star',
    'dcnv2_apg': 'trainer.models.apg:DCNv2APG',
    'dcnv2_adasparse': 'trainer.models.adasparse:DCNv2AdaSparse',
}


# Those that are built on a trained model of another domain (CTNet 3.3 and 4.4).
NEED_SOURCE = frozenset({'ctnet', 'dual_embedding'})


def build_model(manifest: Manifest, config: ModelConfig,
                source: CTRModel | None = None) -> CTRModel:
    """A new model of the architecture `config.name`, with its variables made.

    Args:
        manifest: of the dataset; features and domains size the variables.
        config: the architecture and its hyper-parameters.
        source: a trained model, for an architecture of `NEED_SOURCE` and no other.

    Raises:
        UserError: no architecture of this name, an option that it does not take, an excluded
            feature that the dataset does not have, or a source too many or too few.
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
    if config.name in NEED_SOURCE and source is None:
        raise UserError(f'The model {config.name} is built on a trained model of the source '
                        'domain: name the directory of one (--source).')
    if config.name not in NEED_SOURCE and source is not None:
        raise UserError(f'The model {config.name} has no use for a source model (--source); '
                        f'there are {", ".join(sorted(NEED_SOURCE))}, which do.')
    module, name = MODELS[config.name].split(':')
    architecture = getattr(importlib.import_module(module), name)
    options = from_mapping(architecture.Options, config.options,
                           f'model.options of {config.name}')
    model = architecture(manifest, config, options, source)
    model.make_variables()
    return model


def like(model: CTRModel, manifest: Manifest | None = None) -> CTRModel:
    """A new model of the structure of another, down to its source's; fresh weights.

    Args:
        model: of `build_model`.
        manifest: by which it is sized; the model's own when absent.
    """
    from trainer.models.base import CTRModel

    source = like(model.source) if isinstance(model.source, CTRModel) else model.source
    return build_model(manifest or model.manifest, model.config, source)
