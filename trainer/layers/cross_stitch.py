"""Cross-stitch units between the domains' networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainer.keras import keras, tf
from trainer.layers.domain_rows import DomainRows
from trainer.layers.dropout import Dropout
from trainer.layers.shared_mean import SharedMeanLayer, own_in_every_row


@dataclass(eq=False)
class _Folded:
    stitch: tf.Variable


@keras.utils.register_keras_serializable('mdctr')
class CrossStitchNetwork(SharedMeanLayer):
    """A network a domain, whose activations are combined after every hidden layer.

    Cross-stitch networks (Misra et al. 2016), equation 1, for any number M of domains as STAR
    (4.1) uses them. In layer l, with domain q's activations h_q = ReLU(W_q^T x_q + b_q), the
    next layer of domain p reads

        x_p = sum_q alpha_pq h_q

    and the output for a row of domain p is x_p after the last layer. By this definition every
    network is computed for every row, the others' activations being what is stitched: this is
    the one layer here that computes other domains' networks, and its cost grows with M. Only
    after the last layer are the row's own sums alone computed.

    alpha starts at `own` on the diagonal and shares the rest equally. The networks start
    apart, since each row reads all of them. A row of an unseen domain reads them with the mean
    of the domains' last alphas; a domain added later starts with that, and with a zero column
    in the others' alphas.

    Args:
        hidden_units: the widths of the layers, one at least.
        num_domains: the domains, and in row 0 the unseen ones.
        own: what alpha_pp starts at, in (0, 1].
        dropout: after every layer.
        seed: of the first layer's dropout; each further layer's is one more.

    Shapes: inputs [batch, c] to [batch, hidden_units[-1]].
    """

    def __init__(self, hidden_units: Sequence[int], num_domains: int, own: float = 0.9,
                 dropout: float = 0.0, seed: int = 10, **kwargs: Any):
        super().__init__(num_domains, **kwargs)
        self.hidden_units, self.own = list(hidden_units), own
        self.dropout, self.seed = dropout, seed
        self.dropouts = [Dropout(dropout, seed=seed + i) for i in range(len(hidden_units))]

    def build(self, input_shape: tf.TensorShape) -> None:
        widths = [input_shape[-1], *self.hidden_units]
        self.domain_kernels = [
            self.add_domain_weight(f'kernel_{i}', (width, units), initializer=own_in_every_row)
            for i, (width, units) in enumerate(zip(widths, self.hidden_units, strict=False))]
        self.domain_biases = [
            self.add_domain_weight(f'bias_{i}', (1, units), initializer='zeros')
            for i, units in enumerate(self.hidden_units)]
        self.domain_stitches = [
            self.add_domain_weight(f'stitch_{i}', (self.num_domains,), initializer=self._alpha)
            for i in range(len(self.hidden_units))]
        super().build(input_shape)

    def _alpha(self, shape: tuple[int, ...], dtype: Any = None, **kwargs: Any) -> tf.Tensor:
        domains = max(self.num_domains - 1, 1)
        other = (1 - self.own) / max(domains - 1, 1)
        alpha = tf.fill([domains, domains], tf.cast(other, dtype))
        diagonal = tf.fill([domains], tf.cast(self.own if domains > 1 else 1.0, dtype))
        alpha = tf.linalg.set_diag(alpha, diagonal)
        if self.num_domains == 1:
            return alpha
        unseen = tf.reduce_mean(alpha, axis=0, keepdims=True)
        return tf.pad(tf.concat([unseen, alpha], axis=0), [[0, 0], [1, 0]])

    def compute(self, inputs: tf.Tensor, rows: DomainRows, training: bool) -> tf.Tensor:
        first = 1 if self.num_domains > 1 else 0  # row 0 has no network of its own
        outputs, last = inputs, len(self.hidden_units) - 1
        for i, dropout in enumerate(self.dropouts):
            hidden = tf.nn.relu(tf.matmul(outputs, self.domain_kernels[i][first:])
                                + self.domain_biases[i][first:])
            hidden = dropout(hidden, training=training)
            if i < last:
                outputs = tf.tensordot(self.domain_stitches[i][first:, first:], hidden, 1)
        alpha = rows.spread(self._last_alpha(rows, training, inputs.dtype))[:, first:]
        return tf.reduce_sum(tf.transpose(alpha)[:, :, None] * hidden, axis=0)

    def _last_alpha(self, rows: DomainRows, training: bool, dtype: tf.DType) -> tf.Tensor:
        if self.folded is not None and not training:
            return tf.cast(rows.take(self.folded.stitch), dtype)
        return self.take(rows, self.domain_stitches[-1], training)

    def fold(self) -> None:
        """Computes the mean of the domains' last alphas once."""
        self.folded = _Folded(self.with_shared_row(self.domain_stitches[-1]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'hidden_units': self.hidden_units, 'own': self.own,
                'dropout': self.dropout, 'seed': self.seed}
