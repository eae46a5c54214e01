"""Sources of decoded rows, in the orders that batches need."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from trainer.data.columns import Columns


class MixedRows(NamedTuple):
    """Rows of several domains and the domain of each, int32 [rows]."""

    rows: Columns
    domain: np.ndarray


class RowSource(abc.ABC):
    """A source of the rows of some domains.

    What it yields depends on the arguments only, so that `start` continues an epoch without
    repeating a row.
    """

    @abc.abstractmethod
    def domain_batches(
        self, domain: int, epoch: int, size: int, seed: int, start: int
    ) -> Iterator[Columns]:
        """Yields shuffled batches of one domain, from batch `start` on."""

    @abc.abstractmethod
    def mixed_batches(
        self, epoch: int, size: int, seed: int, start: int
    ) -> Iterator[MixedRows]:
        """Yields shuffled batches of all domains, from batch `start` on."""

    @abc.abstractmethod
    def in_order(self, domain: int) -> Iterator[Columns]:
        """Yields the rows of a domain in file order, any number at a time."""
