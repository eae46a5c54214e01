"""AutoInt: self-attention between features."""

from __future__ import annotations

from pydantic import Field

from trainer.keras import keras, tf
from trainer.layers.basic.tower import Tower
from trainer.layers.interaction.self_attention_interaction import SelfAttentionInteraction
from trainer.models.base import CTRModel, Inputs


class AutoInt(CTRModel):
    """Self-attention between the features' embeddings, next to a network (Song et al. 2019,
    equation 9, and AutoInt+ of its 4.4): w^T [e_1, ..., e_F] + w_deep^T a + b.

    The attention reads the embeddings themselves, the network the normalized ones. Without
    `hidden_units` there is no network, and this is AutoInt instead of AutoInt+.
    """

    class Options(CTRModel.Options):
        """Options of AutoInt."""

        attention_layers: int = Field(
            default=3, ge=1, description='Number of interacting layers.'
        )
        heads: int = Field(
            default=4,
            ge=1,
            description='Heads of each layer; the default is that of MAMDR (V-C).',
        )
        head_dim: int = Field(default=8, ge=1, description='Width of each head.')

    options: Options

    def build_network(self) -> None:
        options = self.options
        self.attention = [
            SelfAttentionInteraction(options.heads, options.head_dim, name=f'attention_{i}')
            for i in range(options.attention_layers)
        ]
        self.tower = (
            Tower(self.config.hidden_units, self.config.dropout, name='tower')
            if self.config.hidden_units
            else None
        )
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
