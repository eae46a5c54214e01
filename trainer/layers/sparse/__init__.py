"""Operations as `tf.sparse` products and lookups."""
