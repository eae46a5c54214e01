"""A model with parameters of each domain's own, as it is exported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from trainer.frameworks.specific import SpecificParameters
from trainer.frameworks.substitute import OwnRows, substituted
from trainer.keras import tf
from trainer.models.base import CTRModel


class DomainModels:
    """The shared model and, folded into it, the specific parameters of every domain.

    Called as the model is, with rows of any mix of domains: each domain's rows go through the
    model by themselves, with Theta_i = theta_S + theta_i in the place of its variables. A
    dense variable is a table with a row for each domain that has a theta_i, and row 0, the
    shared one, for all others; of an embedding there are the rows that differ.

    Args:
        specific: the parameters, which are read once, now.
        model: what is exported, where it is a copy of the model that was trained.

    Attributes:
        features: of the model.
        shared: the model with theta_S.
        specific: the parameters, as they were given.
    """

    def __init__(self, specific: SpecificParameters, model: CTRModel | None = None):
        self.shared = self._model = model or specific.model
        self.specific, self._step = specific, specific.step
        self._exported = {id(trained): variable for trained, variable in zip(
            specific.model.variables, self._model.variables, strict=True)}
        self.features = specific.model.features
        count = len(specific.differences)
        self.num_domains = count
        have = [domain for domain, own in enumerate(specific.differences) if own.there]
        slots = np.zeros(count, np.int32)
        slots[have] = np.arange(1, len(have) + 1)
        self._slots = tf.constant(slots)
        self._dense: dict[int, tf.Variable] = {}
        self._rows: dict[int, tuple[tf.Variable, tf.Variable]] = {}
        if have:
            self._fold(specific, have)

    @property
    def trainable_variables(self) -> list[tf.Variable]:
        """Whose values the export counts: the shared ones and the specific ones."""
        return [*self._model.trainable_variables, *self._dense.values(),
                *(values for _, values in self._rows.values())]

    def fold(self) -> None:
        """There is nothing more to fold: domains are folded when this is made."""

    def unfold(self) -> None:
        """Undoes `fold`."""

    def __call__(self, features: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Logits [batch]; `domain` is a scalar or [batch], ids outside the known ones are 0."""
        if training:
            raise ValueError('DomainModels is for inference.')
        domain = tf.cast(features['domain'], tf.int32)
        domain = tf.where((domain >= 0) & (domain < self.num_domains), domain, 0)
        if domain.shape.rank == 0:
            return self._of_domain(features, domain)
        order = tf.argsort(domain, stable=True)
        inputs = {feature.name: tf.gather(features[feature.name], order)
                  for feature in self.features}
        present, _, counts = tf.unique_with_counts(tf.gather(domain, order))
        ends = tf.cumsum(counts)
        logits = tf.TensorArray(tf.float32, size=tf.size(present), infer_shape=False,
                                element_shape=[None])

        def body(i, logits):
            rows = {name: ids[ends[i] - counts[i]:ends[i]] for name, ids in inputs.items()}
            return i + 1, logits.write(i, self._of_domain(rows, present[i]))
        _, logits = tf.while_loop(lambda i, _: i < tf.size(present), body, (0, logits),
                                  parallel_iterations=4)
        return tf.gather(tf.ensure_shape(logits.concat(), [None]),
                         tf.math.invert_permutation(order))

    def _of_domain(self, features, domain):
        slot = tf.gather(self._slots, domain)
        values: dict[int, Any] = {}
        for variable in self._replaced():
            if id(variable) in self._dense:
                values[id(variable)] = tf.gather(self._dense[id(variable)], slot)
            else:
                values[id(variable)] = OwnRows(variable, *self._rows[id(variable)], slot)
        with substituted(self._model, values):
            return self._model({**features, 'domain': domain}, training=False)

    def _replaced(self) -> Iterator[tf.Variable]:
        return (variable for variable in self._model.variables
                if id(variable) in self._dense or id(variable) in self._rows)

    def _fold(self, specific: SpecificParameters, have: list[int]) -> None:
        step = self._step
        differences = [specific.differences[domain] for domain in have]
        for place, variable in enumerate(
                self._of(step.variables[dense]) for dense in step.dense_places):
            own = np.stack([difference.dense[place] for difference in differences])
            self._add_dense(variable, own, specific.follow)
        for place, variable in enumerate(map(self._of, specific.extra)):
            own = np.stack([difference.extra[place] for difference in differences])
            self._add_dense(variable, own, follow=False)
        for place, variable in enumerate(
                self._of(step.variables[rows]) for rows in step.row_places):
            blocks = [difference.rows[place] for difference in differences]
            numbers = [block.numbers.numpy() for block in blocks]
            keys = np.concatenate([
                slot * variable.shape[0] + rows for slot, rows in enumerate(numbers, 1)])
            values = np.concatenate([block.values for block in blocks])
            if specific.follow:
                values = tf.gather(variable, np.concatenate(numbers)).numpy() + values
            order = np.argsort(keys)
            keys, values = keys[order], np.asarray(values)[order]
            if len(keys):
                self._rows[id(variable)] = (
                    tf.Variable(keys.astype(np.int64), trainable=False),
                    tf.Variable(values, trainable=False))

    def _of(self, variable: tf.Variable) -> tf.Variable:
        """What stands for a variable that was trained in the exported model."""
        return self._exported[id(variable)]

    def _add_dense(self, variable: tf.Variable, own: np.ndarray, follow: bool) -> None:
        shared = variable.numpy()[None]
        self._dense[id(variable)] = tf.Variable(
            np.concatenate([shared, shared + own if follow else own]), trainable=False)
