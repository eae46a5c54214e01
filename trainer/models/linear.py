"""The linear part of the architectures that have one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.layers.linear_term import LinearTerm

if TYPE_CHECKING:
    from trainer.models.base import CTRModel


def linear_term(model: CTRModel) -> LinearTerm:
    """A weight for every id that `model` embeds; dropped ids are dropped in both."""
    config = model.config
    return LinearTerm(model.features, model.num_domains, model.options.domain_feature,
                      l2=config.embedding_l2, id_dropout=config.id_dropout, seed=1,
                      name='linear')
