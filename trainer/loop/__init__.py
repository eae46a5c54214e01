"""Parts of the training loop: steps, checkpoints, validation, TensorBoard."""
