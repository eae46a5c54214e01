"""Networks on which AdaSparse (4.1.2) compares methods for many domains."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from trainer.keras import keras, tf
from trainer.layers.basic.tower import make_dropouts
from trainer.layers.interaction.dot_products import dot_products, make_dot_interaction
from trainer.models.base import CTRModel, Inputs


class Backbone(CTRModel):
    """MLP, DCN-V2 or DLRM, whose weight matrices a method replaces.

    `mlp` is h^{l+1} = phi(W^l h^l + b^l) and a logit. `dcnv2` (Wang et al. 2021) has cross
    layers

        x_{i+1} = x_0 (x) (W_i x_i + b_i) + x_i        (DCN-V2, equation 1)

    of the normalized input, and the MLP either after them (`stacked`) or next to them, with the
    outputs of both going into the logit (`parallel`). `dlrm` (Naumov et al. 2019) is the MLP of
    the embeddings and the dot products of all pairs of them, by TFRS's `DotInteraction`;
    numeric features have embeddings of their buckets instead of a bottom MLP. Dropout applies
    to the outputs of the hidden layers and, in a cross layer, to the term that is added to x_i.

    A method defines its dense layers by `make_dense` and their calls by `dense`, and its cross
    layers by `make_cross`, `cross_input` and `cross`. `start` returns what these calls share in
    one forward pass, their argument `context`.
    """

    class Options(CTRModel.Options):
        """Options of an architecture that is built on a backbone."""

        backbone: Literal['mlp', 'dcnv2', 'dlrm'] = Field(
            default='mlp', description='Network whose layers are modified.'
        )
        activation: Literal['relu', 'tanh', 'leaky_relu', 'elu', 'selu', 'swish'] = Field(
            default='relu',
            description='Activation phi of the hidden layers. AdaSparse uses tanh; the default '
            'is that of the other models here.',
        )
        cross_layers: int = Field(
            default=3, ge=1, description='Number of cross layers, for `dcnv2`.'
        )
        structure: Literal['stacked', 'parallel'] = Field(
            default='parallel',
            description='Position of the cross layers before or next to the deep ones, for '
            '`dcnv2`.',
        )

    options: Options

    def start(self, inputs: Inputs, training: bool) -> Any:
        """Returns the `context` of a forward pass."""

    def make_dense(self, units: int, activation: str | None, name: str) -> keras.layers.Layer:
        """Makes a layer with a weight matrix."""
        return keras.layers.Dense(units, activation=activation, name=name)

    def dense(self, layer: keras.layers.Layer, values: tf.Tensor, context: Any) -> tf.Tensor:
        """Computes the output of a layer of `make_dense`."""
        return layer(values)

    def make_cross(self, name: str) -> keras.layers.Layer:
        """Makes a cross layer of the width of the input, by default TFRS's."""
        import tensorflow_recommenders as tfrs  # after trainer.keras has selected Keras 2

        return tfrs.layers.dcn.Cross(name=name)

    def cross_input(
        self, layer: keras.layers.Layer, values: tf.Tensor, context: Any
    ) -> tf.Tensor:
        """Computes x_i as a layer of `make_cross` reads it and adds to it."""
        return values

    def cross(
        self, layer: keras.layers.Layer, first: tf.Tensor, values: tf.Tensor, context: Any
    ) -> tf.Tensor:
        """Computes x_{i+1} from x_0 and the layer's `cross_input`."""
        return layer(first, values)

    def build_network(self) -> None:
        options, config = self.options, self.config
        crosses = options.cross_layers if options.backbone == 'dcnv2' else 0
        self.interaction = (
            make_dot_interaction()
            if options.backbone == 'dlrm' and len(self.fields) > 1
            else None
        )
        self.crosses = [self.make_cross(f'cross_{i}') for i in range(crosses)]
        self.hidden = [
            self.make_dense(units, options.activation, f'hidden_{i}')
            for i, units in enumerate(config.hidden_units)
        ]
        self.dropouts = make_dropouts(len(self.hidden), config.dropout, seed=10)
        self.cross_dropouts = make_dropouts(crosses, config.dropout, seed=40)
        self.head = self.make_dense(1, None, 'head')

    def tower_input(self, inputs: Inputs, training: bool) -> tf.Tensor:
        if self.interaction is None:
            return inputs.flat
        vectors = tf.unstack(inputs.fields, num=len(self.fields), axis=1)
        return tf.concat([inputs.flat, dot_products(self.interaction, vectors)], axis=1)

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        return self.forward(inputs.flat, self.start(inputs, training), training)

    def forward(self, first: tf.Tensor, context: Any, training: bool) -> tf.Tensor:
        """Computes the logits [batch] of inputs x_0 [batch, units]."""
        crossed = first
        for layer, dropout in zip(self.crosses, self.cross_dropouts, strict=True):
            values = self.cross_input(layer, crossed, context)
            crossed = self.cross(layer, first, values, context)
            if training and self.config.dropout:
                crossed = values + dropout(crossed - values, training=training)
        parallel = bool(self.crosses) and self.options.structure == 'parallel'
        outputs = first if parallel else crossed
        for layer, dropout in zip(self.hidden, self.dropouts, strict=True):
            outputs = dropout(self.dense(layer, outputs, context), training=training)
        if parallel:
            outputs = tf.concat([crossed, outputs], axis=1)
        return tf.squeeze(self.dense(self.head, outputs, context), axis=1)


class DenseCross(Backbone):
    """Backbone whose cross layers have a layer of `make_dense` as W_i."""

    def make_cross(self, name: str) -> keras.layers.Layer:
        return self.make_dense(len(self.fields) * self.config.embedding_dim, None, name)

    def cross(
        self, layer: keras.layers.Layer, first: tf.Tensor, values: tf.Tensor, context: Any
    ) -> tf.Tensor:
        return first * self.dense(layer, values, context) + values
