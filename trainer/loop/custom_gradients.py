"""Freeing the graphs that custom gradients capture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tensorflow.python.framework import ops

_PREFIX = 'CustomGradient-'  # of the names under which tf.custom_gradient registers


@contextmanager
def release_custom_gradients() -> Iterator[None]:
    """Context that unregisters, at its end, the custom gradients that were traced in it.

    `tf.custom_gradient` registers a gradient in every trace and never removes it, and loading a
    SavedModel that has one registers it again. The gradient keeps the graph of the trace and
    the variables that it captures, so a process that trains or scores several models would keep
    the embeddings of all of them in memory (measured with a tiny model: 13 MB each time that it
    was scored). A graph that was traced in the context can still be run afterwards, but no
    longer be differentiated.
    """
    registered = ops.gradient_registry._registry  # the public interface cannot remove
    before = set(registered)
    try:
        yield
    finally:
        for name in set(registered) - before:
            if name.startswith(_PREFIX):
                del registered[name]
