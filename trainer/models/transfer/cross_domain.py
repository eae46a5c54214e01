"""Models that are trained on a source domain and on target domains together (CTNet 4.4)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from mdctr.errors import UserError
from mdctr.manifest import Domain, Feature
from trainer.keras import tf
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.inputs.domain_feature_embedding import DomainFeatureEmbedding
from trainer.layers.inputs.feature_embedding import EmbeddedFeatures, FeatureEmbedding
from trainer.models.base import CTRModel, Inputs


class CrossDomainModel(CTRModel):
    """Model with a source domain and one or more target domains.

    Its own layers number these domains as parts: part 0 is every other domain, including unseen
    ones, and the others follow in the order of their ids. If no option names domains, every
    domain is a part, and its id is the part's number.

    Rows of source and targets are trained together, by the `joint` framework. For a model of a
    source and a single target, as in CTNet's Table 2, name both and train on their rows
    (`domains` of the run); it scores all other rows as those of an unseen domain.

    Attributes:
        parts: Domains that are parts, in order; `parts[n - 1]` is part n.
        source_part: Number of the source.
        target_parts: Numbers of the targets.
    """

    class Options(CTRModel.Options):
        """Options of an architecture with a source and target domains."""

        source_domain: str | None = Field(
            default=None,
            description='Name of the source domain; the domain with most training examples if '
            'absent.',
        )
        target_domain: str | None = Field(
            default=None,
            description='Name of the target domain; every domain but the source if absent.',
        )

    options: Options

    def build_inputs(self) -> None:
        domains = self.manifest.domains
        if len(domains) < 2:
            raise UserError(
                f'The model {self.config.name} transfers from a source domain to others, but '
                f'{self.manifest.name} has only one domain: choose another model.'
            )
        options = self.options
        source = self._named(options.source_domain, 'source_domain') or domains[0]
        target = self._named(options.target_domain, 'target_domain')
        if source == target:
            raise UserError(
                f'{source.name} is both source_domain and target_domain of {self.config.name}: '
                'change one of them.'
            )
        self.parts = [
            domain for domain in domains if target in (None, domain) or domain == source
        ]
        self.source_part = 1 + self.parts.index(source)
        self.target_parts = [
            number for number, domain in enumerate(self.parts, 1) if domain != source
        ]
        super().build_inputs()

    @property
    def num_parts(self) -> int:
        """Number of rows of a variable of the parts."""
        return len(self.parts) + 1

    def part_numbers(self) -> list[int]:
        """Returns the part of each domain id, [num_domains]."""
        numbers = [0] * self.num_domains
        for number, domain in enumerate(self.parts, 1):
            numbers[domain.id] = number
        return numbers

    def batch_parts(self, domains: DomainBatch) -> DomainBatch:
        """Returns the parts of a batch's rows, by which they are sorted too."""
        if self.num_parts == self.num_domains:
            return domains
        return DomainBatch(tf.gather(self.part_numbers(), domains.domain), self.num_parts)

    def look_up(
        self,
        features: dict[str, tf.Tensor],
        training: bool = False,
        attended: dict[str, tf.Tensor] | None = None,
    ) -> Inputs:
        if self.num_parts < self.num_domains:
            domain = tf.cast(tf.convert_to_tensor(features['domain']), tf.int32)
            is_part = tf.reduce_any(
                tf.equal(domain[..., None], [part.id for part in self.parts]), axis=-1
            )
            features = {**features, 'domain': tf.where(is_part, domain, 0)}
        return super().look_up(features, training, attended)

    def user_features(self) -> list[Feature]:
        """Returns the features of the user other than histories.

        Raises:
            UserError: There is none.
        """
        return self._owned_by('user', 'user_id')

    def item_features(self) -> list[Feature]:
        """Returns the features of the item.

        Raises:
            UserError: There is none.
        """
        return self._owned_by('item', 'item_id')

    def _owned_by(self, owner: str, identity: str) -> list[Feature]:
        features = [
            feature
            for feature in self.features
            if not feature.history and (feature.name == identity or feature.owner == owner)
        ]
        if not features:
            raise UserError(
                f'The model {self.config.name} needs a feature of the {owner}: do not exclude '
                f'{identity} (model.exclude_features).'
            )
        return features

    def _named(self, name: str | None, option: str) -> Domain | None:
        if name is None:
            return None
        for domain in self.manifest.domains:
            if domain.name == name:
                return domain
        names = [domain.name for domain in self.manifest.domains]
        shown = ', '.join(names[:20]) + (', ...' if len(names) > 20 else '')
        raise UserError(
            f'model.options.{option} of {self.config.name} is {name}, which is not a domain of '
            f'{self.manifest.name}; it has {shown}.'
        )


class PartEmbeddingsModel(CrossDomainModel):
    """Cross-domain model in which some features have separate embeddings in each part.

    Subclasses name these features in `part_features`.
    """

    def part_features(self) -> list[Feature]:
        """Returns the features whose embeddings are not shared by the parts."""
        raise NotImplementedError

    def build_inputs(self) -> None:
        super().build_inputs()
        config, separate = self.config, self.part_features()
        shared = [feature for feature in self.features if feature not in separate]
        if not shared:
            raise UserError(
                f'The model {config.name} needs features of the user and others: exclude fewer '
                '(model.exclude_features).'
            )
        kwargs: dict[str, Any] = {'l2': config.embedding_l2, 'id_dropout': config.id_dropout}
        self.embedding = FeatureEmbedding(shared, config.embedding_dim, seed=1, **kwargs)
        self.own_embedding = DomainFeatureEmbedding(
            separate,
            config.embedding_dim,
            self.num_parts,
            seed=2,
            name='own_embedding',
            **kwargs,
        )
        order = [feature.name for feature in (*shared, *separate)]
        self.places = [order.index(feature.name) for feature in self.features]

    def embed(
        self, ids: dict[str, tf.Tensor], domains: DomainBatch, training: bool
    ) -> EmbeddedFeatures:
        shared = self.embedding(ids, training=training)
        separate = self.own_embedding(ids, self.batch_parts(domains), training=training)
        fields = tf.concat([shared.fields, separate.fields], axis=1)
        return EmbeddedFeatures(
            tf.gather(fields, self.places, axis=1), {**shared.sequences, **separate.sequences}
        )
