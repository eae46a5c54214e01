"""STAR's equations in NumPy, row by row, for the tests of the layers."""

import numpy as np


def star_dense(x, domains, kernel, domain_kernel, bias, domain_bias):
    """Equations 5 and 6 before the activation; one row after another."""
    return np.stack(
        [
            (kernel * domain_kernel[p]).T @ row + bias + domain_bias[p]
            for row, p in zip(x, domains, strict=True)
        ]
    )


def star_dense_gradients(x, domains, kernel, domain_kernel, upstream):
    """Of sum(upstream * output), by hand: W, W_p, b, b_p and x."""
    by_kernel, by_domain = np.zeros_like(kernel), np.zeros_like(domain_kernel)
    by_domain_bias = np.zeros((len(domain_kernel), kernel.shape[1]))
    by_x = np.zeros_like(x)
    for i, (row, p) in enumerate(zip(x, domains, strict=True)):
        outer = np.outer(row, upstream[i])
        by_kernel += outer * domain_kernel[p]
        by_domain[p] += outer * kernel
        by_domain_bias[p] += upstream[i]
        by_x[i] = (kernel * domain_kernel[p]) @ upstream[i]
    return by_kernel, by_domain, upstream.sum(axis=0), by_domain_bias, by_x


def normalize(z, mean, variance, gamma, beta, epsilon):
    """Equations 1 to 4, given the moments."""
    return gamma * (z - mean) / np.sqrt(variance + epsilon) + beta


class MovingAverage:
    """Weighted mean of all batches so far, from a list of their weights.

    A batch starts with its number of rows as its weight. Before each later batch of n rows, all
    weights are multiplied by d = min(momentum, 1 - 2 n / (3 times their sum)), at least 0.
    """

    def __init__(self, units, momentum, start):
        self.momentum, self.start = momentum, np.full(units, start)
        self.weights, self.values = [], []

    @property
    def count(self):
        return sum(self.weights)

    def add(self, rows, value):
        if self.weights:
            kept = min(self.momentum, max(0.0, 1 - 2 * rows / (3 * self.count)))
            self.weights = [kept * weight for weight in self.weights]
        self.weights.append(float(rows))
        self.values.append(value)

    @property
    def value(self):
        if not self.weights:
            return self.start
        return np.average(self.values, axis=0, weights=self.weights)


class PartitionedNormalization:
    """Equations 3 and 4 with state, in float64."""

    def __init__(self, num_domains, units, momentum, epsilon):
        self.momentum, self.epsilon = momentum, epsilon
        self.gamma, self.beta = np.ones(units), np.zeros(units)
        self.domain_gamma = np.ones((num_domains, units))
        self.domain_beta = np.zeros((num_domains, units))
        self.means = [MovingAverage(units, momentum, 0.0) for _ in range(num_domains)]
        self.variances = [MovingAverage(units, momentum, 1.0) for _ in range(num_domains)]
        # Row 0's variance is that of the mixture: E[z^2] - E[z]^2.
        self.squares = MovingAverage(units, momentum, 1.0)

    @property
    def mean(self):
        return np.stack([average.value for average in self.means])

    @property
    def variance(self):
        overall = self.squares.value - self.means[0].value ** 2
        return np.stack([overall, *(average.value for average in self.variances[1:])])

    @property
    def count(self):
        return np.array([average.count for average in self.means])

    def averages(self, p):
        p = p if self.count[p] > 0 else 0
        return self.mean[p], self.variance[p]

    def infer(self, z, domains):
        return np.stack(
            [
                self._normalized(row, p, *self.averages(p))
                for row, p in zip(z, domains, strict=True)
            ]
        )

    def train(self, z, domains):
        outputs = np.zeros_like(z)
        moments = {p: self.averages(p) for p in np.unique(domains)}
        for p in np.unique(domains):
            rows = z[domains == p]
            if len(rows) >= 2:
                moments[p] = rows.mean(axis=0), rows.var(axis=0)
        for i, p in enumerate(domains):
            outputs[i] = self._normalized(z[i], p, *moments[p])
        for p in np.unique(domains):
            rows = z[domains == p]
            if p and len(rows) >= 2:
                self.means[p].add(len(rows), rows.mean(axis=0))
                self.variances[p].add(len(rows), rows.var(axis=0, ddof=1))
        if len(z) >= 2:
            self.means[0].add(len(z), z.mean(axis=0))
            self.squares.add(len(z), (z**2).mean(axis=0))
        return outputs

    def _normalized(self, row, p, mean, variance):
        return normalize(
            row,
            mean,
            variance,
            self.gamma * self.domain_gamma[p],
            self.beta + self.domain_beta[p],
            self.epsilon,
        )
