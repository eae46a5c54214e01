"""Each algorithm with SGD against NumPy, step by step, for two epochs (MAMDR, algorithms 1-3)."""

import numpy as np
import pytest
from frameworks_by_hand import batches, gradient, two_parameters, values

from trainer.frameworks.order import domain_order, helper_domains

ALPHA = 0.1


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-6)


def follow(framework, expected):
    """Compares the model with `expected` (a generator) at every point of two epochs."""
    points = 0
    for epoch in range(2):
        for progress, theta in zip(framework.epoch(epoch), expected(epoch), strict=True):
            close(values(framework.model), theta)
            points += 1
            assert progress.rows > 0
    assert points >= 6


@pytest.mark.parametrize('size', [100, 3])
def test_alternate(tmp_path, size):
    framework = two_parameters(tmp_path, 'alternate', size)
    theta = np.array([0.5, -1.0])

    def expected(epoch):
        nonlocal theta
        for domain in domain_order(framework.examples, 3, epoch):
            for batch in batches(framework, domain, epoch):
                theta = theta - ALPHA * gradient(theta, batch)
                yield theta
    follow(framework, expected)


@pytest.mark.parametrize('size', [100, 3])
def test_domain_negotiation(tmp_path, size):
    framework = two_parameters(tmp_path, 'domain_negotiation', size, outer_rate=0.3)
    theta = np.array([0.5, -1.0])

    def expected(epoch):
        nonlocal theta
        inner, points = theta, []
        for domain in domain_order(framework.examples, 3, epoch):
            for batch in batches(framework, domain, epoch):
                inner = inner - ALPHA * gradient(inner, batch)  # equation 2
                points.append(inner)
        theta = theta + 0.3 * (inner - theta)  # equation 3
        yield from [*points[:-1], theta]
    follow(framework, expected)


def test_the_outer_update_by_adagrad_takes_the_difference_for_the_gradient(tmp_path):
    framework = two_parameters(tmp_path, 'domain_negotiation', outer_optimizer='adagrad',
                               outer_rate=0.2)
    theta, squares = np.array([0.5, -1.0]), np.array([0.1, 0.1])
    for epoch in range(3):
        list(framework.epoch(epoch))
        inner = theta
        for domain in domain_order(framework.examples, 3, epoch):
            for batch in batches(framework, domain, epoch):
                inner = inner - ALPHA * gradient(inner, batch)
        difference = theta - inner
        squares = squares + difference ** 2
        theta = theta - 0.2 * difference / np.sqrt(squares)
        close(values(framework.model), theta)


@pytest.mark.parametrize('inner_steps', [None, 2])
def test_reptile(tmp_path, inner_steps):
    framework = two_parameters(tmp_path, 'reptile', 3, outer_rate=0.4,
                               inner_steps=inner_steps)
    theta = np.array([0.5, -1.0])

    def expected(epoch):
        nonlocal theta
        for domain in domain_order(framework.examples, 3, epoch):
            mine = batches(framework, domain, epoch)
            k = inner_steps or len(mine)
            for first in range(0, len(mine), k):
                inner, loop = theta, mine[first:first + k]
                for place, batch in enumerate(loop):
                    inner = inner - ALPHA * gradient(inner, batch)
                    if place < len(loop) - 1:
                        yield inner
                theta = theta + 0.4 * (inner - theta)
                yield theta
    follow(framework, expected)


def specific_of(framework, domain):
    own = framework.specific.differences[domain]
    return np.array(own.dense, np.float64) if own.there else np.zeros(2)


def regularized(shared, theta, target_batch, helper_batches, gamma):
    """Algorithm 2, lines 2-7, each update one batch."""
    for batch in helper_batches:
        inner = theta  # line 3
        inner = inner - ALPHA * gradient(shared + inner, batch)  # line 4
        inner = inner - ALPHA * gradient(shared + inner, target_batch)  # line 5
        theta = theta + gamma * (inner - theta)  # line 6
    return theta


@pytest.mark.parametrize('name', ['domain_regularization', 'mamdr'])
def test_regularization(tmp_path, name):
    options = {'outer_rate': 0.3} if name == 'mamdr' else {}
    framework = two_parameters(tmp_path, name, helpers=2, regularization_rate=0.6, **options)
    beta = options.get('outer_rate', 1.0)
    theta = np.array([0.5, -1.0])
    specific = {1: np.zeros(2), 2: np.zeros(2), 3: np.zeros(2)}
    for epoch in range(2):
        progress = framework.epoch(epoch)
        order = domain_order(framework.examples, 3, epoch)
        inner = theta
        for place, domain in enumerate(order):
            inner = inner - ALPHA * gradient(inner, batches(framework, domain, epoch)[0])
            next(progress)
            if place < 2:
                close(values(framework.model), inner)
        theta = theta + beta * (inner - theta)
        close(values(framework.model), theta)
        for target in order:
            helpers = helper_domains(framework.examples, target, 2, 3, epoch)
            assert len(set(helpers)) == 2 and target not in helpers
            # A batch is a whole domain here: shuffling changes no mean.
            specific[target] = regularized(
                theta, specific[target], batches(framework, target, epoch)[0],
                [batches(framework, helper, epoch)[0] for helper in helpers], 0.6)
            next(progress)
            close(values(framework.model), theta)
            for domain in (1, 2, 3):
                close(specific_of(framework, domain), specific[domain])
        assert next(progress, None) is None


def test_predictions_are_of_shared_plus_specific(tmp_path):
    framework = two_parameters(tmp_path, 'mamdr', helpers=1)
    list(framework.epoch(0))
    shared = values(framework.model)
    for batch in framework.examples.in_order(100):
        theta = shared + specific_of(framework, int(batch['domain']))
        assert np.abs(theta - shared).max() > 1e-4
        close(framework.predict(batch), theta[0] * batch['age'] + theta[1])
    close(values(framework.model), shared)
