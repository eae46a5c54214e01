"""Gradients that are written out by hand, and letting go of the graphs that traced them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tensorflow.python.framework import ops

from trainer.keras import tf

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


def written_gradient(plain: Callable[..., Sequence[tf.Tensor]],
                     written: Callable[..., Sequence[tf.Tensor]],
                     inputs: Sequence[tf.Tensor],
                     upstreams: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
    """A first gradient by hand, which can itself be differentiated.

    For use in the gradient function of a `tf.custom_gradient`. `written` may use what the
    forward pass has computed, of which TensorFlow does not know how it depends on the inputs;
    gradients of the gradient are derived from `plain` instead.

    Args:
        plain: of the inputs, gives the outputs that have upstreams, in TensorFlow's own ops.
        written: of the upstreams, gives the gradient of every input.
        inputs: of the forward pass.
        upstreams: the gradients of the outputs.
    """
    @tf.custom_gradient
    def gradient_of(*given):
        def second(*seconds):
            with tf.GradientTape() as tape:
                tape.watch(given)
                with tf.GradientTape() as inner:
                    inner.watch(given[:len(inputs)])
                    outputs = plain(*given[:len(inputs)])
                again = inner.gradient(outputs, given[:len(inputs)],
                                       list(given[len(inputs):]))
            return tape.gradient(again, given, seconds, unconnected_gradients='zero')
        return tuple(written(*given[len(inputs):])), second
    return gradient_of(*inputs, *(tf.convert_to_tensor(each) for each in upstreams))
