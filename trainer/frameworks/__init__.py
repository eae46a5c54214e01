"""The learning frameworks, by name. Importing this is cheap; a module loads TensorFlow."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from beam_jobs.errors import UserError
from beam_jobs.options import from_mapping
from trainer.config import TrainConfig

if TYPE_CHECKING:
    from trainer.examples import Examples
    from trainer.frameworks.base import Framework
    from trainer.models.base import CTRModel

FRAMEWORKS = {
    'joint': 'trainer.frameworks.joint:Joint',
    'separate': 'trainer.frameworks.separate:Separate',
    'alternate': 'trainer.frameworks.alternate:Alternate',
    'finetune': 'trainer.frameworks.finetune:Finetune',
    'weighted_loss': 'trainer.frameworks.weighted_loss:WeightedLoss',
    'pcgrad': 'trainer.frameworks.pcgrad:PCGrad',
    'maml': 'trainer.frameworks.maml:MAML',
    'reptile': 'trainer.frameworks.reptile:Reptile',
    'mldg': 'trainer.frameworks.mldg:MLDG',
    'domain_negotiation': 'trainer.frameworks.domain_negotiation:DomainNegotiation',
    'domain_regularization':
        'trainer.frameworks.domain_regularization:DomainRegularization',
    'mamdr': 'trainer.frameworks.mamdr:MAMDR',
}


def make_framework(config: TrainConfig, model: CTRModel, examples: Examples) -> Framework:
    """The framework `config.framework`, ready to train `model` on `examples`.

    Raises:
        UserError: no framework of this name, an option that it does not take, or streaming,
            which only `joint` does.
    """
    if config.framework not in FRAMEWORKS:
        raise UserError(f'There is no framework {config.framework}; there are '
                        f'{", ".join(FRAMEWORKS)}.')
    if config.stream_rows and config.framework != 'joint':
        raise UserError(f'train.stream_rows goes with the framework joint, and this one is '
                        f'{config.framework}: leave one of the two out.')
    module, name = FRAMEWORKS[config.framework].split(':')
    framework = getattr(importlib.import_module(module), name)
    options = from_mapping(framework.Options, config.framework_options,
                           f'train.framework_options of {config.framework}')
    return framework(config, options, model, examples)
