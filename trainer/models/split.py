"""Dividing the hidden layers of a configuration between the parts of an architecture."""

from __future__ import annotations

from beam_jobs.errors import UserError
from trainer.config import ModelConfig


def split_hidden_units(config: ModelConfig, lower: int, option: str,
                       least: int = 0) -> tuple[list[int], list[int]]:
    """The widths of the lower and of the upper hidden layers.

    Args:
        config: of the model.
        lower: how many are lower ones.
        option: of `model.options`, which says so.
        least: how many lower layers the architecture needs.

    Raises:
        UserError: there are not so many hidden layers.
    """
    units = config.hidden_units
    if not least <= lower <= len(units):
        raise UserError(f'model.options.{option} of {config.name} leaves {lower} of the '
                        f'{len(units)} model.hidden_units to the lower part: it needs at least '
                        f'{least} and at most {len(units)}, so change one of the two.')
    return units[:lower], units[lower:]
