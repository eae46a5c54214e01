"""Histories of a user's clicks in the source domain and in the target domains."""

from __future__ import annotations

from typing import NamedTuple

from mdctr.errors import UserError
from mdctr.manifest import Feature
from trainer.keras import tf
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.inputs.feature_embedding import EmbeddedSequence
from trainer.models.base import Inputs
from trainer.models.behaviors import find_behaviors
from trainer.models.transfer.cross_domain import CrossDomainModel


class Clicks(NamedTuple):
    """Histories of the same feature of the clicked items.

    Attributes:
        target: That feature of the row's own item.
        source: Histories of clicks in the source domain.
        targets: Histories of clicks in target domains.
    """

    target: Feature
    source: list[Feature]
    targets: list[Feature]


def find_clicks(model: CrossDomainModel) -> list[Clicks]:
    """Groups the model's histories by the feature of the item that they contain.

    The option `domains` of a history says where its clicks were: only in the source, or in one
    or more targets. Without any such history, the dataset's histories contain the clicks in all
    domains. They are then used for both, and source and targets differ only in their layers.

    Raises:
        UserError: There is no history of the item, none of the source, or none of a target.
    """
    behaviors = find_behaviors(model)
    source = model.parts[model.source_part - 1].name
    targets = {model.parts[number - 1].name for number in model.target_parts}
    by_domain = any(history.domains for history, _ in behaviors)
    groups: dict[str, Clicks] = {}
    for history, target in behaviors:
        clicks = groups.setdefault(target.name, Clicks(target, [], []))
        if not by_domain or history.domains == [source]:
            clicks.source.append(history)
        if not by_domain or (history.domains and targets.issuperset(history.domains)):
            clicks.targets.append(history)
    for domain in (source, *sorted(targets)):
        if by_domain and not any(
            domain in history.domains
            for clicks in groups.values()
            for history in (clicks.source if domain == source else clicks.targets)
        ):
            raise UserError(
                f'The model {model.config.name} needs the clicks in the domain {domain} apart, '
                f'but the dataset {model.manifest.name} has no history of these: add one with '
                f'`domains: [{domain}]`.'
            )
    return [clicks for clicks in groups.values() if clicks.source or clicks.targets]


def history_sequences(inputs: Inputs, histories: list[Feature]) -> list[EmbeddedSequence]:
    """Returns the embedded sequences of histories."""
    return [inputs.sequences[history.name] for history in histories]


def visibility(model: CrossDomainModel, history: Feature, parts: DomainBatch) -> tf.Tensor:
    """Computes which rows may read a history of targets.

    These are the rows of a target whose clicks it contains, and the rows of the source and of
    unseen domains.

    Returns:
        bool [batch, 1], or [1, 1] for a batch of one domain.
    """
    visible = [
        number not in model.target_parts
        or not history.domains
        or model.parts[number - 1].name in history.domains
        for number in range(model.num_parts)
    ]
    return tf.reshape(tf.gather(visible, parts.domain), [-1, 1])


def concatenate_sequences(sequences: list[EmbeddedSequence]) -> EmbeddedSequence:
    """Concatenates sequences along their length."""
    return EmbeddedSequence(
        tf.concat([sequence.vectors for sequence in sequences], axis=1),
        tf.concat([sequence.mask for sequence in sequences], axis=1),
    )
