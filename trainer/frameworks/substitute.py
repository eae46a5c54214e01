"""Calls a model with other values in the place of its variables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trainer.keras import keras, tf
from trainer.models.base import CTRModel


class OwnRows:
    """A variable of which a domain has some rows of its own, to be read by rows.

    Args:
        variable: the shared one, [size, ...].
        keys: slot * size + row of every row that some domain has, int64, ascending.
        values: of those rows.
        slot: the domain's number among those that have any.
    """

    def __init__(self, variable: tf.Variable, keys: tf.Variable, values: tf.Variable,
                 slot: tf.Tensor):
        self._variable, self._keys, self._values = variable, keys, values
        self._slot = tf.cast(slot, tf.int64)
        self.shape, self.dtype = variable.shape, variable.dtype

    def sparse_read(self, indices: tf.Tensor, name: str | None = None) -> tf.Tensor:
        """What `tf.gather(self, indices)` calls, as for a variable."""
        shared = tf.gather(self._variable, indices)
        wanted = self._slot * self.shape[0] + tf.cast(indices, tf.int64)
        keys = self._keys.read_value()
        place = tf.reshape(tf.searchsorted(keys, tf.reshape(wanted, [-1])), tf.shape(wanted))
        place = tf.minimum(place, tf.size(keys) - 1)
        found = tf.gather(keys, place) == wanted
        found = tf.reshape(found, tf.concat(
            [tf.shape(wanted), tf.ones([len(self.shape) - 1], tf.int32)], 0))
        return tf.where(found, tf.cast(tf.gather(self._values, place), shared.dtype), shared)


def _whole(rows: OwnRows, dtype: Any = None, name: Any = None, as_ref: bool = False) -> Any:
    """The whole variable, for a layer that does not read it by rows."""
    return tf.cast(rows.sparse_read(tf.range(rows.shape[0])), dtype or rows.dtype)


tf.register_tensor_conversion_function(OwnRows, _whole)


@contextmanager
def substituted(model: CTRModel, values: dict[int, Any]) -> Iterator[None]:
    """Within the context, layers of the model read `values` instead of their variables.

    Args:
        model: to be called in the context, at inference.
        values: tensors or `OwnRows` by the variable's identity (`id`).

    Raises:
        RuntimeError: no attribute of the model holds one of the variables.
    """
    undo, found = [], set()
    for module in (model, *model.submodules):
        for name, attribute in list(vars(module).items()):
            if name.startswith('_') and not isinstance(attribute, tf.Variable):
                continue  # Keras's own lists of the same variables
            changed = _changed(attribute, values, module, found)
            if changed is not attribute:
                undo.append((module, name, attribute))
                vars(module)[name] = changed
    try:
        missing = values.keys() - found
        if missing:
            names = [each.name for each in model.variables if id(each) in missing]
            raise RuntimeError(f'No attribute of the model holds {", ".join(names)}.')
        yield
    finally:
        for module, name, attribute in undo:
            vars(module)[name] = attribute


def _changed(attribute: Any, values: dict[int, Any], module: Any, found: set[int]) -> Any:
    if id(attribute) in values and isinstance(attribute, tf.Variable):
        found.add(id(attribute))
        value = values[id(attribute)]
        compute = getattr(module, 'compute_dtype', None)
        if isinstance(value, tf.Tensor) and value.dtype.is_floating and compute and not (
                isinstance(module, keras.Model)) and hasattr(attribute, '_cast_dtype'):
            return tf.cast(value, compute)  # as Keras casts a variable for mixed precision
        return value
    if isinstance(attribute, (list, tuple)) and not hasattr(attribute, '_fields'):
        parts = [_changed(part, values, module, found) for part in attribute]
        if any(part is not old for part, old in zip(parts, attribute, strict=True)):
            return type(parts)(parts)
    elif isinstance(attribute, dict):
        parts = {key: _changed(part, values, module, found) for key, part in attribute.items()}
        if any(part is not attribute[key] for key, part in parts.items()):
            return parts
    return attribute
