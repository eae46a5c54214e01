"""Which category an item is of, learned from the rows that show it."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf


@keras.utils.register_keras_serializable('mdctr')
class ItemCategory(keras.layers.Layer):
    """A table from items to their categories.

    A row of the log holds the category of its own item, not those of the items in the user's
    history. Training remembers the former, in a variable that is saved, restored and exported;
    an item of which no row has been seen has category 0, unknown.

    Args:
        items: ids are below it.
    """

    def __init__(self, items: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.items = items

    def build(self, input_shape: Any) -> None:
        self.category = self.add_weight('category', (self.items,), dtype=tf.int32,
                                        initializer='zeros', trainable=False)
        super().build(input_shape)

    def call(self, item: tf.Tensor, category: tf.Tensor, behaviors: tf.Tensor,
             training: bool = False) -> tf.Tensor:
        """Categories of the items in the history, int32 [batch, length].

        Args:
            item: ids of the rows' items, [batch]; of ids out of range, 0 is meant.
            category: of those items, [batch].
            behaviors: item ids, [batch, length].
            training: whether the rows' items are remembered.
        """
        if training:
            known = self._known(item)
            category = tf.where(known > 0, tf.cast(category, tf.int32), 0)
            self.category.scatter_update(tf.IndexedSlices(category, known))
        return tf.gather(self.category, self._known(behaviors))

    def _known(self, ids: tf.Tensor) -> tf.Tensor:
        ids = tf.cast(ids, tf.int32)
        return tf.where((ids > 0) & (ids < self.items), ids, 0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'items': self.items}
