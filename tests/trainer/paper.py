"""STAR's equations in NumPy, row by row, for the tests of the layers."""

import numpy as np


def star_dense(x, domains, kernel, domain_kernel, bias, domain_bias):
    """Equations 5 and 6 before the activation; one row after another."""
    return np.stack([(kernel * domain_kernel[p]).T @ row + bias + domain_bias[p]
                     for row, p in zip(x, domains, strict=True)])


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


class PartitionedNormalization:
    """Equations 3 and 4 with state, in float64."""

    def __init__(self, num_domains, units, momentum, epsilon):
        self.momentum, self.epsilon = momentum, epsilon
        self.gamma, self.beta = np.ones(units), np.zeros(units)
        self.domain_gamma = np.ones((num_domains, units))
        self.domain_beta = np.zeros((num_domains, units))
        self.mean = np.zeros((num_domains, units))
        self.variance = np.ones((num_domains, units))
        self.count = np.zeros(num_domains)

    def averages(self, p):
        p = p if self.count[p] > 0 else 0
        return self.mean[p], self.variance[p]

    def infer(self, z, domains):
        return np.stack([self._normalized(row, p, *self.averages(p))
                         for row, p in zip(z, domains, strict=True)])

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
                keep = min(self.momentum, self.count[p] / (self.count[p] + 3))
                self.mean[p] = keep * self.mean[p] + (1 - keep) * rows.mean(axis=0)
                self.variance[p] = keep * self.variance[p] + (1 - keep) * rows.var(axis=0)
                self.count[p] += 1
        if len(z) >= 2:
            keep = min(self.momentum, self.count[0] / (self.count[0] + 3))
            # The variance of a mixture of the past, with weight `keep`, and this batch.
            second = (keep * (self.variance[0] + self.mean[0]**2)
                      + (1 - keep) * (z.var(axis=0) + z.mean(axis=0)**2))
            self.mean[0] = keep * self.mean[0] + (1 - keep) * z.mean(axis=0)
            self.variance[0] = second - self.mean[0]**2
            self.count[0] += 1
        return outputs

    def _normalized(self, row, p, mean, variance):
        return normalize(row, mean, variance, self.gamma * self.domain_gamma[p],
                         self.beta + self.domain_beta[p], self.epsilon)
