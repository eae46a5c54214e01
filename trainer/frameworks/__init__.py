"""The learning frameworks by name. Modules, which import TensorFlow, are loaded lazily."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdctr.errors import UserError
from mdctr.registry import Registry
from mdctr.settings import parse
from trainer.config import TrainConfig

if TYPE_CHECKING:
    from trainer.data.examples import Examples
    from trainer.frameworks.core.base import Framework
    from trainer.models.base import CTRModel

FRAMEWORKS: Registry[Framework] = Registry(
    'framework',
    'trainer.frameworks.core.base:Framework',
    {
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
        'domain_regularization': (
            'trainer.frameworks.domain_regularization:DomainRegularization'
        ),
        'mamdr': 'trainer.frameworks.mamdr:MAMDR',
    },
)


def make_framework(config: TrainConfig, model: CTRModel, examples: Examples) -> Framework:
    """Creates the framework of a configuration.

    Args:
        config: Configuration of the run.
        model: Model, already built.
        examples: Training split.

    Raises:
        UserError: There is no such framework, it has no such option, or it does not support
            streaming, as only `joint` does.
    """
    framework = FRAMEWORKS.load(config.framework)
    if config.streaming_buffer_size and config.framework != 'joint':
        raise UserError(
            'train.streaming_buffer_size is supported by the framework joint only and '
            f'train.framework is {config.framework}: remove one of the two.'
        )
    options = parse(
        framework.Options,
        config.framework_options,
        f'train.framework_options of {config.framework}',
    )
    return framework(config, options, model, examples)
