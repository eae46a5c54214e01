"""DLRM: deep learning recommendation model."""

from __future__ import annotations

from pydantic import Field

from trainer.config import Units
from trainer.keras import keras, tf
from trainer.layers.basic.tower import Tower
from trainer.layers.interaction.dot_products import dot_products, make_dot_interaction
from trainer.models.base import CTRModel, Inputs


class DLRM(CTRModel):
    """Dot products between all pairs of embeddings, below an MLP (Naumov et al. 2019).

    With the embeddings e_i of the features that are not numeric, and the numeric features'
    embeddings, concatenated, as x:

        z = BottomMLP(x)        d = (v_i^T v_j for i < j) of the vectors v = (z, e_1, e_2, ...)
        y = TopMLP(z (+) d (+) e)

    `tfrs.layers.feature_interaction.DotInteraction` computes d. In the paper x has the numbers
    themselves; here they enter by the embeddings of their buckets, as in every other model
    (with `numeric_slopes` these vary within a bucket). Without numeric features there is no z.
    The paper's top MLP does not read the embeddings e: `embeddings_in_top: false`.
    """

    class Options(CTRModel.Options):
        """Options of DLRM."""

        bottom_units: list[Units] = Field(
            default=[64],
            description='Widths of the hidden layers of the bottom MLP, whose output has the '
            'width of an embedding.',
        )
        embeddings_in_top: bool = Field(
            default=True,
            description='Whether the top MLP also reads the embeddings themselves.',
        )

    options: Options

    def build_network(self) -> None:
        config, options = self.config, self.options
        numeric = {feature.name for feature in self.features if feature.kind == 'numeric'}
        self.numeric = [i for i, name in enumerate(self.fields) if name in numeric]
        self.others = [i for i, name in enumerate(self.fields) if name not in numeric]
        self.bottom: Tower | None = None
        if self.numeric:
            units = [*options.bottom_units, config.embedding_dim]
            self.bottom = Tower(units, config.dropout, seed=20, name='bottom')
        self.interaction = make_dot_interaction()
        self.has_pairs = len(self.others) + bool(self.numeric) > 1
        # A single vector has no pairs, so that only itself is left to be read.
        self.reads_embeddings = options.embeddings_in_top or not self.has_pairs
        self.tower = Tower(config.hidden_units, config.dropout, name='tower')
        self.head = keras.layers.Dense(1, name='head')

    def tower_input(self, inputs: Inputs, training: bool) -> tf.Tensor:
        dim = self.config.embedding_dim
        vectors = [inputs.fields[:, i] for i in self.others]
        parts = vectors if self.reads_embeddings else []
        if self.bottom is not None:
            numeric = tf.gather(inputs.fields, self.numeric, axis=1)
            bottom = self.bottom(
                tf.reshape(numeric, [-1, len(self.numeric) * dim]), training=training
            )
            vectors, parts = [bottom, *vectors], [bottom, *parts]
        if self.has_pairs:
            parts = [*parts, dot_products(self.interaction, vectors)]
        return tf.concat(parts, axis=1)

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        return tf.squeeze(self.head(self.tower(inputs.flat, training=training)), axis=1)
