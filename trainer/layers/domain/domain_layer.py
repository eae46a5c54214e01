"""Base class of the layers with parameters of each domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainer.keras import keras, tf
from trainer.layers.domain.domain_batch import DomainBatch


@dataclass(eq=False)
class FoldedDense:
    """Constants of a folded dense layer: kernel and bias of every domain."""

    kernel: tf.Variable
    bias: tf.Variable


class DomainLayer(keras.layers.Layer):
    """Layer that depends on the domain of its rows.

    Subclasses implement `compute`, which receives rows sorted by domain. A model sorts once
    for all its layers and passes the `DomainBatch`; other callers pass plain domain ids.

    Per-domain variables come from `add_domain_weight`: their leading axis is the domain, and
    row 0, the unseen domain, keeps its initial value, with which the layer is the shared
    model. A domain added later starts from it.

    Example:

    >>> class DomainScale(DomainLayer):
    ...     def build(self, input_shape):
    ...         self.domain_scale = self.add_domain_weight('scale', (), initializer='ones')
    ...     def compute(self, inputs, domains, training):
    ...         return inputs * domains.broadcast(domains.gather(self.domain_scale))[:, None]
    >>> layer = DomainScale(num_domains=3)
    >>> layer(tf.ones([2, 1]), tf.constant([2, 1])).shape
    TensorShape([2, 1])
    >>> layer.domain_scale.shape
    TensorShape([3])

    Args:
        num_domains: Number of domains, including row 0 for unseen ones.
    """

    def __init__(self, num_domains: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_domains = num_domains
        self.folded: Any = None

    def add_domain_weight(
        self, name: str, shape: tuple[int, ...], **kwargs: Any
    ) -> tf.Variable:
        """Adds a variable `domain_<name>` of shape [num_domains, *shape]."""
        return self.add_weight(
            name=f'domain_{name}', shape=(self.num_domains, *shape), **kwargs
        )

    def call(self, inputs: Any, domain: tf.Tensor | DomainBatch, training: bool = False) -> Any:
        """Computes the layer's outputs.

        Args:
            inputs: Tensor [batch, units], or a structure of such; sorted by domain if
                `domain` is a `DomainBatch`.
            domain: Domain ids, a scalar (the whole batch is of one domain) or [batch], or the
                `DomainBatch` by which the inputs are sorted.
            training: Whether to use the batch's own moments, dropout and the like.
        """
        if isinstance(domain, DomainBatch):
            return self.compute(inputs, domain, training)
        domains = DomainBatch(tf.convert_to_tensor(domain), self.num_domains)
        outputs = self.compute(tf.nest.map_structure(domains.sort, inputs), domains, training)
        return tf.nest.map_structure(domains.unsort, outputs)

    def compute(self, inputs: Any, domains: DomainBatch, training: bool) -> Any:
        """Computes the outputs of rows sorted by domain, in the same order."""
        raise NotImplementedError

    def shared_row(self, variable: tf.Variable) -> tf.Tensor:
        """Row of a per-domain variable from which a domain added later starts."""
        return variable[0]

    @property
    def domain_vectors(self) -> tf.Variable | None:
        """Embedding of the domains, [num_domains, dim], of a layer that has one."""
        return None

    def fold(self) -> None:
        """Precomputes what inference would compute at every call (STAR 4.4), if anything.

        The constants are in `self.folded`, and calls with `training=False` use them.
        """

    def unfold(self) -> None:
        """Discards the constants of `fold`."""
        self.folded = None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'num_domains': self.num_domains}


def uniform_with_zero_first_row(
    shape: tuple[int, ...], dtype: Any = None, **kwargs: Any
) -> tf.Tensor:
    """Initializes the embedding of the domains; that of unseen ones, row 0, is zero.

    >>> uniform_with_zero_first_row((3, 2))[0].numpy().tolist()
    [0.0, 0.0]
    """
    values = keras.initializers.RandomUniform(-0.05, 0.05)(shape, dtype=dtype)
    return tf.concat([tf.zeros_like(values[:1]), values[1:]], axis=0)
