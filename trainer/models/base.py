"""What all architectures share: embeddings, normalization, the auxiliary network, the logit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from beam_jobs.dataset import Feature, Manifest
from beam_jobs.options import setting
from trainer.config import ModelConfig
from trainer.keras import keras, tf
from trainer.layers.auxiliary_network import AuxiliaryNetwork
from trainer.layers.batch_normalization import BatchNormalization
from trainer.layers.domain_feature import DomainFeature
from trainer.layers.domain_layer import DomainLayer
from trainer.layers.domain_rows import DomainRows
from trainer.layers.feature_embedding import Embedded, FeatureEmbedding, Sequence
from trainer.layers.numeric_slopes import NumericSlopes
from trainer.layers.partitioned_normalization import PartitionedNormalization


class Inputs(NamedTuple):
    """What an architecture's own network gets; rows are sorted by domain.

    Attributes:
        flat: what `tower_input` gave, normalized; the fields side by side,
            [batch, fields * dim], unless an architecture has another.
        fields: a vector a feature as it was looked up, not normalized, [batch, fields, dim].
        sequences: the vectors behind the pooled sequences, by feature name.
        ids: of the features, by name, for embeddings of the architecture's own.
        rows: the rows' domains, to pass to layers.
        attended: outputs [batch, dim] of the architecture's attentions, by name.
    """

    flat: tf.Tensor
    fields: tf.Tensor
    sequences: dict[str, Sequence]
    ids: dict[str, tf.Tensor]
    rows: DomainRows
    attended: dict[str, tf.Tensor] = {}  # noqa: RUF012


class CTRModel(keras.Model):
    """A model of the probability of a click, of which subclasses write `build_network` (the
    layers) and `network` (the logit).

    `call(features, training)` gives logits [batch]. `features` has ids by name, [batch] or
    for sequences [batch, length] padded with -1, and `domain`: a scalar where the whole batch
    is of one domain, which is faster, or [batch].

    Mixed rows are sorted by domain here, once, before anything else, so that layers find a
    domain's rows side by side; the logits go back to the batch's own order.

    Attributes:
        manifest: of the dataset, as the model knows it.
        source: a trained model that this one was built on, where the architecture needs one.
        features: of the dataset, less the excluded ones.
        num_domains: rows of per-domain variables.
        base_logit: added to every logit, a scalar variable; 0 unless `start_at` set it.
        fields: the names behind `Inputs.fields`, in order: the features, and `domain` last
            where it is one.
    """

    @dataclass(frozen=True)
    class Options:
        """What every architecture takes in `model.options`.

        Attributes:
            domain_feature: the domain is one more feature with its own embedding.
            auxiliary_units: the width of the auxiliary network's hidden layer.
        """

        domain_feature: bool = False
        auxiliary_units: int = setting(16, minimum=1)

    NORMALIZATION: ClassVar[str] = 'bn'
    AUXILIARY: ClassVar[bool] = False

    def __init__(self, manifest: Manifest, config: ModelConfig, options: Options,
                 source: CTRModel | None = None):
        super().__init__(name=config.name)
        self.manifest, self.config, self.options = manifest, config, options
        self.source = source
        self.num_domains = manifest.num_domains
        self.features: list[Feature] = [feature for feature in manifest.features
                                        if feature.name not in config.exclude]
        self.build_inputs()
        self.build_network()

    def build_inputs(self) -> None:
        """Makes the layers that `look_up` and `call` use."""
        config, options = self.config, self.options
        self.base_logit = self.add_weight('base_logit', (), tf.float32, initializer='zeros',
                                          trainable=False, experimental_autocast=False)
        self.embedding = FeatureEmbedding(
            self.features, config.embedding_dim, l2=config.embedding_l2,
            id_dropout=config.id_dropout, seed=1)
        self.numeric_slopes = (NumericSlopes(self.features, config.embedding_dim,
                                             name='numeric_slopes')
                               if config.numeric_slopes and any(
                                   feature.kind == 'numeric' for feature in self.features)
                               else None)
        self.domain_field = (DomainFeature(self.num_domains, config.embedding_dim,
                                           name='domain_feature')
                             if options.domain_feature else None)
        self.fields = [*(feature.name for feature in self.features),
                       *(['domain'] if options.domain_feature else [])]
        self.normalization = self.make_normalization(self.num_domains)
        with_auxiliary = self.AUXILIARY if config.auxiliary is None else config.auxiliary
        self.auxiliary = (AuxiliaryNetwork(
            self.num_domains, options.auxiliary_units, config.embedding_dim,
            name='auxiliary_network') if with_auxiliary else None)

    def make_normalization(self, num_domains: int,
                           name: str = 'normalization') -> keras.layers.Layer | None:
        """A layer of the kind that the configuration asks for, or else the architecture."""
        kind = self.config.normalization
        return _normalization(self.NORMALIZATION if kind is None else kind, num_domains, name)

    @property
    def batches(self) -> Literal['domain', 'mixed']:
        """The kind of training batch that the model is made for.

        Batch normalization would be trained with one domain's moments and used with those of
        all; every other model takes the faster batches of one domain.
        """
        return 'mixed' if isinstance(self.normalization, BatchNormalization) else 'domain'

    def build_network(self) -> None:
        """Makes the layers that `network` uses."""
        raise NotImplementedError

    def start_at(self, log_odds: float) -> None:
        """Gives an untrained model the base rate of its data, which it would else take many
        steps to learn where clicks are rare.

        It is as if the bias of the last layer, where an architecture has one, were there. It
        is shared by all domains, so that what is a domain's own starts neutral, and is no
        parameter: no framework moves it or keeps a domain's own.
        """
        self.base_logit.assign(log_odds)

    def tower_input(self, inputs: Inputs, training: bool) -> tf.Tensor:
        """What is normalized and is `Inputs.flat` then, [batch, units]; `inputs.flat` is the
        fields side by side here."""
        return inputs.flat

    def attend(self, inputs: Inputs, training: bool) -> dict[str, tf.Tensor]:
        """The outputs of the architecture's attentions, [batch, dim], by name; those that
        `inputs.attended` has already are not computed again."""
        return dict(inputs.attended)

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        """The main network's logit, [batch]."""
        raise NotImplementedError

    def call(self, features: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        inputs = self.look_up(features, training)
        return self.logits(inputs, self.network(inputs, training))

    def logits(self, inputs: Inputs, logit: tf.Tensor) -> tf.Tensor:
        """The model's logits, in the batch's own order, of the main network's."""
        if self.auxiliary is not None:
            logit += tf.squeeze(self.auxiliary(self._flat(inputs.fields), inputs.rows),
                                axis=1)  # STAR, equation 7
        return self.from_base(inputs.rows, logit)

    def from_base(self, rows: DomainRows, logit: tf.Tensor) -> tf.Tensor:
        """Logits of sorted rows in the batch's own order, on top of the base rate's."""
        return rows.unsort(tf.cast(logit, tf.float32)) + self.base_logit

    def look_up(self, features: dict[str, tf.Tensor], training: bool = False,
                attended: dict[str, tf.Tensor] | None = None,
                normalized: bool = True) -> Inputs:
        """What `network` gets of a batch.

        Args:
            features: as of `call`.
            training: as of `call`.
            attended: what `attend` need not compute; in the batch's own order.
            normalized: whether `flat` is, or is left for who calls to normalize.
        """
        rows = DomainRows(tf.convert_to_tensor(features['domain']), self.num_domains)
        ids = {feature.name: rows.sort(features[feature.name]) for feature in self.features}
        embedded = self.embed(ids, rows, training)
        fields = embedded.fields
        if self.numeric_slopes is not None:
            fields = self.numeric_slopes(fields, ids)
        if self.domain_field is not None:
            fields = self.domain_field(fields, rows)
        inputs = Inputs(self._flat(fields), fields, embedded.sequences, ids, rows,
                        {name: rows.sort(of) for name, of in (attended or {}).items()})
        inputs = inputs._replace(attended=self.attend(inputs, training))
        flat = self.tower_input(inputs, training)
        if self.normalization is not None and normalized:
            flat = self.normalization(flat, rows, training=training)
        return inputs._replace(flat=flat)

    def embed(self, ids: dict[str, tf.Tensor], rows: DomainRows, training: bool) -> Embedded:
        """The vectors of the features, in their order."""
        return self.embedding(ids, training=training)

    def _flat(self, fields: tf.Tensor) -> tf.Tensor:
        return tf.reshape(fields, [-1, len(self.fields) * self.config.embedding_dim])

    def summaries(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """What TensorBoard shows of a batch of one domain: vectors with entries in [0, 1], of
        which the domains' are put together as the rows of an image, by name."""
        return {}

    def scalars(self, summaries: dict[str, np.ndarray]) -> dict[str, float]:
        """What TensorBoard shows as curves, by name.

        Args:
            summaries: of all domains, [domains, entries], by name.
        """
        return {}

    def domain_embeddings(self) -> dict[str, tf.Variable]:
        """Every embedding of the domains that a layer has, [num_domains, dim], by the layer's
        name."""
        return {layer.name: layer.domain_vectors for layer in self.domain_layers()
                if layer.domain_vectors is not None}

    def continued(self, other: CTRModel) -> list[tuple[keras.layers.Layer,
                                                       keras.layers.Layer]]:
        """What of another model this one goes on with, all of it here: layers of this model,
        each with the other's."""
        return [(self, other)]

    def remember(self) -> None:
        """Training goes over the same rows several times: what of a row's computation never
        changes, if anything, may be kept."""

    def make_variables(self) -> None:
        """Builds every layer, by calling the model on two rows of unseen values."""
        self(self.example(), training=False)

    def example(self, rows: int = 2) -> dict[str, tf.Tensor]:
        """Rows of unseen values and empty sequences."""
        features = {feature.name: tf.fill([rows, feature.length], tf.constant(-1, tf.int64))
                    if feature.kind == 'sequence' else tf.zeros([rows], tf.int64)
                    for feature in self.features}
        return {**features, 'domain': tf.zeros([rows], tf.int64)}

    def domain_layers(self) -> Iterator[DomainLayer]:
        """Every layer that depends on the domain."""
        return (layer for layer in self._flatten_layers() if isinstance(layer, DomainLayer))

    def fold(self) -> None:
        """Computes what inference needs of each domain's weights once (STAR 4.4)."""
        for layer in self.domain_layers():
            layer.fold()

    def unfold(self) -> None:
        """Undoes `fold`, which training after it needs."""
        for layer in self.domain_layers():
            layer.unfold()


def _normalization(kind: str, num_domains: int, name: str) -> keras.layers.Layer | None:
    if kind == 'none':
        return None
    if kind == 'bn':
        return BatchNormalization(name=name)
    if kind == 'ln':
        return LayerNormalization(name=name)
    return PartitionedNormalization(num_domains, name=name)


class LayerNormalization(keras.layers.LayerNormalization):
    """Keras's layer with the call of the others; the domain does not matter to it.

    Without batch normalization's fused kernel, by which Keras computes it: on CPUs TensorFlow
    2.16's writes beyond its memory when it normalizes two batches at once, as `DomainModels`
    does.
    """

    def _fused_can_be_used(self, ndims: int) -> bool:
        return False

    def call(self, inputs: tf.Tensor, domain: object = None,
             training: bool = False) -> tf.Tensor:
        return super().call(inputs)
