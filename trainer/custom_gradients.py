"""Letting go of the graphs that layers with gradients of their own were traced into."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tensorflow.python.framework import ops

_PREFIX = 'CustomGradient-'  # of every name that tf.custom_gradient makes up


@contextmanager
def forgotten_gradients() -> Iterator[None]:
    """Forgets, when it ends, the gradients that `tf.custom_gradient` registered meanwhile.

    TensorFlow registers them anew in every trace and keeps them for ever, and with them the
    graph of the trace and the variables that it captured: a process that trains models one
    after another would keep the embeddings of all of them. A graph that was traced inside can
    be run afterwards, and no longer be differentiated.
    """
    registered = ops.gradient_registry._registry  # its public face cannot remove
    before = set(registered)
    try:
        yield
    finally:
        for name in set(registered) - before:
            if name.startswith(_PREFIX):
                del registered[name]
