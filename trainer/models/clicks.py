"""A user's clicks in the source domain and in the target domains, told apart."""

from __future__ import annotations

from typing import NamedTuple

from beam_jobs.dataset import Feature
from beam_jobs.errors import UserError
from trainer.keras import tf
from trainer.layers.domain_rows import DomainRows
from trainer.layers.feature_embedding import Sequence
from trainer.models.base import Inputs
from trainer.models.behaviors import behaviors_of
from trainer.models.cross_domain import CrossDomainModel


class Clicks(NamedTuple):
    """Clicks that are remembered by the same feature of the item.

    Attributes:
        target: that feature of the row's own item.
        source: the histories of clicks in the source domain.
        targets: those of clicks in target domains.
    """

    target: Feature
    source: list[Feature]
    targets: list[Feature]


def clicks_of(model: CrossDomainModel) -> list[Clicks]:
    """The model's histories, a `Clicks` for each feature of the item that they remember.

    A history of the option `domains` tells where the clicks were: those in the source alone,
    and those in one or more targets. A dataset that has none of these has histories of clicks
    in all domains: those then stand for both, and only the layers tell source and target
    apart.

    Raises:
        UserError: there is no history of the item at all, none of the source, or none of a
            target.
    """
    found = behaviors_of(model)
    source = model.parts[model.source_part - 1].name
    targets = {model.parts[number - 1].name for number in model.target_parts}
    by_domain = any(each.history.domains for each in found)
    groups: dict[str, Clicks] = {}
    for history, target in found:
        clicks = groups.setdefault(target.name, Clicks(target, [], []))
        if not by_domain or history.domains == [source]:
            clicks.source.append(history)
        if not by_domain or (history.domains and targets.issuperset(history.domains)):
            clicks.targets.append(history)
    for domain in (source, *sorted(targets)):
        if by_domain and not any(
                domain in history.domains for clicks in groups.values()
                for history in (clicks.source if domain == source else clicks.targets)):
            raise UserError(f'The model {model.config.name} tells the clicks in the domain '
                            f'{domain} from others, and the dataset {model.manifest.name} has '
                            f'no history of these: give it one with `domains: [{domain}]`.')
    return [clicks for clicks in groups.values() if clicks.source or clicks.targets]


def sequences_of(inputs: Inputs, histories: list[Feature]) -> list[Sequence]:
    """The vectors and masks of histories."""
    return [inputs.sequences[history.name] for history in histories]


def visible(model: CrossDomainModel, history: Feature, parts: DomainRows) -> tf.Tensor:
    """Whether a row sees a history of targets, bool [batch, 1] (or [1, 1] for all): rows of a
    target that has clicks in it, and rows of the source and of unseen domains."""
    seen = [number not in model.target_parts or not history.domains
            or model.parts[number - 1].name in history.domains
            for number in range(model.num_parts)]
    return tf.reshape(tf.gather(seen, parts.domain), [-1, 1])


def joined(sequences: list[Sequence]) -> Sequence:
    """Sequences one after the other, as one."""
    return Sequence(tf.concat([each.vectors for each in sequences], axis=1),
                    tf.concat([each.mask for each in sequences], axis=1))
