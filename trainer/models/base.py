"""Base class of all architectures: embeddings, normalization, auxiliary network, logit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mdctr.manifest import Feature, Manifest
from mdctr.settings import Settings, parse, to_mapping
from trainer.config import ModelConfig
from trainer.keras import keras, tf
from trainer.layers.basic.batch_normalization import WarmUpBatchNormalization
from trainer.layers.basic.layer_normalization import UnfusedLayerNormalization
from trainer.layers.domain.auxiliary_network import AuxiliaryNetwork
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.domain_layer import DomainLayer
from trainer.layers.domain.partitioned_normalization import PartitionedNormalization
from trainer.layers.inputs.domain_feature import DomainFeature
from trainer.layers.inputs.feature_embedding import (
    EmbeddedFeatures,
    EmbeddedSequence,
    FeatureEmbedding,
)
from trainer.layers.inputs.numeric_slopes import NumericSlopes


class Inputs(NamedTuple):
    """Inputs of an architecture's own network; rows are sorted by domain.

    Attributes:
        flat: Normalized output of `tower_input`: by default the concatenated fields,
            [batch, fields * dim].
        fields: Embedding of each feature, not normalized, [batch, fields, dim].
        sequences: Sequence features before pooling, by name.
        ids: Ids of the features, by name, for an architecture's own embeddings.
        domains: Domains of the rows, to be passed to layers.
        attended: Outputs [batch, dim] of the architecture's attentions, by name.
    """

    flat: tf.Tensor
    fields: tf.Tensor
    sequences: dict[str, EmbeddedSequence]
    ids: dict[str, tf.Tensor]
    domains: DomainBatch
    attended: dict[str, tf.Tensor] = {}  # noqa: RUF012


class CTRModel(keras.Model):
    """Model of the probability of a click.

    Subclasses implement `build_network` (the layers) and `network` (the logit).

    `call(features, training)` returns logits [batch]. `features` has ids by feature name,
    [batch] or for sequences [batch, length] padded with -1, and `domain`: a scalar if the whole
    batch is of one domain, which is faster, or [batch].

    The rows of mixed batches are sorted by domain here, once, before everything else, so that
    layers find the rows of a domain adjacent; the logits are returned in the batch's order.

    Args:
        manifest: Manifest of the dataset; its features and domains size the variables.
        config: Architecture and its hyper-parameters.
        options: Options of the architecture, from `config`.
        source: Trained model that this one is built on, for architectures that need one.

    Attributes:
        manifest: Manifest of the dataset, as the model knows it.
        config: Architecture and its hyper-parameters.
        options: Options of the architecture.
        source: Trained model that this one is built on, if any.
        features: Features of the dataset without the excluded ones.
        num_domains: Number of rows of per-domain variables.
        prior_logit: Scalar variable added to every logit; 0 unless `set_prior` set it.
        fields: Names of `Inputs.fields`, in order: the features, and `domain` last if it is a
            feature.
    """

    class Options(Settings):
        """Options of every architecture, in `model.options`."""

        domain_feature: bool = Field(
            default=False, description='Whether the domain is a feature with an embedding.'
        )
        auxiliary_units: int = Field(
            default=16, ge=1, description="Width of the auxiliary network's hidden layer."
        )

    options: Any

    NORMALIZATION: ClassVar[str] = 'bn'
    AUXILIARY: ClassVar[bool] = False
    NEEDS_SOURCE: ClassVar[bool] = False  # a trained model of another domain (CTNet 3.3)

    def __init__(
        self,
        manifest: Manifest,
        config: ModelConfig,
        options: Settings,
        source: Any = None,
    ):
        super().__init__(name=re.sub(r'\W', '_', config.name))
        self.manifest, self.config, self.options = manifest, config, options
        self.source = source
        self.num_domains = manifest.num_domains
        self.features: list[Feature] = [
            feature
            for feature in manifest.features
            if feature.name not in config.exclude_features
        ]
        self.build_inputs()
        self.build_network()

    def build_inputs(self) -> None:
        """Creates the layers that `look_up` and `call` use."""
        config, options = self.config, self.options
        self.prior_logit = self.add_weight(
            'prior_logit',
            (),
            tf.float32,
            initializer='zeros',
            trainable=False,
            experimental_autocast=False,
        )
        self.base_logit = self.prior_logit  # its path in checkpoints of earlier versions
        self.embedding = FeatureEmbedding(
            self.features,
            config.embedding_dim,
            l2=config.embedding_l2,
            id_dropout=config.id_dropout,
            seed=1,
        )
        has_numbers = any(feature.kind == 'numeric' for feature in self.features)
        self.numeric_slopes = (
            NumericSlopes(self.features, config.embedding_dim, name='numeric_slopes')
            if config.numeric_slopes and has_numbers
            else None
        )
        self.domain_field = (
            DomainFeature(self.num_domains, config.embedding_dim, name='domain_feature')
            if options.domain_feature
            else None
        )
        self.fields = [
            *(feature.name for feature in self.features),
            *(['domain'] if options.domain_feature else []),
        ]
        self.normalization: Any = self.make_normalization(self.num_domains)
        has_auxiliary = (
            self.AUXILIARY if config.auxiliary_network is None else config.auxiliary_network
        )
        self.auxiliary = (
            AuxiliaryNetwork(
                self.num_domains,
                options.auxiliary_units,
                config.embedding_dim,
                name='auxiliary_network',
            )
            if has_auxiliary
            else None
        )

    def make_normalization(
        self, num_domains: int, name: str = 'normalization'
    ) -> keras.layers.Layer | None:
        """Makes a layer of the configured kind, or else of the architecture's."""
        kind = self.config.normalization
        return _normalization(self.NORMALIZATION if kind is None else kind, num_domains, name)

    @property
    def batches(self) -> Literal['domain', 'mixed']:
        """Kind of training batch that the model is made for.

        Batch normalization would be trained with the moments of one domain and used with those
        of all; every other model takes batches of one domain, which are faster.
        """
        mixed = isinstance(self.normalization, WarmUpBatchNormalization)
        return 'mixed' if mixed else 'domain'

    def build_network(self) -> None:
        """Creates the layers that `network` uses."""
        raise NotImplementedError

    def set_prior(self, log_odds: float) -> None:
        """Sets the base rate of an untrained model.

        If clicks are rare, learning it would take many steps. The effect is that of the bias
        of the last layer. It is shared by all domains, so that domain-specific parameters start
        neutral, and is not a parameter: no framework updates it or keeps one per domain.

        Args:
            log_odds: Log-odds of a click in the training data.
        """
        self.prior_logit.assign(log_odds)

    def tower_input(self, inputs: Inputs, training: bool) -> tf.Tensor:
        """Computes what is normalized to be `Inputs.flat`, [batch, units]; here, `inputs.flat`
        is the concatenated fields."""
        return inputs.flat

    def attend(self, inputs: Inputs, training: bool) -> dict[str, tf.Tensor]:
        """Computes the outputs of the architecture's attentions, [batch, dim], by name; those
        in `inputs.attended` are not computed again."""
        return dict(inputs.attended)

    def fuses_normalization(self, domains: DomainBatch, training: bool) -> bool:
        """Whether `network` applies the normalization, fused with its first layer, so that
        `Inputs.flat` is not normalized."""
        return False

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        """Computes the main network's logit, [batch]."""
        raise NotImplementedError

    def call(self, features: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        inputs = self.look_up(features, training)
        return self.logits(inputs, self.network(inputs, training))

    def logits(self, inputs: Inputs, logit: tf.Tensor) -> tf.Tensor:
        """Computes the model's logits, in the batch's order, from the main network's."""
        if self.auxiliary is not None:
            auxiliary = self.auxiliary(self._concatenated(inputs.fields), inputs.domains)
            logit += tf.squeeze(auxiliary, axis=1)  # STAR, equation 7
        return inputs.domains.unsort(tf.cast(logit, tf.float32)) + self.prior_logit

    def look_up(
        self,
        features: dict[str, tf.Tensor],
        training: bool = False,
        attended: dict[str, tf.Tensor] | None = None,
    ) -> Inputs:
        """Computes the inputs of `network`.

        Args:
            features: Features as for `call`.
            training: Whether the model is being trained.
            attended: Attentions that `attend` need not compute, in the batch's order.
        """
        domains = DomainBatch(tf.convert_to_tensor(features['domain']), self.num_domains)
        ids = {feature.name: domains.sort(features[feature.name]) for feature in self.features}
        embedded = self.embed(ids, domains, training)
        fields = embedded.fields
        if self.numeric_slopes is not None:
            fields = self.numeric_slopes(fields, ids)
        if self.domain_field is not None:
            fields = self.domain_field(fields, domains)
        inputs = Inputs(
            self._concatenated(fields),
            fields,
            embedded.sequences,
            ids,
            domains,
            {name: domains.sort(outputs) for name, outputs in (attended or {}).items()},
        )
        inputs = inputs._replace(attended=self.attend(inputs, training))
        flat = self.tower_input(inputs, training)
        if self.normalization is not None and not self.fuses_normalization(domains, training):
            flat = self.normalization(flat, domains, training=training)
        return inputs._replace(flat=flat)

    def embed(
        self, ids: dict[str, tf.Tensor], domains: DomainBatch, training: bool
    ) -> EmbeddedFeatures:
        """Looks up the embeddings of the features, in their order."""
        return self.embedding(ids, training=training)

    def _concatenated(self, fields: tf.Tensor) -> tf.Tensor:
        return tf.reshape(fields, [-1, len(self.fields) * self.config.embedding_dim])

    def summaries(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Computes what TensorBoard shows of a batch of one domain.

        Returns:
            Vectors with entries in [0, 1], by name; those of all domains become the rows of an
            image.
        """
        return {}

    def scalars(self, summaries: dict[str, NDArray[np.float32]]) -> dict[str, float]:
        """Computes what TensorBoard shows as curves, by name.

        Args:
            summaries: Summaries of all domains, [domains, entries], by name.
        """
        return {}

    def domain_embeddings(self) -> dict[str, tf.Variable]:
        """Embeddings of the domains, [num_domains, dim], by the name of their layer."""
        return {
            layer.name: layer.domain_vectors
            for layer in self.domain_layers()
            if layer.domain_vectors is not None
        }

    def layers_to_restore(
        self, other: CTRModel
    ) -> list[tuple[keras.layers.Layer, keras.layers.Layer]]:
        """Pairs (layer of this model, layer of `other`) whose weights are restored when
        continuing `other`; here, the whole models."""
        return [(self, other)]

    def remember(self) -> None:
        """Announces several epochs, from one to the next of which fixed outputs may be kept."""

    def make_variables(self) -> None:
        """Builds every layer by calling the model on two rows of unseen values."""
        self(self.example(), training=False)

    def example(self, rows: int = 2) -> dict[str, tf.Tensor]:
        """Returns rows of unseen values and empty sequences."""
        features = {
            feature.name: tf.fill([rows, feature.length], tf.constant(-1, tf.int64))
            if feature.kind == 'sequence'
            else tf.zeros([rows], tf.int64)
            for feature in self.features
        }
        return {**features, 'domain': tf.zeros([rows], tf.int64)}

    def domain_layers(self) -> Iterator[DomainLayer]:
        """Iterates over the layers that depend on the domain."""
        return (layer for layer in self._flatten_layers() if isinstance(layer, DomainLayer))

    def fold(self) -> None:
        """Precomputes what inference needs of each domain's weights (STAR 4.4)."""
        for layer in self.domain_layers():
            layer.fold()

    def unfold(self) -> None:
        """Undoes `fold`, which is necessary for further training."""
        for layer in self.domain_layers():
            layer.unfold()

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs, so that `save('model.keras')` can be loaded."""
        source = self.source
        return {
            'manifest': to_mapping(self.manifest),
            'model': to_mapping(self.config),
            'source': None if source is None else CTRModel.get_config(source),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Builds a model from `get_config`, with new weights."""
        from trainer.models import build_model

        source = None if config['source'] is None else CTRModel.from_config(config['source'])
        model: Self = build_model(
            parse(Manifest, config['manifest'], 'manifest'),
            parse(ModelConfig, config['model'], 'model'),
            source,
        )
        return model

    def get_build_config(self) -> None:
        """Returns nothing: `from_config` has built the variables."""


def _normalization(kind: str, num_domains: int, name: str) -> keras.layers.Layer | None:
    if kind == 'none':
        return None
    if kind == 'bn':
        return WarmUpBatchNormalization(name=name)
    if kind == 'ln':
        return UnfusedLayerNormalization(name=name)
    return PartitionedNormalization(num_domains, name=name)
