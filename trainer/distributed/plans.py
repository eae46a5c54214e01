"""What each inner loop of an epoch reads."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from trainer.distributed.loads import ROWS, Load, Slice
from trainer.examples import Examples, batch_cuts, even_cuts, row_order
from trainer.frameworks.order import batches_of, domain_order, generator, seed_of_pass

_SHARES, _PIECES, _BATCHES, _MIXED = range(200, 204)  # apart from the frameworks' own draws


class _Piece(NamedTuple):
    """Some batches of a domain, in the order in which a pass goes through them."""

    rows: Slice
    batches: int
    key: tuple[int, ...]


class Planner:
    """Deals an epoch's rows out to inner loops.

    A loop's share of a domain is some of its batches, so that a domain of one batch is in one
    loop only. With one loop for all of them its batches are those that one process trains on,
    as long as no domain has more rows than a worker decodes at once.

    Args:
        examples: the training split.
        size: rows a batch.
        seed: of the shuffling.
        rows: that a worker decodes at once, about.
    """

    def __init__(self, examples: Examples, size: int, seed: int, rows: int = ROWS):
        self._examples, self._size, self._seed = examples, size, seed
        self._in_piece = max(1, rows // size)

    def passes(self, epoch: int, part: int = 0, parts: int = 1) -> list[Load]:
        """Domain after domain, in an order that is the loop's own."""
        order = domain_order(self._examples, self._seed, epoch, *_key(part, parts))
        return [load for domain in order
                for piece in self._pieces(domain, epoch, self._seed, part, parts)
                for load in [self._load(domain, epoch, self._seed, piece)]]

    def in_proportion(self, epoch: int, kind: Literal['domain', 'mixed'], part: int,
                      parts: int) -> list[Load]:
        """One load of all domains, with its batches in random order."""
        slices, batches, before = [], [], 0
        for domain in self._examples.domains:
            for piece in self._pieces(domain, epoch, self._seed, part, parts):
                order = before + self._order(domain, epoch, self._seed, piece)
                slices.append(piece.rows)
                batches += _cut(order, piece.batches)
                before += len(order)
        draws = generator(self._seed, _MIXED if kind == 'mixed' else _BATCHES, epoch, part)
        if kind == 'mixed':
            batches = _cut(draws.permutation(before), -(-before // self._size))
        else:
            batches = [batches[place] for place in draws.permutation(len(batches))]
        return [Load(slices, batches)] if batches else []

    def turns(self, epoch: int, targets: Sequence[int], helpers: dict[int, list[int | None]],
              steps: dict[int, int]) -> Iterator[list[Load]]:
        """MAMDR's algorithm 2 for one target after another: a helper's batches, then the
        target's, for each of the helpers.

        Args:
            epoch: its number.
            targets: all of the epoch's, in order.
            helpers: of each target; None for a round without one.
            steps: batches of a turn, for each target.
        """
        taken: dict[int, int] = {}
        for target in targets:
            loads = []
            for helper in helpers[target]:
                loop = []
                if helper is not None:
                    loop += self._turn(helper, epoch, steps[target], taken)
                    loop[0].helps = loop[-1].helped = True
                loop += self._turn(target, epoch, steps[target], taken)
                loop[0].begins = loop[-1].ends = True
                loads += loop
            yield loads

    def _turn(self, domain: int, epoch: int, count: int,
              taken: dict[int, int]) -> list[Load]:
        """The next `count` batches of a domain's endless stream, as `order.Streams` has it."""
        loads: list[Load] = []
        first = taken.get(domain, 0)
        taken[domain] = first + count
        in_pass = batches_of(self._examples, domain, self._size)
        while first < taken[domain]:
            number, place = divmod(first, in_pass)
            seed = seed_of_pass(self._seed, number)
            for piece in self._pieces(domain, epoch, seed):
                wanted = min(piece.batches - place, taken[domain] - first)
                if wanted > 0:
                    load = self._load(domain, epoch, seed, piece)
                    load.batches = load.batches[place:place + wanted]
                    loads.append(load)
                    first += wanted
                place = max(0, place - piece.batches)
        return loads

    def _pieces(self, domain: int, epoch: int, seed: int, part: int = 0,
                parts: int = 1) -> list[_Piece]:
        cuts = batch_cuts(self._examples.count(domain), self._size)
        batches = len(cuts) - 1
        # Which loop gets the batches that cannot be shared evenly is drawn.
        shift = int(generator(seed, _SHARES, epoch, domain).integers(parts))
        mine, end = ((batches * part + shift) // parts for part in (part, part + 1))
        made = []
        while mine < end:
            last = min(mine + self._in_piece, end)
            key = () if last - mine == batches else (cuts[mine],)
            made.append(_Piece(Slice(domain, cuts[mine], cuts[last]), last - mine, key))
            mine = last
        generator(seed, _PIECES, epoch, domain, part).shuffle(made)
        return made

    def _load(self, domain: int, epoch: int, seed: int, piece: _Piece) -> Load:
        return Load([piece.rows], _cut(self._order(domain, epoch, seed, piece), piece.batches))

    def _order(self, domain: int, epoch: int, seed: int, piece: _Piece) -> np.ndarray:
        return row_order(piece.rows.last - piece.rows.first, seed, epoch, domain, *piece.key)


def _cut(order: np.ndarray, count: int) -> list[np.ndarray]:
    """So many batches of alike many rows."""
    return [order[first:last] for first, last in itertools.pairwise(
        even_cuts(len(order), count))]


def _key(part: int, parts: int) -> tuple[int, ...]:
    return () if parts == 1 else (part,)
