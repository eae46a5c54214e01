"""The networks on which AdaSparse (4.1.2) compares methods for many domains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from beam_jobs.options import setting
from trainer.keras import keras, tf
from trainer.layers.dropout import Dropout
from trainer.models.base import CTRModel, Inputs


class Backbone(CTRModel):
    """An MLP, or DCN-V2 (Wang et al. 2021) around it, whose weight matrices a method replaces.

    `mlp` is h^{l+1} = phi(W^l h^l + b^l) and a logit. `dcnv2` has cross layers

        x_{i+1} = x_0 (x) (W_i x_i + b_i) + x_i        (DCN-V2, equation 1)

    of the normalized input, and the MLP either above them (`stacked`) or beside them, both
    outputs going into the logit (`parallel`).

    A method says in `make_dense` what a weight matrix is and in `dense` how it is called; what
    a cross layer is follows, or is said in `make_cross` and `cross`. What the calls of one
    pass need of its inputs, `start` gives them.
    """

    @dataclass(frozen=True)
    class Options(CTRModel.Options):
        """
        Attributes:
            backbone: `mlp` or `dcnv2`.
            activation: phi, a Keras activation's name. AdaSparse writes tanh; the default is
                that of every other model here, which it is compared with.
            cross_layers: of `dcnv2`.
            structure: of `dcnv2`.
        """

        backbone: Literal['mlp', 'dcnv2'] = 'mlp'
        activation: Literal['relu', 'tanh', 'leaky_relu', 'elu', 'selu', 'swish'] = 'relu'
        cross_layers: int = setting(3, minimum=1)
        structure: Literal['stacked', 'parallel'] = 'parallel'

    def start(self, inputs: Inputs, training: bool) -> Any:
        """What `dense` and `cross` are passed in this pass."""

    def make_dense(self, units: int, activation: str | None, name: str) -> keras.layers.Layer:
        """A layer with a weight matrix."""
        return keras.layers.Dense(units, activation=activation, name=name)

    def dense(self, layer: keras.layers.Layer, values: tf.Tensor, now: Any) -> tf.Tensor:
        """The output of a layer of `make_dense`."""
        return layer(values)

    def make_cross(self, name: str) -> keras.layers.Layer:
        """A cross layer of the width of the input; TFRS's where the matrix is a plain one."""
        import tensorflow_recommenders as tfrs  # only after trainer.keras has chosen Keras 2
        return tfrs.layers.dcn.Cross(name=name)

    def cross(self, layer: keras.layers.Layer, first: tf.Tensor, values: tf.Tensor,
              now: Any) -> tf.Tensor:
        """The output of a layer of `make_cross`."""
        return layer(first, values)

    def build_network(self) -> None:
        options, config = self.options, self.config
        crosses = options.cross_layers if options.backbone == 'dcnv2' else 0
        self.crosses = [self.make_cross(f'cross_{i}') for i in range(crosses)]
        self.hidden = [self.make_dense(units, options.activation, f'hidden_{i}')
                       for i, units in enumerate(config.hidden_units)]
        self.dropouts = [Dropout(config.dropout, seed=10 + i) for i in range(len(self.hidden))]
        self.cross_dropouts = [Dropout(config.dropout, seed=40 + i) for i in range(crosses)]
        self.head = self.make_dense(1, None, 'head')

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        return self.run(inputs.flat, self.start(inputs, training), training)

    def run(self, first: tf.Tensor, now: Any, training: bool) -> tf.Tensor:
        """The logits [batch] of inputs [batch, units]."""
        crossed = first
        for layer, dropout in zip(self.crosses, self.cross_dropouts, strict=True):
            after = self.cross(layer, first, crossed, now)
            if training and self.config.dropout:
                # Of what the layer adds: x_i itself is in every later layer.
                after = crossed + dropout(after - crossed, training=training)
            crossed = after
        parallel = bool(self.crosses) and self.options.structure == 'parallel'
        outputs = first if parallel else crossed
        for layer, dropout in zip(self.hidden, self.dropouts, strict=True):
            outputs = dropout(self.dense(layer, outputs, now), training=training)
        if parallel:
            outputs = tf.concat([crossed, outputs], axis=1)
        return tf.squeeze(self.dense(self.head, outputs, now), axis=1)


class ReplacedCross(Backbone):
    """A backbone whose cross layers' matrices are layers of `make_dense`, as its others."""

    def make_cross(self, name: str) -> keras.layers.Layer:
        return self.make_dense(len(self.fields) * self.config.embedding_dim, None, name)

    def cross(self, layer: keras.layers.Layer, first: tf.Tensor, values: tf.Tensor,
              now: Any) -> tf.Tensor:
        return first * self.dense(layer, values, now) + values
