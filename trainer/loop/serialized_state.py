"""State outside TensorFlow variables that checkpoints save as bytes."""

from __future__ import annotations

import abc
from collections.abc import Sequence

from trainer.keras import tf


class SerializedState(tf.train.experimental.PythonState):
    """A Python object with tensors that checkpoints save."""

    @abc.abstractmethod
    def tensors(self) -> Sequence[tf.Tensor]:
        """All tensors of the state."""
