"""The categories of the items in a history."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf


@keras.utils.register_keras_serializable('mdctr')
class ItemCategory(keras.layers.Layer):
    """Table of the items' categories, filled during training.

    A row of the log has the category of its own item, but not those of the items in the user's
    history. Training remembers the former in a variable, which is saved, restored and
    exported; an item that no row has shown has category 0, unknown.

    Example:

    >>> layer = ItemCategory(items=5)
    >>> item, category = tf.constant([3]), tf.constant([7])
    >>> layer(item, category, tf.constant([[3, 4]]), training=True).numpy().tolist()
    [[7, 0]]

    Args:
        items: Number of item ids, including 0.
    """

    def __init__(self, items: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.items = items

    def build(self, input_shape: Any) -> None:
        self.category = self.add_weight(
            'category', (self.items,), dtype=tf.int32, initializer='zeros', trainable=False
        )
        super().build(input_shape)

    def call(
        self, item: tf.Tensor, category: tf.Tensor, behaviors: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """Looks up the categories of the items in the history.

        Args:
            item: Item id of each row, [batch]; ids out of range count as 0.
            category: Category of these items, [batch].
            behaviors: Item ids of the history, [batch, length].
            training: Whether to remember the categories of `item`.

        Returns:
            Categories, int32 [batch, length].
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
