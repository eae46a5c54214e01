"""The linear part of the architectures that have one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.layers.inputs.linear_term import LinearTerm

if TYPE_CHECKING:
    from trainer.models.base import CTRModel


def make_linear_term(model: CTRModel) -> LinearTerm:
    """Makes a layer with a weight for every id that `model` embeds.

    With `id_dropout`, the same ids are replaced in both.
    """
    config = model.config
    return LinearTerm(
        model.features,
        model.num_domains,
        model.options.domain_feature,
        l2=config.embedding_l2,
        id_dropout=config.id_dropout,
        seed=1,
        name='linear',
    )
