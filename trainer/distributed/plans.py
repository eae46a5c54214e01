"""Planning of an epoch: the chunks that each inner loop reads."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from trainer.data.batching import batch_boundaries, even_boundaries, row_permutation
from trainer.data.examples import Examples
from trainer.distributed.chunks import CHUNK_ROWS, Chunk, RowRange
from trainer.frameworks.core.order import (
    domain_order,
    num_domain_batches,
    pass_seed,
    random_generator,
)

_SHARES, _PIECES, _BATCHES, _MIXED = range(
    200, 204
)  # random streams other than the frameworks'


class _Piece(NamedTuple):
    """Consecutive batches of a domain.

    Attributes:
        rows: The rows.
        batches: Number of batches.
        key: Key of the random permutation of the rows, besides epoch and domain.
    """

    rows: RowRange
    batches: int
    key: tuple[int, ...]


class Planner:
    """Divides the batches of an epoch among inner loops.

    Loops share a domain by batches, so a domain of a single batch is in one loop only. If there
    is one loop, its batches are those of training in one process, provided that no domain has
    more rows than a worker decodes at once.

    Args:
        examples: Training split.
        size: Batch size in rows.
        seed: Random seed of the shuffling.
        rows: Approximate number of rows that a worker decodes at once.
    """

    def __init__(
        self, examples: Examples, size: int, seed: int, rows: int = CHUNK_ROWS
    ) -> None:
        self._examples, self._size, self._seed = examples, size, seed
        self._in_piece = max(1, rows // size)

    def domain_passes(self, epoch: int, part: int = 0, parts: int = 1) -> list[Chunk]:
        """Plans one loop that goes through the domains one by one, in its own random order.

        Args:
            epoch: Number of the epoch.
            part: Number of the loop.
            parts: Number of loops that share the epoch.
        """
        order = domain_order(self._examples, self._seed, epoch, *_key(part, parts))
        return [
            self._chunk(domain, epoch, self._seed, piece)
            for domain in order
            for piece in self._pieces(domain, epoch, self._seed, part, parts)
        ]

    def shuffled_pass(
        self, epoch: int, kind: Literal['domain', 'mixed'], part: int, parts: int
    ) -> list[Chunk]:
        """Plans one loop over all domains, with its batches in random order.

        Args:
            epoch: Number of the epoch.
            kind: Whether a batch holds rows of one domain or of all.
            part: Number of the loop.
            parts: Number of loops that share the epoch.

        Returns:
            A single chunk; none if the loop has no batches.
        """
        ranges: list[RowRange] = []
        batches: list[np.ndarray] = []
        before = 0
        for domain in self._examples.domains:
            for piece in self._pieces(domain, epoch, self._seed, part, parts):
                order = before + self._order(domain, epoch, self._seed, piece)
                ranges.append(piece.rows)
                batches += _cut(order, piece.batches)
                before += len(order)
        draws = random_generator(
            self._seed, _MIXED if kind == 'mixed' else _BATCHES, epoch, part
        )
        if kind == 'mixed':
            batches = _cut(draws.permutation(before), -(-before // self._size))
        else:
            batches = [batches[place] for place in draws.permutation(len(batches))]
        return [Chunk(ranges, batches)] if batches else []

    def regularization_turns(
        self,
        epoch: int,
        targets: Sequence[int],
        helpers: Mapping[int, Sequence[int | None]],
        steps: Mapping[int, int],
    ) -> Iterator[list[Chunk]]:
        """Plans MAMDR's algorithm 2: for each helper, its batches and then the target's.

        Args:
            epoch: Number of the epoch.
            targets: All target domains of the epoch, in order.
            helpers: Helper domains of each target; None for a round without a helper.
            steps: Number of batches of a turn, for each target.

        Yields:
            The chunks of one target.
        """
        taken: dict[int, int] = {}
        for target in targets:
            chunks: list[Chunk] = []
            for helper in helpers[target]:
                loop: list[Chunk] = []
                if helper is not None:
                    loop += self._turn(helper, epoch, steps[target], taken)
                    loop[0].starts_helper = loop[-1].ends_helper = True
                loop += self._turn(target, epoch, steps[target], taken)
                loop[0].starts_loop = loop[-1].ends_loop = True
                chunks += loop
            yield chunks

    def _turn(self, domain: int, epoch: int, count: int, taken: dict[int, int]) -> list[Chunk]:
        """Plans the next `count` batches of a domain's endless stream (`DomainStreams`)."""
        chunks: list[Chunk] = []
        first = taken.get(domain, 0)
        taken[domain] = first + count
        in_pass = num_domain_batches(self._examples, domain, self._size)
        while first < taken[domain]:
            number, place = divmod(first, in_pass)
            seed = pass_seed(self._seed, number)
            for piece in self._pieces(domain, epoch, seed):
                wanted = min(piece.batches - place, taken[domain] - first)
                if wanted > 0:
                    chunk = self._chunk(domain, epoch, seed, piece)
                    chunk.batches = chunk.batches[place : place + wanted]
                    chunks.append(chunk)
                    first += wanted
                place = max(0, place - piece.batches)
        return chunks

    def _pieces(
        self, domain: int, epoch: int, seed: int, part: int = 0, parts: int = 1
    ) -> list[_Piece]:
        """Divides a domain's rows of one loop into pieces, in random order."""
        cuts = batch_boundaries(self._examples.count(domain), self._size)
        batches = len(cuts) - 1
        # It is random which loops get a batch more where they cannot be divided evenly.
        shift = int(random_generator(seed, _SHARES, epoch, domain).integers(parts))
        first, end = ((batches * number + shift) // parts for number in (part, part + 1))
        pieces = []
        while first < end:
            last = min(first + self._in_piece, end)
            key = () if last - first == batches else (cuts[first],)
            rows = RowRange(domain, cuts[first], cuts[last])
            pieces.append(_Piece(rows, last - first, key))
            first = last
        random_generator(seed, _PIECES, epoch, domain, part).shuffle(pieces)
        return pieces

    def _chunk(self, domain: int, epoch: int, seed: int, piece: _Piece) -> Chunk:
        return Chunk([piece.rows], _cut(self._order(domain, epoch, seed, piece), piece.batches))

    def _order(self, domain: int, epoch: int, seed: int, piece: _Piece) -> np.ndarray:
        return row_permutation(
            piece.rows.last - piece.rows.first, seed, epoch, domain, *piece.key
        )


def _cut(order: np.ndarray, count: int) -> list[np.ndarray]:
    """Divides rows into `count` batches of nearly equal size."""
    return [
        order[first:last]
        for first, last in itertools.pairwise(even_boundaries(len(order), count))
    ]


def _key(part: int, parts: int) -> tuple[int, ...]:
    return () if parts == 1 else (part,)
