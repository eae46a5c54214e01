"""Dual embedding, to compare CTNet with (CTNet 4.4)."""

from __future__ import annotations

from dataclasses import dataclass

from beam_jobs.dataset import Manifest
from beam_jobs.errors import UserError
from beam_jobs.options import setting
from trainer.config import ModelConfig
from trainer.keras import keras, tf
from trainer.layers.feature_embedding import FeatureEmbedding
from trainer.models.base import CTRModel
from trainer.models.towered import Towered, check_shared
from trainer.vocabularies import id_features


@dataclass(frozen=True)
class SourceShape:
    """What remains of a source model when its embeddings have been taken."""

    manifest: Manifest
    config: ModelConfig
    source: None = None


class DualEmbedding(Towered):
    """The target model with the ID embeddings of a source model as extra embeddings.

    The model has two embeddings of the user, the item and so on, its own and the source's,
    which are normalized and enter the first hidden layer side by side; all of it is trained:

        z_1 = psi(W [E; E^s] + b) = psi(W' E + W'' E^s + b)

    Values that the source model had not seen have its vector of unseen ones. A model that is
    continued takes the extra embeddings of its new source.
    """

    @dataclass(frozen=True)
    class Options(Towered.Options):
        """
        Attributes:
            id_features: ID features beside those of the vocabularies `user_id` and `item_id`,
                such as the item's category and seller in the paper.
        """

        id_features: list[str] = setting([])

    def __init__(self, manifest: Manifest, config: ModelConfig, options: Options,
                 source: CTRModel | SourceShape):
        super().__init__(manifest, config, options,
                         SourceShape(source.manifest, source.config))
        if isinstance(source, CTRModel):
            self.make_variables()
            self.extra.copy_rows(source.embedding, self.id_names)

    def build_network(self) -> None:
        source = self.source
        features = [feature for feature in source.manifest.features
                    if feature.name not in source.config.exclude]
        check_shared(self.features, features, self.config.name)
        mine = {feature.name for feature in self.features}
        self.id_names = [name for name in id_features(features, self.options.id_features)
                         if name in mine]
        for name in self.options.id_features:
            if name not in self.id_names:
                raise UserError(f'model.options.id_features of {self.config.name} names {name},'
                                ' which is no feature of the dataset and of the source model.')
        if not self.id_names:
            raise UserError(f'The source model of {self.config.name} has no ID embedding of a '
                            'feature of this dataset: name some (model.options.id_features).')
        self.extra = FeatureEmbedding(
            [feature for feature in features if feature.name in self.id_names],
            source.config.embedding_dim, l2=self.config.embedding_l2, name='extra_embedding')
        self.extra_normalization = self.target.make_normalization(
            self.num_domains, name='extra_normalization')
        self.extra_kernel = keras.layers.Dense(
            self.target.fully_connected().layers[0].units, use_bias=False, name='extra_kernel')

    def call(self, features: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        inputs = self.target.look_up(features, training)
        fields = self.extra({name: inputs.rows.sort(features[name]) for name in self.id_names},
                            training=training).fields
        extra = tf.reshape(fields, [-1, len(self.id_names) * self.extra.dim])
        if self.extra_normalization is not None:
            extra = self.extra_normalization(extra, inputs.rows, training=training)
        first = self.extra_kernel(extra)
        logit = self.target.levels(inputs.flat, training,
                                   lambda level: first if level == 1 else None)[-1]
        return self.target.logits(inputs, tf.squeeze(logit, axis=1))

    def beside(self) -> list[keras.layers.Layer]:
        normalization = self.extra_normalization
        return [self.extra_kernel, *([] if normalization is None else [normalization])]
