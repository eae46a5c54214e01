"""Each algorithm with SGD against NumPy, step by step, for two epochs."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tests.trainer.frameworks.frameworks_by_hand import (
    batches,
    examples_of,
    gradient,
    hessian,
    loss_of,
    two_parameters,
    values,
)
from trainer.frameworks.core.order import (
    domain_groups,
    domain_order,
    helper_domains,
    random_generator,
)
from trainer.frameworks.maml import halves
from trainer.frameworks.pcgrad import project

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
def test_alternate_steps_through_one_domain_after_another(tmp_path, size):
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
def test_domain_negotiation_moves_toward_the_end_of_a_pass_over_the_domains(tmp_path, size):
    framework = two_parameters(tmp_path, 'domain_negotiation', size, outer_learning_rate=0.3)
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
    framework = two_parameters(
        tmp_path, 'domain_negotiation', outer_optimizer='adagrad', outer_learning_rate=0.2
    )
    theta, squares = np.array([0.5, -1.0]), np.array([0.1, 0.1])
    for epoch in range(3):
        list(framework.epoch(epoch))
        inner = theta
        for domain in domain_order(framework.examples, 3, epoch):
            for batch in batches(framework, domain, epoch):
                inner = inner - ALPHA * gradient(inner, batch)
        difference = theta - inner
        squares = squares + difference**2
        theta = theta - 0.2 * difference / np.sqrt(squares)
        close(values(framework.model), theta)


@pytest.mark.parametrize('inner_steps', [None, 2])
def test_reptile_moves_toward_the_end_of_each_inner_loop(tmp_path, inner_steps):
    framework = two_parameters(
        tmp_path, 'reptile', 3, outer_learning_rate=0.4, inner_steps=inner_steps
    )
    theta = np.array([0.5, -1.0])

    def expected(epoch):
        nonlocal theta
        for domain in domain_order(framework.examples, 3, epoch):
            mine = batches(framework, domain, epoch)
            k = inner_steps or len(mine)
            for first in range(0, len(mine), k):
                inner, loop = theta, mine[first : first + k]
                for place, batch in enumerate(loop):
                    inner = inner - ALPHA * gradient(inner, batch)
                    if place < len(loop) - 1:
                        yield inner
                theta = theta + 0.4 * (inner - theta)
                yield theta

    follow(framework, expected)


def specific_of(framework, domain):
    own = framework.domain_specific.deltas[domain]
    return np.array(own.dense, np.float64) if own.is_set else np.zeros(2)


def regularized(shared, theta, target_batch, helper_batches, gamma):
    """Algorithm 2, lines 2-7, each update one batch."""
    for batch in helper_batches:
        inner = theta  # line 3
        inner = inner - ALPHA * gradient(shared + inner, batch)  # line 4
        inner = inner - ALPHA * gradient(shared + inner, target_batch)  # line 5
        theta = theta + gamma * (inner - theta)  # line 6
    return theta


@pytest.mark.parametrize('name', ['domain_regularization', 'mamdr'])
def test_domain_specific_parameters_move_by_algorithm_2(tmp_path, name):
    options = {'outer_learning_rate': 0.3} if name == 'mamdr' else {}
    framework = two_parameters(
        tmp_path, name, helper_domains=2, regularization_learning_rate=0.6, **options
    )
    beta = options.get('outer_learning_rate', 1.0)
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
                theta,
                specific[target],
                batches(framework, target, epoch)[0],
                [batches(framework, helper, epoch)[0] for helper in helpers],
                0.6,
            )
            next(progress)
            close(values(framework.model), theta)
            for domain in (1, 2, 3):
                close(specific_of(framework, domain), specific[domain])
        assert next(progress, None) is None


def test_predictions_are_of_shared_plus_specific(tmp_path):
    framework = two_parameters(tmp_path, 'mamdr', helper_domains=1)
    list(framework.epoch(0))
    shared = values(framework.model)
    for batch in framework.examples.in_order(100):
        theta = shared + specific_of(framework, int(batch['domain']))
        assert np.abs(theta - shared).max() > 1e-4
        close(framework.predict(batch), theta[0] * batch['age'] + theta[1])
    close(values(framework.model), shared)


def test_weighted_loss_learns_the_variance_of_each_domain(tmp_path):
    framework = two_parameters(tmp_path, 'weighted_loss', 3, max_weight=1.01)
    theta, s = np.array([0.5, -1.0]), np.zeros(4)
    bounded = 0
    for epoch in range(2):
        expected = framework.examples.epoch(epoch, 3, 'domain', 3)
        for _, batch in zip(framework.epoch(epoch), expected, strict=True):
            weight, loss = np.exp(-s[batch['domain']]), loss_of(theta, batch)
            theta = theta - ALPHA * weight * gradient(theta, batch)
            moved = s[batch['domain']] - ALPHA * (0.5 - weight * loss)
            s[batch['domain']] = np.clip(moved, -np.log(1.01), np.log(1.01))
            bounded += s[batch['domain']] != moved
            close(values(framework.model), theta)
            close(framework.step.log_variance.numpy(), s)
    assert bounded and s[0] == 0


def groups_of(framework, epoch):
    """The batches of each step of an epoch whose batches are whole domains."""
    made = domain_groups(framework.examples, epoch, 100, 3, framework.options.domains_per_step)
    assert sorted(itertools.chain(*made)) == [1, 2, 3]
    return [[batches(framework, domain, epoch)[0] for domain in group] for group in made]


def surgery(gradients, orders):
    """Yu et al., algorithm 1, as it is written there."""
    total = np.zeros(2)
    for i, own in enumerate(gradients):
        own = own.copy()
        for j in orders[i]:
            if own @ gradients[j] < 0:
                own -= own @ gradients[j] / (gradients[j] @ gradients[j]) * gradients[j]
        total += own
    return total


def test_pcgrad_steps_by_the_sum_of_projected_gradients(tmp_path):
    framework = two_parameters(tmp_path, 'pcgrad')
    theta, conflicts = np.array([0.5, -1.0]), 0
    for epoch in range(2):
        for (position, group), progress in zip(
            enumerate(groups_of(framework, epoch), 1), framework.epoch(epoch), strict=True
        ):
            gradients = [gradient(theta, batch) for batch in group]
            draws = random_generator(3, 110, epoch, position)
            orders = [
                draws.permutation([j for j in range(len(group)) if j != i])
                for i in range(len(group))
            ]
            conflicts += sum(a @ b < 0 for a in gradients for b in gradients)
            theta = theta - ALPHA * surgery(gradients, orders)
            close(values(framework.model), theta)
            close(
                progress.loss,
                np.average(
                    [
                        loss_of(theta + ALPHA * surgery(gradients, orders), batch)
                        for batch in group
                    ],
                    weights=[len(batch['click']) for batch in group],
                ),
            )
    assert conflicts


@pytest.mark.parametrize(
    'gradients, expected',
    [
        ([[2, 0], [1, 1]], [[2, 0], [1, 1]]),
        ([[1, 0], [-1, 1]], [[0.5, 0.5], [0, 1]]),
        ([[1, 0], [0, 0]], [[1, 0], [0, 0]]),
    ],
)
def test_pcgrad_projections_worked_out_on_paper(gradients, expected):
    gradients = np.array(gradients, float)
    projected = project(gradients @ gradients.T, np.random.default_rng(0)) @ gradients
    np.testing.assert_allclose(projected, expected)


def test_pcgrad_projections_equal_numpy_on_random_gradients():
    rng = np.random.default_rng(0)
    for seed in range(20):
        gradients = rng.normal(size=(5, 2))
        draws = np.random.default_rng(seed)
        orders = [draws.permutation([j for j in range(5) if j != i]) for i in range(5)]
        projected = project(gradients @ gradients.T, np.random.default_rng(seed)) @ gradients
        np.testing.assert_allclose(projected.sum(axis=0), surgery(gradients, orders))


def split_in_halves(batch):
    half = len(batch['click']) // 2
    return (
        {name: batch[name][:half] for name in ('age', 'click')},
        {name: batch[name][half:] for name in ('age', 'click')},
    )


@pytest.mark.parametrize('second_order', [False, True])
def test_maml_steps_by_the_query_gradients_after_a_trial_step(tmp_path, second_order):
    framework = two_parameters(
        tmp_path, 'maml', domains_per_step=2, inner_learning_rate=0.7, second_order=second_order
    )
    theta = np.array([0.5, -1.0])
    for epoch in range(2):
        for group, _ in zip(groups_of(framework, epoch), framework.epoch(epoch), strict=True):
            total = np.zeros(2)
            for batch in group:
                support, query = split_in_halves(batch)
                ahead = gradient(theta - 0.7 * gradient(theta, support), query)
                bend = 0.7 * hessian(theta, support) @ ahead if second_order else 0
                total += ahead - bend
            theta = theta - ALPHA * total
            close(values(framework.model), theta)


def test_maml_support_and_query_are_different_rows(tmp_path):
    framework = two_parameters(tmp_path, 'maml')
    for batch in framework.examples.epoch(0, 3):
        support, query = halves(batch)
        parts = [query] if support is None else [support, query]
        assert (support is None) == (len(batch['click']) == 1)
        assert abs(len(parts[0]['click']) - len(parts[-1]['click'])) <= 1
        for name in ('age', 'user_id', 'click'):
            np.testing.assert_array_equal(
                np.concatenate([part[name] for part in parts]), batch[name]
            )


@pytest.mark.parametrize('second_order', [False, True])
def test_mldg_adds_the_meta_test_gradient_after_a_trial_step(tmp_path, second_order):
    framework = two_parameters(
        tmp_path,
        'mldg',
        inner_learning_rate=0.7,
        meta_test_weight=0.5,
        second_order=second_order,
    )
    theta, tested = np.array([0.5, -1.0]), 0
    for epoch in range(2):
        for (position, group), _ in zip(
            enumerate(groups_of(framework, epoch), 1), framework.epoch(epoch), strict=True
        ):
            train, test = framework.split(group, (epoch, position))
            assert len(train) == max(1, len(group) - 1)
            domains = [[int(batch['domain']) for batch in part] for part in (train, test)]
            assert sorted(itertools.chain(*domains)) == sorted(
                int(batch['domain']) for batch in group
            )
            step = np.mean([gradient(theta, batch) for batch in train], axis=0)
            total = step
            for batch in test:
                ahead = gradient(theta - 0.7 * step, batch)
                bend = np.mean([hessian(theta, each) for each in train], axis=0) @ ahead
                total = total + 0.5 * (ahead - (0.7 * bend if second_order else 0))
                tested += 1
            theta = theta - ALPHA * total
            close(values(framework.model), theta)
    assert tested


def test_separate_models_see_their_own_domain_alone(tmp_path):
    framework = two_parameters(tmp_path, 'separate', 3)
    start = np.array([0.5, -1.0])
    theta = dict.fromkeys((1, 2, 3), start)
    for epoch in range(2):
        order = domain_order(framework.examples, 3, epoch)
        for domain, _ in zip(order, framework.epoch(epoch), strict=True):
            for batch in batches(framework, domain, epoch):
                theta[domain] = theta[domain] - ALPHA * gradient(theta[domain], batch)
            close(framework.domain_specific.deltas[domain].dense, theta[domain])
            close(values(framework.model), start)


def test_finetune_keeps_the_best_tuning_pass_of_each_domain(tmp_path):
    framework = two_parameters(
        tmp_path, 'finetune', 3, tuning_epochs=2, tuning_patience=2, tuning_learning_rate=0.3
    )
    for epoch in range(2):
        list(framework.epoch(epoch))
    shared = values(framework.model)
    validation = examples_of(tmp_path, split='validation')
    assert framework.finish(validation)
    close(values(framework.model), shared)
    for domain in (1, 2, 3):
        rows = next(validation.domain_epoch(domain, 0, 100))

        def auc(theta, rows=rows):
            scores = theta[0] * rows['age'] + theta[1]
            users = {user: rows['user_key'] == user for user in rows['user_key']}
            both = [mask for mask in users.values() if len(set(rows['click'][mask])) == 2]
            if not both:
                return roc_auc_score(rows['click'], scores)
            return np.average(
                [roc_auc_score(rows['click'][mask], scores[mask]) for mask in both],
                weights=[mask.sum() for mask in both],
            )

        candidates, theta = [shared], shared
        for epoch in range(2):
            for batch in framework.examples.domain_epoch(domain, epoch, 3, 4):
                theta = theta - 0.3 * gradient(theta, batch)
            candidates.append(theta)
        best = candidates[int(np.argmax([auc(each) for each in candidates]))]
        own = framework.domain_specific.deltas[domain]
        close(own.dense if own.is_set else shared, best)
