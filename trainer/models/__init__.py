"""Registry of the architectures.

Importing it is cheap; the module of an architecture loads TensorFlow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdctr.errors import UserError
from mdctr.manifest import Manifest
from mdctr.registry import Registry
from mdctr.settings import parse
from trainer.config import ModelConfig

if TYPE_CHECKING:
    from trainer.models.base import CTRModel

MODELS: Registry[CTRModel] = Registry(
    'model',
    'trainer.models.base:CTRModel',
    {
        'mlp': 'trainer.models.single_domain.mlp:MLP',
        'star': 'trainer.models.multi_domain.star:STAR',
        'shared_bottom': 'trainer.models.multi_domain.shared_bottom:SharedBottom',
        'mulann': 'trainer.models.multi_domain.mulann:MulANN',
        'mmoe': 'trainer.models.multi_domain.mmoe:MMoE',
        'cross_stitch': 'trainer.models.multi_domain.cross_stitch:CrossStitch',
        'cgc': 'trainer.models.multi_domain.ple:CGC',
        'ple': 'trainer.models.multi_domain.ple:PLE',
        'wdl': 'trainer.models.single_domain.wdl:WDL',
        'neurfm': 'trainer.models.single_domain.neurfm:NeurFM',
        'autoint': 'trainer.models.single_domain.autoint:AutoInt',
        'deepfm': 'trainer.models.single_domain.deepfm:DeepFM',
        'apg': 'trainer.models.multi_domain.apg:APG',
        'adasparse': 'trainer.models.multi_domain.adasparse:AdaSparse',
        'epnet': 'trainer.models.multi_domain.pepnet:EPNet',
        'ppnet': 'trainer.models.multi_domain.pepnet:PPNet',
        'pepnet': 'trainer.models.multi_domain.pepnet:PEPNet',
        'hinet': 'trainer.models.multi_domain.hinet:HiNet',
        'm3oe': 'trainer.models.multi_domain.m3oe:M3oE',
        'sar_net': 'trainer.models.multi_domain.sar_net:SARNet',
        'adaptdhm': 'trainer.models.multi_domain.adaptdhm:AdaptDHM',
        'hamur': 'trainer.models.multi_domain.hamur:HAMUR',
        'm2m': 'trainer.models.multi_domain.m2m:M2M',
        'star_adasparse': 'trainer.models.multi_domain.star_adasparse:StarAdaSparse',
        'din': 'trainer.models.single_domain.din:DIN',
        'taobao_base': 'trainer.models.single_domain.taobao_base:TaobaoBase',
        'mlp_pp': 'trainer.models.transfer.mlp_pp:MLPPlusPlus',
        'minet': 'trainer.models.transfer.minet:MiNet',
        'ddtcdr': 'trainer.models.transfer.ddtcdr:DDTCDR',
        'dasl': 'trainer.models.transfer.dasl:DASL',
        'ctnet': 'trainer.models.transfer.ctnet:CTNet',
        'dual_embedding': 'trainer.models.transfer.dual_embedding:DualEmbedding',
        'dcnv2': 'trainer.models.single_domain.dcnv2:DCNv2',
        'dlrm': 'trainer.models.single_domain.dlrm:DLRM',
        'dcnv2_star': 'trainer.models.single_domain.dcnv2:DCNv2Star',
        'dcnv2_apg': 'trainer.models.multi_domain.apg:DCNv2APG',
        'dcnv2_adasparse': 'trainer.models.multi_domain.adasparse:DCNv2AdaSparse',
    },
)


def build_model(
    manifest: Manifest, config: ModelConfig, source: CTRModel | None = None
) -> CTRModel:
    """Builds a model of the architecture `config.name`, with its variables.

    Args:
        manifest: Manifest of the dataset; its features and domains size the variables.
        config: Architecture and its hyper-parameters.
        source: Trained model, for an architecture that needs one (`NEEDS_SOURCE`).

    Raises:
        UserError: There is no such architecture, it does not have one of the options, an
            excluded feature is not in the dataset, or a source is missing or not needed.
    """
    architecture = MODELS.load(config.name)
    names = [feature.name for feature in manifest.features]
    for name in config.exclude_features:
        if name not in names:
            raise UserError(
                f'model.exclude_features names {name}, which is not a feature of the dataset '
                f'{manifest.name}; it has {", ".join(names)}.'
            )
    if len(config.exclude_features) == len(names):
        raise UserError(
            f'model.exclude_features excludes every feature of the dataset {manifest.name}: '
            'keep at least one.'
        )
    if architecture.NEEDS_SOURCE and source is None:
        raise UserError(
            f'The model {config.name} is built on a trained model of the source domain: give '
            'the directory of one (--source).'
        )
    if source is not None and not architecture.NEEDS_SOURCE:
        raise UserError(
            f'The model {config.name} does not use a source model: leave --source out.'
        )
    options = parse(architecture.Options, config.options, f'model.options of {config.name}')
    model = architecture(manifest, config, options, source)
    model.make_variables()
    return model


def clone_architecture(model: CTRModel, manifest: Manifest | None = None) -> CTRModel:
    """Builds a model of the same architecture, its source's included, with new weights.

    Args:
        model: Model from `build_model`.
        manifest: Manifest that sizes the variables; the model's own if absent.
    """
    from trainer.models.base import CTRModel

    source = (
        clone_architecture(model.source) if isinstance(model.source, CTRModel) else model.source
    )
    return build_model(manifest or model.manifest, model.config, source)
