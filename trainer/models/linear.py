"""The linear part of the architectures that have one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.layers.linear_term import LinearTerm

if TYPE_CHECKING:
    from trainer.models.base import CTRModel


def linear_term(model: CTRModel) -> LinearTerm:
    """A weight for every id that `model` embeds; dropped ids are dropped in both."""
    options = model.options
    return LinearTerm(model.features, model.num_domains, options.domain_feature,
                      l2=model.config.embedding_l2, id_dropout=options.id_dropout,
                      seed=1, name='linear')
