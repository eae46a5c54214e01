"""Calls a model with other values in place of its variables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trainer.keras import keras, tf
from trainer.models.base import CTRModel


class RowOverlay:
    """A shared variable with some rows replaced by a domain's own, to be read by row.

    Args:
        variable: Shared variable, [size, ...].
        keys: Keys slot * size + row of every row that some domain replaces, int64, ascending.
        values: Values of those rows.
        slot: Number of the domain among those that replace any rows, a scalar.
    """

    def __init__(
        self, variable: tf.Variable, keys: tf.Variable, values: tf.Variable, slot: tf.Tensor
    ):
        self._variable, self._keys, self._values = variable, keys, values
        self._slot = tf.cast(slot, tf.int64)
        self.shape, self.dtype = variable.shape, variable.dtype

    def sparse_read(self, indices: tf.Tensor, name: str | None = None) -> tf.Tensor:
        """Returns rows; `tf.gather(self, indices)` calls this, as it does for a variable.

        Args:
            indices: Row indices, of any shape.
            name: Unused; part of the interface of a variable.
        """
        shared = tf.gather(self._variable, indices)
        wanted = self._slot * self.shape[0] + tf.cast(indices, tf.int64)
        keys = self._keys.read_value()
        position = tf.reshape(tf.searchsorted(keys, tf.reshape(wanted, [-1])), tf.shape(wanted))
        position = tf.minimum(position, tf.size(keys) - 1)
        found = tf.gather(keys, position) == wanted
        found = tf.reshape(
            found, tf.concat([tf.shape(wanted), tf.ones([len(self.shape) - 1], tf.int32)], 0)
        )
        own = tf.cast(tf.gather(self._values, position), shared.dtype)
        return tf.where(found, own, shared)


def _to_tensor(
    overlay: RowOverlay, dtype: Any = None, name: Any = None, as_ref: bool = False
) -> Any:
    """Converts all rows to a tensor, for a layer that does not read the variable by row."""
    rows = overlay.sparse_read(tf.range(overlay.shape[0]))
    return tf.cast(rows, dtype or overlay.dtype)


tf.register_tensor_conversion_function(RowOverlay, _to_tensor)


@contextmanager
def substituted(model: CTRModel, values: dict[int, Any]) -> Iterator[None]:
    """Lets the layers of a model read other values instead of their variables.

    Args:
        model: Model that is called in the context, for inference.
        values: Tensors or `RowOverlay` objects by the identity (`id`) of the variable.

    Raises:
        RuntimeError: No attribute of the model holds one of the variables.
    """
    originals: list[tuple[Any, str, Any]] = []
    found: set[int] = set()
    for module in (model, *model.submodules):
        for name, attribute in list(vars(module).items()):
            if name.startswith('_') and not isinstance(attribute, tf.Variable):
                continue  # Keras's own lists of the same variables
            replaced = _replace(attribute, values, module, found)
            if replaced is not attribute:
                originals.append((module, name, attribute))
                vars(module)[name] = replaced
    try:
        missing = values.keys() - found
        if missing:
            names = [variable.name for variable in model.variables if id(variable) in missing]
            raise RuntimeError(f'No attribute of the model holds {", ".join(names)}.')
        yield
    finally:
        for module, name, attribute in originals:
            vars(module)[name] = attribute


def _replace(attribute: Any, values: dict[int, Any], module: Any, found: set[int]) -> Any:
    """Returns an attribute with its variables replaced; the same object if it has none.

    Args:
        attribute: Attribute of a layer: a variable, or lists, tuples and dictionaries of them.
        values: Replacements by the identity of the variable.
        module: Layer that has the attribute.
        found: Identities of the variables found so far, to which those found here are added.
    """
    if id(attribute) in values and isinstance(attribute, tf.Variable):
        found.add(id(attribute))
        value = values[id(attribute)]
        compute = getattr(module, 'compute_dtype', None)
        if (
            isinstance(value, tf.Tensor)
            and value.dtype.is_floating
            and compute
            and not (isinstance(module, keras.Model))
            and hasattr(attribute, '_cast_dtype')
        ):
            return tf.cast(value, compute)  # as Keras casts a variable for mixed precision
        return value
    if isinstance(attribute, (list, tuple)) and not hasattr(attribute, '_fields'):
        parts = [_replace(part, values, module, found) for part in attribute]
        if any(part is not old for part, old in zip(parts, attribute, strict=True)):
            return parts
    elif isinstance(attribute, dict):
        entries = {
            key: _replace(part, values, module, found) for key, part in attribute.items()
        }
        if any(part is not attribute[key] for key, part in entries.items()):
            return entries
    return attribute
