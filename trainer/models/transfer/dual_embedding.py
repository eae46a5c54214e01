"""Dual embedding, a method that CTNet is compared with (CTNet 4.4)."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from mdctr.errors import UserError
from mdctr.manifest import Manifest
from mdctr.settings import Settings
from trainer.config import ModelConfig
from trainer.data.vocabularies import id_features
from trainer.keras import keras, tf
from trainer.layers.inputs.feature_embedding import FeatureEmbedding
from trainer.models.base import CTRModel
from trainer.models.transfer.target_tower import TargetTowerModel, check_shared


@dataclass(frozen=True)
class SourceShape:
    """What a model keeps of its source: enough to build it again, without its weights."""

    manifest: Manifest
    config: ModelConfig
    source: None = None


class DualEmbedding(TargetTowerModel):
    """Target model with the ID embeddings of a source model as additional embeddings.

    The model has two embeddings of the user, the item and so on, its own and the source's.
    Both are normalized and enter the first hidden layer, and everything is trained:

        z_1 = psi(W [E; E^s] + b) = psi(W' E + W'' E^s + b)

    Values that the source model has not seen have its vector of unseen values. A model that is
    continued takes the additional embeddings of its new source.
    """

    NEEDS_SOURCE = True

    class Options(TargetTowerModel.Options):
        """Options of dual embedding."""

        id_features: list[str] = Field(
            default=[],
            description='ID features in addition to those of the vocabularies `user_id` and '
            "`item_id`, such as the item's category and seller in the paper.",
        )

    options: Options

    def __init__(
        self,
        manifest: Manifest,
        config: ModelConfig,
        options: Settings,
        source: CTRModel | SourceShape,
    ):
        super().__init__(manifest, config, options, SourceShape(source.manifest, source.config))
        if isinstance(source, CTRModel):
            self.make_variables()
            self.extra.copy_rows(source.embedding, self.id_names)

    def build_network(self) -> None:
        source = self.source
        features = [
            feature
            for feature in source.manifest.features
            if feature.name not in source.config.exclude_features
        ]
        check_shared(self.features, features, self.config.name)
        names = {feature.name for feature in self.features}
        self.id_names = [
            name for name in id_features(features, self.options.id_features) if name in names
        ]
        for name in self.options.id_features:
            if name not in self.id_names:
                raise UserError(
                    f'model.options.id_features of {self.config.name} names {name}, which is '
                    'not a feature of both the dataset and the source model.'
                )
        if not self.id_names:
            raise UserError(
                f'The source model of {self.config.name} has no ID embedding of a feature of '
                'this dataset: name some (model.options.id_features).'
            )
        self.extra = FeatureEmbedding(
            [feature for feature in features if feature.name in self.id_names],
            source.config.embedding_dim,
            l2=self.config.embedding_l2,
            name='extra_embedding',
        )
        self.extra_normalization = self.target.make_normalization(
            self.num_domains, name='extra_normalization'
        )
        self.extra_kernel = keras.layers.Dense(
            self.target.fully_connected().layers[0].units, use_bias=False, name='extra_kernel'
        )

    def call(self, features: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        inputs = self.target.look_up(features, training)
        fields = self.extra(
            {name: inputs.domains.sort(features[name]) for name in self.id_names},
            training=training,
        ).fields
        extra = tf.reshape(fields, [-1, len(self.id_names) * self.extra.dim])
        if self.extra_normalization is not None:
            extra = self.extra_normalization(extra, inputs.domains, training=training)
        first = self.extra_kernel(extra)
        logit = self.target.layer_outputs(
            inputs.flat, training, lambda level: first if level == 1 else None
        )[-1]
        return self.target.logits(inputs, tf.squeeze(logit, axis=1))

    def extra_layers(self) -> list[keras.layers.Layer]:
        normalization = self.extra_normalization
        return [self.extra_kernel, *([] if normalization is None else [normalization])]
