"""Division of the configured hidden layers between the parts of an architecture."""

from __future__ import annotations

from mdctr.errors import UserError
from trainer.config import ModelConfig


def split_hidden_units(
    config: ModelConfig, lower: int, option: str, least: int = 0
) -> tuple[list[int], list[int]]:
    """Returns the widths of the lower and of the upper hidden layers.

    Args:
        config: Configuration of the model.
        lower: Number of lower layers.
        option: Option of `model.options` that determines it.
        least: Minimum number of lower layers of the architecture.

    Raises:
        UserError: There are too few hidden layers.
    """
    units = config.hidden_units
    if not least <= lower <= len(units):
        raise UserError(
            f'model.options.{option} of {config.name} puts {lower} of the {len(units)} '
            f'model.hidden_units in the lower part, which needs at least {least} and at most '
            f'{len(units)}: change one of the two.'
        )
    return units[:lower], units[lower:]
