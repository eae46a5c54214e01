"""Networks of the domains, connected by cross-stitch units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainer.keras import keras, tf
from trainer.layers.basic.tower import make_dropouts
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.shared_mean import SharedMeanLayer, glorot_per_matrix


@dataclass(eq=False)
class _FoldedStitch:
    """Last alphas of every domain, [num_domains, num_domains]."""

    stitch: tf.Variable


@keras.utils.register_keras_serializable('mdctr')
class CrossStitchNetwork(SharedMeanLayer):
    """Network per domain whose activations are combined after every hidden layer.

    Cross-stitch networks (Misra et al. 2016), equation 1, for any number M of domains as used
    by STAR (4.1). In layer l, with domain q's activations h_q = ReLU(W_q^T x_q + b_q), the next
    layer of domain p reads

        x_p = sum_q alpha_pq h_q

    and the output for a row of domain p is x_p after the last layer. By this definition every
    network is computed for every row, as its activations are what is combined: this is the
    only layer here that computes other domains' networks, and its cost grows with M. Only the
    sums after the last layer are computed just for the row's own domain.

    alpha starts at `own` on the diagonal; the other domains share the rest equally. The
    networks start at different weights, since each row reads all of them. A row of an unseen
    domain reads them with the mean of the domains' last alphas; a domain added later starts
    with that mean, and with a zero column in the others' alphas.

    Example:

    >>> layer = CrossStitchNetwork([16, 8], num_domains=3)
    >>> layer(tf.ones([2, 4]), tf.constant([1, 2])).shape
    TensorShape([2, 8])

    Args:
        hidden_units: Widths of the layers, at least one.
        num_domains: Number of domains, including row 0 for unseen ones.
        own: Initial alpha_pp, in (0, 1].
        dropout: Dropout rate after every layer.
        seed: Random seed of the first layer's dropout; each further layer's is one more.

    Shapes: inputs [batch, c] to [batch, hidden_units[-1]].
    """

    def __init__(
        self,
        hidden_units: Sequence[int],
        num_domains: int,
        own: float = 0.9,
        dropout: float = 0.0,
        seed: int = 10,
        **kwargs: Any,
    ):
        super().__init__(num_domains, **kwargs)
        self.hidden_units, self.own = list(hidden_units), own
        self.dropout, self.seed = dropout, seed
        self.dropouts = make_dropouts(len(self.hidden_units), dropout, seed)

    def build(self, input_shape: tf.TensorShape) -> None:
        widths = [input_shape[-1], *self.hidden_units]
        self.domain_kernels = [
            self.add_domain_weight(f'kernel_{i}', (width, units), initializer=glorot_per_matrix)
            for i, (width, units) in enumerate(zip(widths, self.hidden_units, strict=False))
        ]
        self.domain_biases = [
            self.add_domain_weight(f'bias_{i}', (1, units), initializer='zeros')
            for i, units in enumerate(self.hidden_units)
        ]
        self.domain_stitches = [
            self.add_domain_weight(
                f'stitch_{i}', (self.num_domains,), initializer=self._initial_alpha
            )
            for i in range(len(self.hidden_units))
        ]
        super().build(input_shape)

    def _initial_alpha(
        self, shape: tuple[int, ...], dtype: Any = None, **kwargs: Any
    ) -> tf.Tensor:
        domains = max(self.num_domains - 1, 1)
        other = (1 - self.own) / max(domains - 1, 1)
        alpha = tf.fill([domains, domains], tf.cast(other, dtype))
        diagonal = tf.fill([domains], tf.cast(self.own if domains > 1 else 1.0, dtype))
        alpha = tf.linalg.set_diag(alpha, diagonal)
        if self.num_domains == 1:
            return alpha
        unseen = tf.reduce_mean(alpha, axis=0, keepdims=True)
        return tf.pad(tf.concat([unseen, alpha], axis=0), [[0, 0], [1, 0]])

    def compute(self, inputs: tf.Tensor, domains: DomainBatch, training: bool) -> tf.Tensor:
        first = 1 if self.num_domains > 1 else 0  # row 0 has no network
        outputs, last = inputs, len(self.hidden_units) - 1
        for i, dropout in enumerate(self.dropouts):
            hidden = tf.nn.relu(
                tf.matmul(outputs, self.domain_kernels[i][first:])
                + self.domain_biases[i][first:]
            )
            hidden = dropout(hidden, training=training)
            if i < last:
                outputs = tf.tensordot(self.domain_stitches[i][first:, first:], hidden, 1)
        alpha = domains.broadcast(self._last_alpha(domains, training, inputs.dtype))[:, first:]
        return tf.reduce_sum(tf.transpose(alpha)[:, :, None] * hidden, axis=0)

    def _last_alpha(self, domains: DomainBatch, training: bool, dtype: tf.DType) -> tf.Tensor:
        if self.folded is not None and not training:
            return tf.cast(domains.gather(self.folded.stitch), dtype)
        return self.gather_with_mean(domains, self.domain_stitches[-1], training)

    def fold(self) -> None:
        """Computes the mean of the domains' last alphas once."""
        self.folded = _FoldedStitch(self.with_shared_row(self.domain_stitches[-1]))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            'hidden_units': self.hidden_units,
            'own': self.own,
            'dropout': self.dropout,
            'seed': self.seed,
        }
