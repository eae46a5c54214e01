"""The linear part of wide and deep models: a weight for every id."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mdctr.manifest import Feature
from trainer.keras import keras, tf
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.domain_layer import DomainLayer
from trainer.layers.inputs.domain_feature import DomainFeature
from trainer.layers.inputs.feature_embedding import FeatureEmbedding


@keras.utils.register_keras_serializable('mdctr')
class LinearTerm(DomainLayer):
    """<w, x> over the sparse vector x of the ids of all features, without a bias.

    The first-order part of Wide & Deep (Cheng et al. 2016, 3.1), factorization machines and
    DeepFM (equation 2), and NFM (equation 2). A sequence contributes the mean of its ids'
    weights, as its embedding is the mean of their embeddings.

    Example:

    >>> features = [Feature('age', 'numeric', 'user', size=4)]
    >>> layer = LinearTerm(features, num_domains=3)
    >>> layer({'age': tf.constant([1, 3])}, tf.constant([1, 2])).shape
    TensorShape([2])

    Args:
        features: Features of the dataset's manifest.
        num_domains: Number of domains, including row 0 for unseen ones.
        domain_feature: Whether the domain has a weight too; that of unseen ones remains zero.
        l2: Weight in the loss of the mean squared weight of a row's ids.
        id_dropout: Rate at which training replaces ids by the unseen id.
        seed: Random seed of `id_dropout`; with that of an embedding, the same ids are
            replaced in both.

    Shapes: dictionary of ids by feature name, as for `FeatureEmbedding`, to [batch].
    """

    def __init__(
        self,
        features: list[Feature],
        num_domains: int,
        domain_feature: bool = False,
        l2: float = 0.0,
        id_dropout: float = 0.0,
        seed: int = 0,
        **kwargs: Any,
    ):
        super().__init__(num_domains, **kwargs)
        self.weight_of = FeatureEmbedding(
            features, 1, l2=l2, id_dropout=id_dropout, seed=seed, name='weights'
        )
        self.weight_of_domain = (
            DomainFeature(num_domains, 1, name='domain_weights') if domain_feature else None
        )

    def compute(
        self, inputs: dict[str, tf.Tensor], domains: DomainBatch, training: bool
    ) -> tf.Tensor:
        weights = self.weight_of(inputs, training=training).fields
        if self.weight_of_domain is not None:
            weights = self.weight_of_domain(weights, domains)
        return tf.reduce_sum(weights, axis=[1, 2])

    def get_config(self) -> dict[str, Any]:
        weights = self.weight_of.get_config()
        return {
            **super().get_config(),
            'domain_feature': self.weight_of_domain is not None,
            'features': [asdict(feature) for feature in self.weight_of.features],
            **{key: weights[key] for key in ('l2', 'id_dropout', 'seed')},
        }
