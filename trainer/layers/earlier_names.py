"""Registered names of layers that were renamed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from trainer.keras import keras

Layer = TypeVar('Layer', bound=type)


def registered_earlier_as(name: str) -> Callable[[Layer], Layer]:
    """Decorates a layer whose earlier configurations, `mdctr>name`, must remain loadable.

    Args:
        name: Name of the class in earlier versions.
    """

    def register(layer: Layer) -> Layer:
        keras.utils.get_custom_objects()[f'mdctr>{name}'] = layer
        return layer

    return register
