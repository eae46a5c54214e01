"""What every layer with a set of weights a domain has in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainer.keras import keras, tf
from trainer.layers.domain_rows import DomainRows


@dataclass(eq=False)
class FoldedDense:
    """What a dense layer keeps folded: every domain's kernel and bias."""

    kernel: tf.Variable
    bias: tf.Variable


class DomainLayer(keras.layers.Layer):
    """A layer that depends on the domain of its rows.

    Subclasses write `compute`, which gets rows sorted by domain. A model sorts once for all
    its layers and passes the `DomainRows`; anyone else passes plain domain ids.

    Per-domain variables come from `add_domain_weight`: their leading axis is the domain, and
    row 0, the unseen domain, stays at its initial value, with which the layer is the shared
    model. That is what a domain added later starts from.

    Args:
        num_domains: the domains, and in row 0 the unseen ones.
    """

    def __init__(self, num_domains: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_domains = num_domains
        self.folded = None

    def add_domain_weight(self, name: str, shape: tuple[int, ...],
                          **kwargs: Any) -> tf.Variable:
        """A variable `domain_<name>` of shape [num_domains, *shape]."""
        return self.add_weight(name=f'domain_{name}', shape=(self.num_domains, *shape),
                               **kwargs)

    def call(self, inputs: tf.Tensor, domain: tf.Tensor | DomainRows,
             training: bool = False) -> tf.Tensor:
        """Runs the layer.

        Args:
            inputs: [batch, units], or a structure of such; sorted by domain where `domain`
                is a `DomainRows`.
            domain: ids, a scalar (the whole batch is of one domain) or [batch], or the
                `DomainRows` by which the inputs are sorted.
            training: whether the batch's own moments, dropout and the like are used.
        """
        if isinstance(domain, DomainRows):
            return self.compute(inputs, domain, training)
        rows = DomainRows(tf.convert_to_tensor(domain), self.num_domains)
        outputs = self.compute(tf.nest.map_structure(rows.sort, inputs), rows, training)
        return tf.nest.map_structure(rows.unsort, outputs)

    def compute(self, inputs: tf.Tensor, rows: DomainRows, training: bool) -> tf.Tensor:
        """The layer itself, on rows sorted by domain."""
        raise NotImplementedError

    def shared_row(self, variable: tf.Variable) -> tf.Tensor:
        """The row of a per-domain variable that a domain added later starts from."""
        return variable[0]

    @property
    def domain_vectors(self) -> tf.Variable | None:
        """The domains' embedding [num_domains, dim], in a layer that has one."""
        return None

    def fold(self) -> None:
        """Computes once what inference would compute at every call (STAR 4.4), if anything.

        `self.folded` then holds the constants, and calls with `training=False` use them.
        """

    def unfold(self) -> None:
        """Forgets what `fold` computed."""
        self.folded = None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'num_domains': self.num_domains}


def zero_row_then_uniform(shape, dtype=None, **kwargs):
    """Initializes a domain's embedding; the unseen domain's, row 0, stays zero."""
    values = keras.initializers.RandomUniform(-0.05, 0.05)(shape, dtype=dtype)
    return tf.concat([tf.zeros_like(values[:1]), values[1:]], axis=0)
