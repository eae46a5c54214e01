"""Counts the multiplications of a model's matrix products."""

from __future__ import annotations

from math import prod

from trainer.keras import tf
from trainer.models.base import CTRModel


def multiplications(model: CTRModel, batch: dict[str, tf.Tensor]) -> int:
    """Multiplications of the matrix products of one forward pass.

    Products in the branches of conditions and in loops are not counted, nor are products
    element by element.

    Args:
        model: Model with its variables built.
        batch: Batch of one domain.

    Raises:
        ValueError: The shape of a product is not known from those of the batch.
    """
    forward = tf.function(lambda features: model(features, training=True), autograph=False)
    operations = forward.get_concrete_function(batch).graph.get_operations()
    return sum(map(_multiplications_of, operations))


def _multiplications_of(operation: tf.Operation) -> int:
    shapes = [tensor.shape for tensor in operation.inputs]
    if operation.type == 'MatMul':
        inner = shapes[0][0 if operation.get_attr('transpose_a') else 1]
    elif operation.type in ('BatchMatMul', 'BatchMatMulV2', 'BatchMatMulV3'):
        inner = shapes[0][-2 if operation.get_attr('adj_x') else -1]
    elif operation.type == 'Einsum':
        labels = operation.get_attr('equation').decode().split('->')[0].split(',')
        sizes = {
            label: size
            for term, shape in zip(labels, shapes, strict=True)
            for label, size in zip(term, shape, strict=True)
        }
        return int(prod(sizes.values())) if len(labels) > 1 else 0
    else:
        return 0
    elements = operation.outputs[0].shape.num_elements()
    if inner is None or elements is None:
        raise ValueError(f'{operation.name} has no fixed shape: {shapes}')
    return int(elements * inner)
