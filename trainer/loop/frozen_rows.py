"""Cache of the outputs of a model's frozen part, row by row, for later epochs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from mdctr.manifest import Feature
from trainer.keras import tf

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd
_SHIFT = np.uint64(29)

Outputs = dict[str, tf.Tensor]


class FrozenRows:
    """Computes the outputs of a row once and caches them, up to a memory limit.

    A row is identified by a 64-bit hash of the ids that its outputs depend on: it is found in
    whatever batch it appears, and equal rows share an entry. When the cache is full, other rows
    are computed each time.

    Args:
        compute: Function from ids by feature name, with `domain` [rows], to outputs
            [rows, units] by name.
        features: Features whose ids the function takes.
        memory: Memory limit of the outputs in bytes.

    Attributes:
        computed: Number of rows computed so far.
    """

    def __init__(
        self,
        compute: Callable[[Mapping[str, tf.Tensor]], Outputs],
        features: list[Feature],
        memory: int,
    ) -> None:
        signature = {
            feature.name: tf.TensorSpec(
                [None, feature.length] if feature.kind == 'sequence' else [None], tf.int32
            )
            for feature in features
        }
        signature['domain'] = tf.TensorSpec([None], tf.int32)
        self._compute = tf.function(compute, autograph=False, input_signature=[signature])
        self._names = list(signature)
        outputs = self._compute.get_concrete_function().structured_outputs
        self._widths = {name: spec.shape[1] for name, spec in outputs.items()}
        self._type = next(iter(outputs.values())).dtype.as_numpy_dtype
        width = sum(self._widths.values())
        self._capacity = memory // (width * np.dtype(self._type).itemsize)
        self._kept = np.empty((0, width), self._type)
        self._slots: dict[int, int] = {}
        self.computed = 0

    def signature(self) -> dict[str, tf.TensorSpec]:
        """Returns the signature of a call's outputs."""
        return {
            name: tf.TensorSpec([None, width], self._type, name=name.replace('/', '_'))
            for name, width in self._widths.items()
        }

    def __call__(self, batch: Mapping[str, tf.Tensor]) -> Outputs:
        """Returns the outputs of a batch's rows, by name, float [rows, units].

        Args:
            batch: Ids by feature name, and `domain`: one for all rows, or one for each.
        """
        ids = {name: np.asarray(batch[name]) for name in self._names}
        rows = len(ids[self._names[0]])
        ids['domain'] = np.broadcast_to(ids['domain'], [rows])
        keys = _hashes([ids[name] for name in self._names]).tolist()
        places = np.array([self._slots.get(key, -1) for key in keys], np.int64)
        missing = np.flatnonzero(places < 0)
        values = (
            self._kept[places]
            if len(self._slots)
            else np.empty((rows, self._kept.shape[1]), self._type)
        )
        if len(missing):
            outputs = self._compute(
                {name: tf.constant(column[missing], tf.int32) for name, column in ids.items()}
            )
            values[missing] = np.concatenate(
                [outputs[name].numpy() for name in self._widths], axis=1
            )
            self.computed += len(missing)
            self._keep([keys[place] for place in missing], values[missing])
        ends = np.cumsum(list(self._widths.values()))
        return {
            name: tf.constant(part)
            for name, part in zip(
                self._widths, np.split(values, ends[:-1], axis=1), strict=True
            )
        }

    def _keep(self, keys: list[int], values: np.ndarray) -> None:
        fresh = {key: place for place, key in enumerate(keys)}
        chosen = list(fresh.items())[: self._capacity - len(self._slots)]
        if not chosen:
            return
        first = len(self._slots)
        if first + len(chosen) > len(self._kept):
            size = min(self._capacity, max(2 * len(self._kept), first + len(chosen)))
            self._kept.resize((size, values.shape[1]), refcheck=False)
        self._kept[first : first + len(chosen)] = values[[place for _, place in chosen]]
        self._slots.update((key, first + number) for number, (key, _) in enumerate(chosen))


def _hashes(columns: list[np.ndarray]) -> np.ndarray:
    """Hashes rows of id columns, whose sequences are padded with -1; uint64 [rows]."""
    hashes = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        for values in column.T if column.ndim == 2 else [column]:
            hashes = (hashes ^ values.astype(np.int64).view(np.uint64)) * _MULTIPLIER
            hashes ^= hashes >> _SHIFT
    return hashes
