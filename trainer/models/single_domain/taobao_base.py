"""The single-domain model of Taobao on which CTNet builds (CTNet 3.1)."""

from __future__ import annotations

from pydantic import Field

from mdctr.errors import UserError
from mdctr.manifest import Feature
from trainer.keras import keras, tf
from trainer.layers.attention.locality_sensitive_hash import LocalitySensitiveHash
from trainer.layers.attention.retrieval import most_similar, same_category
from trainer.layers.attention.target_attention import TargetAttention
from trainer.layers.attention.transformer_encoder import TransformerEncoder
from trainer.layers.basic.tower import make_dropouts
from trainer.layers.inputs.feature_embedding import EmbeddedSequence
from trainer.layers.inputs.item_category import ItemCategory
from trainer.models.base import Inputs
from trainer.models.behaviors import (
    Behaviors,
    concatenate_fields_without,
    field_vectors,
    find_behaviors,
)
from trainer.models.mlp_network import MLPNetwork


class TaobaoBase(MLPNetwork):
    """MLP over the features and three attentions of the target item to the user's history.

    CTNet, equations 2 and 3: h = sigma(MLP(E)) with E the embeddings of user, item, cross and
    context features, and

        A_TA    target attention over the most recent behaviors, encoded by a Transformer layer
        A_SIM   target attention over the last k behaviors of the item's category (SIM, hard)
        A_ETA   target attention over the k behaviors most similar to the item by LSH (ETA)

    These replace the history's mean of other models. In the paper (4.2), the MLP is
    [1024, 512, 256] with leaky ReLU, k is 64, and the attentions have 8 heads of width 32.

    SIM's own attention also embeds the time between each behavior and the target. The examples
    have no such times, and CTNet does not mention them.
    """

    class Options(MLPNetwork.Options):
        """Options of the base model of CTNet."""

        history: str | None = Field(
            default=None,
            description='Sequence of past clicks; if absent, the longest history of item ids '
            '(or the longest history).',
        )
        category: str | None = Field(
            default=None,
            description='Feature of the item within which SIM searches; if absent, the first '
            "categorical feature of the item apart from the history's own. Without one, SIM "
            'finds earlier clicks of the same item.',
        )
        short_length: int = Field(
            default=20,
            ge=1,
            description='Number of most recent behaviors that A_TA attends to.',
        )
        top_k: int = Field(
            default=64, ge=1, description='Number of behaviors, k, that SIM and ETA retrieve.'
        )
        heads: int = Field(default=8, ge=1, description='Heads of every attention.')
        head_dim: int = Field(default=8, ge=1, description='Width of each head.')
        hash_bits: int = Field(default=32, ge=1, description="Bits of ETA's hash.")
        activation: str = Field(default='leaky_relu', description='Activation of the MLP.')

    options: Options

    def build_network(self) -> None:
        options, config = self.options, self.config
        self.behaviors = self._behaviors()
        self.category = self._category()
        self.categories = (
            ItemCategory(self.behaviors.target.size, name='categories')
            if self.category != self.behaviors.target
            else None
        )
        self.encoder = TransformerEncoder(
            options.short_length, options.heads, options.head_dim, name='encoder'
        )
        self.hash = LocalitySensitiveHash(options.hash_bits, name='hash')
        self.attention = {
            name: TargetAttention(options.heads, options.head_dim, name=f'attention_{name}')
            for name in ('short', 'sim', 'eta')
        }
        self.hidden = [
            keras.layers.Dense(units, _activation(self), name=f'hidden_{i}')
            for i, units in enumerate(config.hidden_units)
        ]
        self.dropouts = make_dropouts(len(self.hidden), config.dropout, seed=10)
        self.head = keras.layers.Dense(1, name='head')

    def attend(self, inputs: Inputs, training: bool) -> dict[str, tf.Tensor]:
        history, target_name = (feature.name for feature in self.behaviors)
        sequence, target = inputs.sequences[history], field_vectors(self, inputs, target_name)
        searches = {
            'short': lambda: self._recent(sequence),
            'sim': lambda: self._of_category(sequence, inputs, training),
            'eta': lambda: self._similar(sequence, target),
        }
        attended = dict(inputs.attended)
        for name, search in searches.items():
            if name not in attended:
                behaviors = search()
                attended[name] = self.attention[name](
                    (target, behaviors.vectors), behaviors.mask
                )
        return attended

    def shareable_attentions(self) -> dict[str, keras.layers.Layer]:
        return {name: self.attention[name] for name in ('sim', 'eta')}

    def tower_input(self, inputs: Inputs, training: bool) -> tf.Tensor:
        return tf.concat(
            [
                concatenate_fields_without(self, inputs, {self.behaviors.history.name}),
                *(inputs.attended[name] for name in ('short', 'sim', 'eta')),
            ],
            axis=1,
        )

    def _recent(self, sequence: EmbeddedSequence) -> EmbeddedSequence:
        length = self.options.short_length
        recent = EmbeddedSequence(sequence.vectors[:, :length], sequence.mask[:, :length])
        return recent._replace(vectors=self.encoder(*recent))

    def _of_category(
        self, sequence: EmbeddedSequence, inputs: Inputs, training: bool
    ) -> EmbeddedSequence:
        history, target = (inputs.ids[feature.name] for feature in self.behaviors)
        category = inputs.ids[self.category.name]
        if self.categories is None:
            scores = same_category(history, category)
        else:
            scores = same_category(
                self.categories(target, category, history, training=training),
                tf.cast(category, tf.int32),
            )
        return most_similar(sequence, scores, self.options.top_k)

    def _similar(self, sequence: EmbeddedSequence, target: tf.Tensor) -> EmbeddedSequence:
        scores = self.hash((target, sequence.vectors))
        return most_similar(sequence, scores, self.options.top_k)

    def _behaviors(self) -> Behaviors:
        candidates = find_behaviors(self)
        name = self.options.history
        if name is None:
            of_items = [
                behaviors for behaviors in candidates if behaviors.target.name == 'item_id'
            ]
            return max(of_items or candidates, key=lambda behaviors: behaviors.history.length)
        for behaviors in candidates:
            if behaviors.history.name == name:
                return behaviors
        raise UserError(
            f'model.options.history of {self.config.name} is {name}, which is not a history of '
            'the item; there are '
            f'{", ".join(behaviors.history.name for behaviors in candidates)}.'
        )

    def _category(self) -> Feature:
        target, name = self.behaviors.target, self.options.category
        choices = [
            feature
            for feature in self.features
            if feature.kind == 'categorical' and feature.owner == 'item' and feature != target
        ]
        if name is None:
            return choices[0] if choices else target
        for feature in choices:
            if feature.name == name:
                return feature
        raise UserError(
            f'model.options.category of {self.config.name} is {name}, which is not another '
            'categorical feature of the item; there are '
            f'{", ".join(feature.name for feature in choices) or "none"}.'
        )


def _activation(model: TaobaoBase) -> str:
    """Returns the name of the Keras activation.

    Raises:
        UserError: There is no activation of this name.
    """
    name = model.options.activation
    try:
        keras.activations.get(name)
    except ValueError:
        raise UserError(
            f'model.options.activation of {model.config.name} is {name}, which is not a Keras '
            'activation.'
        ) from None
    return name
