"""DomainAwarePruner against AdaSparse's equations 2 to 8."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from trainer.keras import keras, tf
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.pruning.domain_aware_pruner import DomainAwarePruner

UNITS, DIM, DOMAINS, EPSILON, BETA, ALPHA = 6, 3, 4, 0.25, 2.0, 3.0
FORMULATIONS = ('binarization', 'scaling', 'fusion')


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Paper:
    """Equations 2 to 8 and their slopes, straight through the threshold in the factors, and by
    alpha / 4 in the ratio; row by row."""

    def __init__(self, pruner, alpha):
        self.kernels = [
            None if kernel is None else kernel.numpy().astype(np.float64)
            for kernel in (pruner.context_kernel, pruner.hidden_kernel, pruner.bias)
        ]
        self.formulation, self.alpha = pruner.formulation, alpha

    def forward(self, hidden, aware):
        context, own, bias = self.kernels
        logits = aware @ context + bias + (0 if own is None else hidden @ own)
        if self.formulation == 'scaling':
            self.slope = BETA * sigmoid(logits) * (1 - sigmoid(logits))
            self.values, self.factors, self.kept = None, BETA * sigmoid(logits), None
        else:
            beta = BETA if self.formulation == 'fusion' else 1.0
            v = beta * sigmoid(self.alpha * logits)
            self.slope = v * (1 - v / beta) * self.alpha
            self.kept = np.where(v > EPSILON, 1.0, 0.0)
            self.factors = self.kept if self.formulation == 'binarization' else v * self.kept
        ratio = 0.0 if self.kept is None else 1 - self.kept.sum() / self.kept.size
        return hidden * self.factors, ratio

    def backward(self, hidden, aware, upstream, by_ratio):
        """Gradients of sum(upstream * outputs) + by_ratio * ratio."""
        context, own, _ = self.kernels
        by_logit = upstream * hidden * self.slope
        if self.kept is not None:
            by_logit -= by_ratio * self.alpha / 4 / self.kept.size
        by_hidden = upstream * self.factors
        if own is not None:
            by_hidden = by_hidden + by_logit @ own.T
        return (
            aware.T @ by_logit,
            None if own is None else hidden.T @ by_logit,
            by_logit.sum(axis=0),
            by_hidden,
            by_logit @ context.T,
        )


def make(formulation, reads_hidden=True):
    pruner = DomainAwarePruner(formulation, EPSILON, BETA, reads_hidden)
    pruner.build((tf.TensorShape([None, UNITS]), tf.TensorShape([None, DIM])))
    rng = np.random.default_rng(0)
    for variable in pruner.variables:
        variable.assign(rng.normal(size=variable.shape) * 0.6)
    return pruner


def rows(domains, seed=1):
    """h [batch, UNITS], the rows' domains, and e_d of every domain."""
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(len(domains), UNITS)).astype(np.float32),
        rng.normal(size=(DOMAINS, DIM)).astype(np.float32),
    )


@pytest.mark.parametrize('reads_hidden', [True, False])
@pytest.mark.parametrize('mixed', [True, False])
@pytest.mark.parametrize('formulation', FORMULATIONS)
def test_outputs_gradients_and_steps(formulation, mixed, reads_hidden):
    pruner = make(formulation, reads_hidden)
    alpha = tf.constant(ALPHA)
    for step in range(3):
        domains = np.array([1, 1, 3, 3, 3] if mixed else [2, 2, 2, 2])
        hidden, table = rows(domains, seed=step)
        of_rows = DomainBatch(tf.constant(domains if mixed else 2), DOMAINS)
        h, e = tf.constant(hidden), tf.constant(table)
        paper = Paper(pruner, ALPHA)
        outputs, ratio = paper.forward(hidden, table[domains])
        upstream = np.random.default_rng(9).normal(size=outputs.shape).astype(np.float32)
        with tf.GradientTape() as tape:
            tape.watch([h, e])
            found, factors = pruner((h, of_rows.gather(e)), of_rows, alpha)
            target = tf.reduce_sum(found * upstream) + 5.0 * factors.ratio
        assert_allclose(found, outputs, atol=1e-5)
        assert_allclose(factors.ratio, ratio, atol=1e-6)
        variables = [pruner.context_kernel, pruner.hidden_kernel, pruner.bias]
        gradients = tape.gradient(target, [v for v in variables if v is not None] + [h, e])
        expected = paper.backward(hidden, table[domains], upstream, 5.0)
        by_table = np.zeros_like(table)
        np.add.at(by_table, domains, expected[-1])
        expected = [each for each in (*expected[:-1], by_table) if each is not None]
        for one, other in zip(gradients, expected, strict=True):
            assert_allclose(tf.convert_to_tensor(one), other, atol=2e-4)
        for variable, gradient in zip(pruner.trainable_variables, gradients, strict=False):
            variable.assign_sub(0.1 * gradient)


