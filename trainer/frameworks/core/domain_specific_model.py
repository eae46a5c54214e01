"""A model with domain-specific parameters, as it is exported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from trainer.frameworks.core.domain_specific import DomainSpecificParameters
from trainer.frameworks.core.substitute import RowOverlay, substituted
from trainer.keras import tf
from trainer.models.base import CTRModel


class DomainSpecificModel:
    """The shared model with the specific parameters of every domain folded into it.

    It is called like the model, with rows of any mix of domains. Each domain's rows go through
    the model separately, with Theta_i = theta_S + theta_i in place of its variables. A dense
    variable becomes a table with a row for each domain that has a theta_i, and row 0, the
    shared values, for all other domains; of an embedding, only the differing rows are added.

    Args:
        specific: Domain-specific parameters, which are read in the constructor.
        model: Model to export, if it is a copy of the model that was trained.

    Attributes:
        features: Features of the model.
        num_domains: Number of domains.
        shared: Model with theta_S.
        domain_specific: Domain-specific parameters.
    """

    def __init__(self, specific: DomainSpecificParameters, model: CTRModel | None = None):
        self.shared = model or specific.model
        self.domain_specific = specific
        self._exported = {
            id(trained): exported
            for trained, exported in zip(
                specific.model.variables, self.shared.variables, strict=True
            )
        }
        self.features = specific.model.features
        self.num_domains = len(specific.deltas)
        domains = [domain for domain, delta in enumerate(specific.deltas) if delta.is_set]
        slots = np.zeros(self.num_domains, np.int32)
        slots[domains] = np.arange(1, len(domains) + 1)
        self._slots = tf.constant(slots)
        self._dense: dict[int, tf.Variable] = {}
        self._rows: dict[int, tuple[tf.Variable, tf.Variable]] = {}
        if domains:
            self._fold(domains)

    @property
    def trainable_variables(self) -> list[tf.Variable]:
        """Shared and specific variables, whose values the export counts."""
        return [
            *self.shared.trainable_variables,
            *self._dense.values(),
            *(values for _, values in self._rows.values()),
        ]

    def fold(self) -> None:
        """Does nothing: the constructor folds the domains."""

    def unfold(self) -> None:
        """Does nothing, as `fold`."""

    def __call__(self, features: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Returns logits, float32 [batch].

        Args:
            features: Ids by feature name, and `domain`, a scalar or [batch]; ids of unknown
                domains count as 0.
            training: Must be False.
        """
        if training:
            raise ValueError('DomainSpecificModel is for inference.')
        domain = tf.cast(features['domain'], tf.int32)
        domain = tf.where((domain >= 0) & (domain < self.num_domains), domain, 0)
        if domain.shape.rank == 0:
            return self._call_domain(features, domain)
        order = tf.argsort(domain, stable=True)
        inputs = {
            feature.name: tf.gather(features[feature.name], order) for feature in self.features
        }
        present, _, counts = tf.unique_with_counts(tf.gather(domain, order))
        ends = tf.cumsum(counts)
        logits = tf.TensorArray(
            tf.float32, size=tf.size(present), infer_shape=False, element_shape=[None]
        )

        def body(i: tf.Tensor, logits: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            rows = {name: ids[ends[i] - counts[i] : ends[i]] for name, ids in inputs.items()}
            return i + 1, logits.write(i, self._call_domain(rows, present[i]))

        _, logits = tf.while_loop(
            lambda i, _: i < tf.size(present), body, (0, logits), parallel_iterations=4
        )
        return tf.gather(
            tf.ensure_shape(logits.concat(), [None]), tf.math.invert_permutation(order)
        )

    def _call_domain(self, features: dict[str, tf.Tensor], domain: tf.Tensor) -> tf.Tensor:
        """Returns the logits of rows of one domain, a scalar."""
        slot = tf.gather(self._slots, domain)
        values: dict[int, Any] = {}
        for variable in self._replaced_variables():
            if id(variable) in self._dense:
                values[id(variable)] = tf.gather(self._dense[id(variable)], slot)
            else:
                values[id(variable)] = RowOverlay(variable, *self._rows[id(variable)], slot)
        with substituted(self.shared, values):
            return self.shared({**features, 'domain': domain}, training=False)

    def _replaced_variables(self) -> Iterator[tf.Variable]:
        return (
            variable
            for variable in self.shared.variables
            if id(variable) in self._dense or id(variable) in self._rows
        )

    def _fold(self, domains: list[int]) -> None:
        """Adds the specific parameters of domains, in order of their slots from 1."""
        specific, step = self.domain_specific, self.domain_specific.step
        deltas = [specific.deltas[domain] for domain in domains]
        for number, p in enumerate(step.dense_positions):
            own = np.stack([delta.dense[number] for delta in deltas])
            self._add_dense(self._exported_variable(step.variables[p]), own, specific.relative)
        for number, trained in enumerate(specific.extra):
            own = np.stack([delta.extra[number] for delta in deltas])
            self._add_dense(self._exported_variable(trained), own, relative=False)
        for number, p in enumerate(step.sparse_positions):
            variable = self._exported_variable(step.variables[p])
            blocks = [delta.rows[number] for delta in deltas]
            indices = [block.indices.numpy() for block in blocks]
            keys = np.concatenate(
                [slot * variable.shape[0] + rows for slot, rows in enumerate(indices, 1)]
            )
            values = np.concatenate([block.values for block in blocks])
            if specific.relative:
                values = tf.gather(variable, np.concatenate(indices)).numpy() + values
            order = np.argsort(keys)
            keys, values = keys[order], np.asarray(values)[order]
            if len(keys):
                self._rows[id(variable)] = (
                    tf.Variable(keys.astype(np.int64), trainable=False),
                    tf.Variable(values, trainable=False),
                )

    def _exported_variable(self, trained: tf.Variable) -> tf.Variable:
        """Returns the variable of the exported model for one of the trained model."""
        return self._exported[id(trained)]

    def _add_dense(self, variable: tf.Variable, own: np.ndarray, relative: bool) -> None:
        shared = variable.numpy()[None]
        self._dense[id(variable)] = tf.Variable(
            np.concatenate([shared, shared + own if relative else own]), trainable=False
        )
