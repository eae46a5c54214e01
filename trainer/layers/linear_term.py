"""The linear part of wide and deep models: a weight for every id."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from beam_jobs.dataset import Feature
from trainer.keras import keras, tf
from trainer.layers.domain_feature import DomainFeature
from trainer.layers.domain_layer import DomainLayer
from trainer.layers.domain_rows import DomainRows
from trainer.layers.feature_embedding import FeatureEmbedding


@keras.utils.register_keras_serializable('mdctr')
class LinearTerm(DomainLayer):
    """<w, x> over the sparse vector x of all features' ids, without a bias.

    The first-order part of Wide & Deep (Cheng et al. 2016, 3.1), factorization machines and
    DeepFM (equation 2), NFM (equation 2). A sequence counts with the mean of its ids' weights,
    as its embedding is the mean of their embeddings.

    Args:
        features: of the dataset's manifest.
        num_domains: the domains, and in row 0 the unseen ones.
        domain_feature: the domain has a weight too, an unseen one's staying zero.
        l2: weight of the mean square of a row's weights in the loss.
        id_dropout: the share of ids that training takes for unseen.
        seed: of `id_dropout`; that of the embedding drops the same ids as the embedding.

    Shapes: a dictionary of ids by feature name, as `FeatureEmbedding` takes, to [batch].
    """

    def __init__(self, features: list[Feature], num_domains: int, domain_feature: bool = False,
                 l2: float = 0.0, id_dropout: float = 0.0, seed: int = 0, **kwargs: Any):
        super().__init__(num_domains, **kwargs)
        self.weight_of = FeatureEmbedding(features, 1, l2=l2, id_dropout=id_dropout, seed=seed,
                                          name='weights')
        self.weight_of_domain = (DomainFeature(num_domains, 1, name='domain_weights')
                                 if domain_feature else None)

    def compute(self, inputs: dict[str, tf.Tensor], rows: DomainRows,
                training: bool) -> tf.Tensor:
        weights = self.weight_of(inputs, training=training).fields
        if self.weight_of_domain is not None:
            weights = self.weight_of_domain(weights, rows)
        return tf.reduce_sum(weights, axis=[1, 2])

    def get_config(self) -> dict[str, Any]:
        weights = self.weight_of.get_config()
        return {**super().get_config(),
                'domain_feature': self.weight_of_domain is not None,
                'features': [asdict(feature) for feature in self.weight_of.features],
                **{key: weights[key] for key in ('l2', 'id_dropout', 'seed')}}