@pytest.mark.parametrize('formulation', FORMULATIONS)
def test_an_embedding_a_row_gives_what_one_a_domain_gives(formulation):
    pruner, domains = make(formulation), np.array([0, 1, 1, 3])
    hidden, table = rows(domains)
    by_domain = DomainBatch(tf.constant(domains), DOMAINS)
    one, factors = pruner((hidden, by_domain.gather(table)), by_domain, ALPHA)
    other, _ = pruner((hidden, table[domains]), None, ALPHA)
    assert_allclose(one, other, atol=1e-6)
    for i, domain in enumerate(domains):  # and a row alone the same as among others
        alone, _ = pruner(
            (hidden[i : i + 1], table[domain : domain + 1]),
            DomainBatch(tf.constant(domain), DOMAINS),
            ALPHA,
        )
        assert_allclose(alone[0], one[i], atol=1e-6)
    assert np.isfinite(factors.factors).all()


def test_zeros_and_ones_are_exact():
    hidden, table = rows(np.zeros(200, int))
    for formulation, kept in (('binarization', {1.0}), ('fusion', None)):
        pruner = make(formulation)
        _, factors = pruner((hidden, table[:1]), DomainBatch(tf.constant(0), DOMAINS), ALPHA)
        values = factors.factors.numpy()
        assert 0.05 < (values == 0).mean() < 0.95
        if kept:
            assert set(values[values != 0].tolist()) == kept
        else:
            assert values[values != 0].min() > EPSILON and values.max() <= BETA
        assert float(factors.ratio) == pytest.approx((values == 0).mean(), abs=1e-6)


def test_scaling_prunes_nothing_and_its_slopes_are_true_ones():
    pruner = make('scaling')
    hidden, table = rows(np.zeros(5, int))
    where = DomainBatch(tf.constant(0), DOMAINS)
    with tf.GradientTape() as tape:
        outputs, factors = pruner((hidden, table[:1]), where, ALPHA)
        target = tf.reduce_sum(tf.sin(outputs))
    gradient = tape.gradient(target, pruner.bias).numpy()
    assert float(factors.ratio) == 0 and factors.factors.numpy().min() > 0
    slopes = []
    for place in range(UNITS):
        moved = np.eye(UNITS)[place] * 1e-2
        sides = []
        for sign in (1, -1):
            pruner.bias.assign_add(sign * moved)
            outputs, _ = pruner((hidden, table[:1]), where, ALPHA)
            sides.append(np.sum(np.sin(outputs.numpy().astype(np.float64))))
            pruner.bias.assign_sub(sign * moved)
        slopes.append((sides[0] - sides[1]) / 2e-2)
    assert_allclose(gradient, slopes, atol=2e-3)


def test_nothing_is_pruned_while_alpha_is_small():
    """An under-fitted model loses no neuron by accident: sigma(0.1 x) is far above epsilon."""
    hidden, table = rows(np.zeros(50, int))
    for formulation in FORMULATIONS:
        _, factors = make(formulation)(
            (hidden, table[:1]), DomainBatch(tf.constant(0), DOMAINS), tf.constant(0.1)
        )
        assert factors.factors.numpy().min() > 0


def test_gradients_of_gradients():
    """Frameworks like MAML differentiate a gradient; differences of the first order."""
    pruner = make('fusion')
    hidden, table = rows(np.zeros(5, int))
    where = DomainBatch(tf.constant(0), DOMAINS)

    def first_order():
        with tf.GradientTape() as tape:
            outputs, _ = pruner((hidden, table[:1]), where, ALPHA)
            target = tf.reduce_sum(tf.sin(outputs))
        return tape.gradient(target, pruner.bias)

    with tf.GradientTape() as outer:
        found = first_order()[0]
    gradient = outer.gradient(found, pruner.bias).numpy()
    step = np.eye(UNITS)[0].astype(np.float32) * 1e-3
    sides = []
    before = pruner.bias.numpy()
    for sign in (1, -1):
        pruner.bias.assign(before + sign * step)
        sides.append(float(first_order()[0]))
    assert gradient[0] == pytest.approx((sides[0] - sides[1]) / 2e-3, rel=0.1, abs=0.05)


def test_a_pruner_is_rebuilt_from_its_configuration():
    pruner = DomainAwarePruner('scaling', 0.1, 3.0, False)
    again = DomainAwarePruner.from_config(pruner.get_config())
    assert_array_equal([again.formulation, again.reads_hidden], ['scaling', False])
    assert (again.epsilon, again.beta) == (0.1, 3.0)
    with pytest.raises(ValueError, match='formulation'):
        DomainAwarePruner('hard')
    assert keras.utils.get_registered_name(DomainAwarePruner) == 'mdctr>DomainAwarePruner'
