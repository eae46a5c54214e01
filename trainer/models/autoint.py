"""AutoInt."""

from __future__ import annotations

from dataclasses import dataclass

from beam_jobs.options import setting
from trainer.keras import keras, tf
from trainer.layers.self_attention_interaction import SelfAttentionInteraction
from trainer.layers.tower import Tower
from trainer.models.base import CTRModel, Inputs


class AutoInt(CTRModel):
    """Self-attention between the features' embeddings, beside a network (Song et al. 2019,
    equation 9, and AutoInt+ of its 4.4): w^T [e_1, ..., e_F] + w_deep^T a + b.

    The attention has the embeddings as they are, the network normalized ones. Without
    `hidden_units` there is no network, and this is AutoInt without the plus.
    """

    @dataclass(frozen=True)
    class Options(CTRModel.Options):
        """
        Attributes:
            attention_layers: interacting layers, one above the other.
            heads: of each; MAMDR's (V-C) number.
            head_dim: the width of each head.
        """

        attention_layers: int = setting(3, minimum=1)
        heads: int = setting(4, minimum=1)
        head_dim: int = setting(8, minimum=1)

    def build_network(self) -> None:
        options = self.options
        self.attention = [SelfAttentionInteraction(options.heads, options.head_dim,
                                                   name=f'attention_{i}')
                          for i in range(options.attention_layers)]
        self.tower = (Tower(self.config.hidden_units, self.config.dropout, name='tower')
                      if self.config.hidden_units else None)
        self.head = keras.layers.Dense(1, name='head')

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        fields = inputs.fields
        for layer in self.attention:
            fields = layer(fields)
        outputs = tf.reshape(fields, [-1, fields.shape[1] * fields.shape[2]])
        if self.tower is not None:
            deep = self.tower(inputs.flat, training=training)
            outputs = tf.concat([outputs, deep], axis=1)
        return tf.squeeze(self.head(outputs), axis=1)
