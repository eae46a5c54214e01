"""The single-domain model of Taobao on which CTNet builds (CTNet 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

from beam_jobs.dataset import Feature
from beam_jobs.errors import UserError
from beam_jobs.options import setting
from trainer.keras import keras, tf
from trainer.layers.dropout import Dropout
from trainer.layers.feature_embedding import Sequence
from trainer.layers.item_category import ItemCategory
from trainer.layers.locality_sensitive_hash import LocalitySensitiveHash
from trainer.layers.retrieval import most_similar, same_category
from trainer.layers.target_attention import TargetAttention
from trainer.layers.transformer_encoder import TransformerEncoder
from trainer.models.base import Inputs
from trainer.models.behaviors import Behaviors, behaviors_of, field, flat_without
from trainer.models.mlp_network import MLPNetwork


class TaobaoBase(MLPNetwork):
    """An MLP over the features and three attentions of the target item to the user's history.

    CTNet, equations 2 and 3: h = sigma(MLP(E)) with E the embeddings of user, item, cross and
    context features, and beside them

        A_TA    target attention over the most recent behaviors, encoded by a Transformer layer
        A_SIM   target attention over the last k behaviors of the item's category (SIM, hard)
        A_ETA   target attention over the k behaviors most similar to the item by LSH (ETA)

    E replaces the history's mean of other models. The paper's (4.2) MLP is [1024, 512, 256]
    with leaky ReLU, k is 64, and its attentions have 8 heads of 32.
    """

    @dataclass(frozen=True)
    class Options(MLPNetwork.Options):
        """
        Attributes:
            history: the sequence of past clicks, the longest of item ids when absent (or of
                what there is).
            category: the feature of the item within which SIM searches; absent, the first
                categorical feature of the item beside the history's own, and where there is
                none, SIM finds earlier clicks of the very item.
            short_length: how many of the most recent behaviors A_TA attends to.
            retrieved: k.
            heads: of every attention.
            head_dim: the width of each head.
            hash_bits: of ETA's hash.
            activation: of the MLP.
        """

        history: str | None = None
        category: str | None = None
        short_length: int = setting(20, minimum=1)
        retrieved: int = setting(64, minimum=1)
        heads: int = setting(8, minimum=1)
        head_dim: int = setting(8, minimum=1)
        hash_bits: int = setting(32, minimum=1)
        activation: str = 'leaky_relu'

    def build_network(self) -> None:
        options, config = self.options, self.config
        self.behaviors = self._behaviors()
        self.category = self._category()
        self.categories = (ItemCategory(self.behaviors.target.size, name='categories')
                           if self.category != self.behaviors.target else None)
        self.encoder = TransformerEncoder(options.short_length, options.heads,
                                          options.head_dim, name='encoder')
        self.hash = LocalitySensitiveHash(options.hash_bits, name='hash')
        self.attention = {name: TargetAttention(options.heads, options.head_dim,
                                                name=f'attention_{name}')
                          for name in ('short', 'sim', 'eta')}
        self.hidden = [keras.layers.Dense(units, _activation(self), name=f'hidden_{i}')
                       for i, units in enumerate(config.hidden_units)]
        self.dropouts = [Dropout(config.dropout, seed=10 + i) for i in range(len(self.hidden))]
        self.head = keras.layers.Dense(1, name='head')

    def attend(self, inputs: Inputs, training: bool) -> dict[str, tf.Tensor]:
        history, target_name = (feature.name for feature in self.behaviors)
        sequence, target = inputs.sequences[history], field(self, inputs, target_name)
        searches = {'short': lambda: self._recent(sequence),
                    'sim': lambda: self._of_category(sequence, inputs, training),
                    'eta': lambda: self._alike(sequence, target)}
        attended = dict(inputs.attended)
        for name, search in searches.items():
            if name not in attended:
                behaviors = search()
                attended[name] = self.attention[name]((target, behaviors.vectors),
                                                      behaviors.mask)
        return attended

    def shareable(self) -> dict[str, keras.layers.Layer]:
        return {name: self.attention[name] for name in ('sim', 'eta')}

    def tower_input(self, inputs: Inputs, training: bool) -> tf.Tensor:
        return tf.concat([flat_without(self, inputs, {self.behaviors.history.name}),
                          *(inputs.attended[name] for name in ('short', 'sim', 'eta'))],
                         axis=1)

    def _recent(self, sequence: Sequence) -> Sequence:
        length = self.options.short_length
        recent = Sequence(sequence.vectors[:, :length], sequence.mask[:, :length])
        return recent._replace(vectors=self.encoder(*recent))

    def _of_category(self, sequence: Sequence, inputs: Inputs, training: bool) -> Sequence:
        history, target = (inputs.ids[feature.name] for feature in self.behaviors)
        category = inputs.ids[self.category.name]
        if self.categories is None:
            scores = same_category(history, category)
        else:
            scores = same_category(
                self.categories(target, category, history, training=training),
                tf.cast(category, tf.int32))
        return most_similar(sequence, scores, self.options.retrieved)

    def _alike(self, sequence: Sequence, target: tf.Tensor) -> Sequence:
        scores = self.hash((target, sequence.vectors))
        return most_similar(sequence, scores, self.options.retrieved)

    def _behaviors(self) -> Behaviors:
        found = behaviors_of(self)
        name = self.options.history
        if name is None:
            items = [each for each in found if each.target.name == 'item_id'] or found
            return max(items, key=lambda each: each.history.length)
        for each in found:
            if each.history.name == name:
                return each
        raise UserError(f'model.options.history of {self.config.name} is {name}, which is no '
                        'history of the item; there are '
                        f'{", ".join(each.history.name for each in found)}.')

    def _category(self) -> Feature:
        target, name = self.behaviors.target, self.options.category
        choices = [feature for feature in self.features if feature.kind == 'categorical'
                   and feature.owner == 'item' and feature != target]
        if name is None:
            return choices[0] if choices else target
        for feature in choices:
            if feature.name == name:
                return feature
        raise UserError(f'model.options.category of {self.config.name} is {name}, which is no '
                        'other categorical feature of the item; there are '
                        f'{", ".join(feature.name for feature in choices) or "none"}.')


def _activation(model: TaobaoBase) -> str:
    """The name of Keras's activation.

    Raises:
        UserError: there is none of this name.
    """
    name = model.options.activation
    try:
        keras.activations.get(name)
    except ValueError:
        raise UserError(f'model.options.activation of {model.config.name} is {name}, which is '
                        'no activation of Keras.') from None
    return name
