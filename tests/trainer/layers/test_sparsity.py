"""The sparsity loss against AdaSparse's equations 9 and 10."""

import numpy as np
import pytest

from trainer.keras import tf
from trainer.layers.pruning.sparsity import sparsity_loss

R_MIN, R_MAX = 0.15, 0.25


def paper_loss(ratios, lambda_hat, weights=None):
    """Equation 9 with the weights of equation 10, or with given ones."""
    middle = (R_MIN + R_MAX) / 2
    if weights is None:
        weights = [0 if R_MIN <= r <= R_MAX else lambda_hat * abs(r - middle) for r in ratios]
    return sum(w * abs(r - middle) for w, r in zip(weights, ratios, strict=True)) / len(
        ratios
    ), weights


@pytest.mark.parametrize('ratios', [[0.0, 0.2, 0.9], [0.16, 0.24], [0.5], [0.1, 0.3, 1.0, 0.2]])
def test_loss_and_gradient(ratios):
    values = [tf.Variable(r, dtype=tf.float32) for r in ratios]
    with tf.GradientTape() as tape:
        loss = sparsity_loss(values, tf.constant(0.7), R_MIN, R_MAX)
    expected, weights = paper_loss(ratios, 0.7)
    assert float(loss) == pytest.approx(expected, abs=1e-6)
    for place, gradient in enumerate(tape.gradient(loss, values)):
        moved = [
            np.array(ratios) + sign * 1e-6 * (np.arange(len(ratios)) == place)
            for sign in (1, -1)
        ]
        # The weight is a weight: differences are taken with it held.
        sides = [paper_loss(each, 0.7, weights)[0] for each in moved]
        assert float(gradient) == pytest.approx((sides[0] - sides[1]) / 2e-6, abs=1e-5)
