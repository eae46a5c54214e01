"""Models that are trained on a source domain and on target domains together (CTNet 4.4)."""

from __future__ import annotations

from dataclasses import dataclass

from beam_jobs.dataset import Domain, Feature
from beam_jobs.errors import UserError
from trainer.keras import tf
from trainer.layers.domain_feature_embedding import DomainFeatureEmbedding
from trainer.layers.domain_rows import DomainRows
from trainer.layers.feature_embedding import Embedded, FeatureEmbedding
from trainer.models.base import CTRModel, Inputs


class CrossDomainModel(CTRModel):
    """A model with a source domain and one or more target domains.

    Its own layers know these domains as parts: part 0 is every other domain, unseen ones among
    them, and the others follow in the order of their ids. Where no option names domains, every
    domain is a part, and its id the part's number.

    The rows of source and targets are trained on together, by the `joint` framework. A model
    that is to know a source and a single target, as in CTNet's Table 2, names both, and is
    trained on the rows of these two (`domains` of the run); whatever other row it meets, it
    scores as one of an unseen domain.

    Attributes:
        parts: the domains that are parts, in order; `parts[n - 1]` is part n.
        source_part: the source's number.
        target_parts: the targets' numbers.
    """

    @dataclass(frozen=True)
    class Options(CTRModel.Options):
        """
        Attributes:
            source_domain: the name of the source domain; the dataset's first, which has most
                training examples, when absent.
            target_domain: the name of the target domain; every domain but the source when
                absent.
        """

        source_domain: str | None = None
        target_domain: str | None = None

    def build_inputs(self) -> None:
        domains = self.manifest.domains
        if len(domains) < 2:
            raise UserError(f'The model {self.config.name} transfers from a source domain to '
                            f'others, and {self.manifest.name} has one domain alone: choose '
                            'another model.')
        options = self.options
        source = self._named(options.source_domain, 'source_domain') or domains[0]
        target = self._named(options.target_domain, 'target_domain')
        if source == target:
            raise UserError(f'{source.name} is both source_domain and target_domain of '
                            f'{self.config.name}: name another for one of them.')
        self.parts = [domain for domain in domains if target in (None, domain)
                      or domain == source]
        self.source_part = 1 + self.parts.index(source)
        self.target_parts = [number for number, domain in enumerate(self.parts, 1)
                             if domain != source]
        super().build_inputs()

    @property
    def num_parts(self) -> int:
        """Rows of a variable of the parts."""
        return len(self.parts) + 1

    def part_numbers(self) -> list[int]:
        """The part of each domain id, [num_domains]."""
        numbers = [0] * self.num_domains
        for number, domain in enumerate(self.parts, 1):
            numbers[domain.id] = number
        return numbers

    def rows_of_parts(self, rows: DomainRows) -> DomainRows:
        """The parts of a batch's rows, which are sorted by them too."""
        if self.num_parts == self.num_domains:
            return rows
        return DomainRows(tf.gather(self.part_numbers(), rows.domain), self.num_parts)

    def look_up(self, features: dict[str, tf.Tensor], training: bool = False,
                attended: dict[str, tf.Tensor] | None = None) -> Inputs:
        if self.num_parts < self.num_domains:
            domain = tf.cast(tf.convert_to_tensor(features['domain']), tf.int32)
            is_part = tf.reduce_any(
                tf.equal(domain[..., None], [part.id for part in self.parts]), axis=-1)
            features = {**features, 'domain': tf.where(is_part, domain, 0)}
        return super().look_up(features, training, attended)

    def user_features(self) -> list[Feature]:
        """What is known of a row's user, other than what was clicked.

        Raises:
            UserError: nothing.
        """
        return self._owned_by('user', 'user_id')

    def item_features(self) -> list[Feature]:
        """What is known of a row's item.

        Raises:
            UserError: nothing.
        """
        return self._owned_by('item', 'item_id')

    def _owned_by(self, owner: str, identity: str) -> list[Feature]:
        found = [feature for feature in self.features if not feature.history
                 and (feature.name == identity or feature.owner == owner)]
        if not found:
            raise UserError(f'The model {self.config.name} needs a feature of the {owner}: '
                            f'leave {identity} in (model.exclude).')
        return found

    def _named(self, name: str | None, option: str) -> Domain | None:
        if name is None:
            return None
        for domain in self.manifest.domains:
            if domain.name == name:
                return domain
        names = [domain.name for domain in self.manifest.domains]
        shown = ', '.join(names[:20]) + (', ...' if len(names) > 20 else '')
        raise UserError(f'model.options.{option} of {self.config.name} is {name}, which is no '
                        f'domain of {self.manifest.name}; it has {shown}.')


class OwnEmbeddings(CrossDomainModel):
    """A cross-domain model in which some features have embeddings of their own in each part.

    Subclasses say in `own_features` which.
    """

    def own_features(self) -> list[Feature]:
        """The features whose embeddings the parts do not share."""
        raise NotImplementedError

    def build_inputs(self) -> None:
        super().build_inputs()
        config, own = self.config, self.own_features()
        shared = [feature for feature in self.features if feature not in own]
        if not shared:
            raise UserError(f'The model {config.name} needs features of the user and others: '
                            'leave more in (model.exclude).')
        kwargs = {'l2': config.embedding_l2, 'id_dropout': config.id_dropout}
        self.embedding = FeatureEmbedding(shared, config.embedding_dim, seed=1, **kwargs)
        self.own_embedding = DomainFeatureEmbedding(
            own, config.embedding_dim, self.num_parts, seed=2, name='own_embedding', **kwargs)
        order = [feature.name for feature in (*shared, *own)]
        self.places = [order.index(feature.name) for feature in self.features]

    def embed(self, ids: dict[str, tf.Tensor], rows: DomainRows, training: bool) -> Embedded:
        shared = self.embedding(ids, training=training)
        own = self.own_embedding(ids, self.rows_of_parts(rows), training=training)
        fields = tf.concat([shared.fields, own.fields], axis=1)
        return Embedded(tf.gather(fields, self.places, axis=1),
                        {**shared.sequences, **own.sequences})
