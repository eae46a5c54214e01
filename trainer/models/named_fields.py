"""Fields of a model that an option of its architecture names."""

from __future__ import annotations

from collections.abc import Sequence

from mdctr.errors import UserError
from trainer.models.base import CTRModel


def named_fields(
    model: CTRModel, option: str, names: Sequence[str], hint: str
) -> tuple[int, ...]:
    """Returns the positions in `model.fields` of the fields that an option names.

    Args:
        model: Model, with its inputs built.
        option: Option of `model.options` that names them.
        names: Value of the option: `domain`, other features, or both.
        hint: What to name if `names` is empty.

    Raises:
        UserError: `names` is empty, or one of them is not a field of the model.
    """
    for name in names:
        if name not in model.fields:
            domain_hint = ' (with domain_feature: true)' if name == 'domain' else ''
            raise UserError(
                f'model.options.{option} of {model.config.name} names {name}, which is not a '
                f'feature of the model{domain_hint}; it has {", ".join(model.fields)}.'
            )
    if not names:
        raise UserError(f'model.options.{option} of {model.config.name} is empty: {hint}.')
    return tuple(model.fields.index(name) for name in names)
