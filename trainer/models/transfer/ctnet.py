"""The Continual Transfer Network (CTNet 3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from pydantic import Field

from mdctr.errors import UserError
from mdctr.manifest import Feature
from trainer.keras import keras, tf
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.transfer.gated_adapter import GatedAdapter
from trainer.layers.transfer.linear_adapter import LinearAdapter
from trainer.loop.frozen_rows import FrozenRows
from trainer.models.behaviors import Behaviors
from trainer.models.mlp_network import MLPNetwork
from trainer.models.transfer.target_tower import TargetTowerModel, check_shared


class SourceOutputs(NamedTuple):
    """Outputs of the source tower for a batch.

    Attributes:
        levels: z^s_0, its input, and z^s_l of its hidden layers, [batch, units_l].
        attended: Outputs of the attentions that both towers share, by name.
    """

    levels: list[tf.Tensor]
    attended: dict[str, tf.Tensor]


class CTNet(TargetTowerModel):
    """Frozen source tower and trained target tower, with an adapter at every layer.

    CTNet, equation 4, with z^s_0 the normalized input of the source tower:

        z_l = psi(W_l z_{l-1} + b_l + g_l(z^s_{l-1}))

    The source tower is a complete trained model, as it scores: its embeddings, attentions,
    hidden layers and moments never change. The adapters g_l (equation 5) start so small that
    the model starts as its target tower; they and the target tower are trained. The logit
    counts as a layer of the MLP and has an adapter, without which the source's last hidden
    layer would not be used. If the source has fewer layers, its last one is used for the
    remaining adapters.

    Features that a tower's model does not know are empty to it; values and domains that the
    source model has not seen are unseen to it.

    With `share_attention` (4.7), the attentions of the target tower over long histories, SIM
    and ETA, are replaced by those of the source tower over the same history, which are then
    computed once. Each tower keeps its own short-term attention.
    """

    NEEDS_SOURCE = True

    class Options(TargetTowerModel.Options):
        """Options of CTNet."""

        adapter: Literal['gated', 'linear'] = Field(
            default='gated',
            description='Kind of the adapters: `gated`, or `linear` for the ablation without '
            'GLU.',
        )
        adapter_stddev: float = Field(
            default=1e-5,
            ge=0,
            description="Standard deviation of the adapters' initial weights.",
        )
        output_adapter: bool = Field(
            default=True, description='Whether the output layer has an adapter.'
        )
        share_attention: bool = Field(
            default=False,
            description="Whether the target tower uses the source tower's attentions over long "
            'histories (4.7).',
        )
        source_only_features: list[str] = Field(
            default=[], description='Features that only the source tower uses.'
        )
        source_cache_mib: int = Field(
            default=1024,
            ge=0,
            description='Maximum memory, in MiB, of the outputs of the source tower that are '
            'cached from one epoch to the next.',
        )

    options: Options

    frozen_rows: FrozenRows | None = None

    def excluded(self) -> list[str]:
        return self.options.source_only_features

    def build_network(self) -> None:
        if not isinstance(self.source, MLPNetwork):
            raise UserError(
                f'The source model of {self.config.name} is a {self.source.config.name}, which '
                'does not end in an MLP: use a source model of mlp, din or taobao_base.'
            )
        self.source.trainable = False
        check_shared(self.features, self.source.features, self.config.name)
        known = {
            feature.name for tower in (self.target, self.source) for feature in tower.features
        }
        self.features = [feature for feature in self.features if feature.name in known]
        kind = GatedAdapter if self.options.adapter == 'gated' else LinearAdapter
        layers = self.target.fully_connected().layers
        if not self.options.output_adapter:
            layers = layers[:-1]
        self.adapters = [
            kind(layer.units, self.options.adapter_stddev, name=f'adapter_{level}')
            for level, layer in enumerate(layers, 1)
        ]
        self.shared = self._shared() if self.options.share_attention else []
        for name in self.shared:
            self.target.shareable_attentions()[name].trainable = False
        # To a source without domain layers, all rows are of one domain, which is faster.
        self._source_sees_domain = any(
            layer is not self.source.auxiliary for layer in self.source.domain_layers()
        )

    def call(self, features: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        domain = tf.convert_to_tensor(features['domain'])
        domains = DomainBatch(domain, self.num_domains)
        inputs = {
            feature.name: domains.sort(features[feature.name]) for feature in self.features
        }
        inputs['domain'] = domains.sort(domain)
        if 'source_0' in features:  # cached by `frozen_rows`
            levels, attended = self._cached(features, domains)
        else:
            levels, attended = self.source_outputs(inputs)
        # The target tower's own sort leaves sorted rows in place, next to the source's.
        target = self.target.look_up(inputs, training, attended)

        def added(level: int) -> tf.Tensor | None:
            if level > len(self.adapters):
                return None
            return self.adapters[level - 1](levels[min(level, len(levels)) - 1])

        logit = self.target.layer_outputs(target.flat, training, added)[-1]
        return domains.unsort(self.target.logits(target, tf.squeeze(logit, axis=1)))

    def source_outputs(self, features: dict[str, tf.Tensor]) -> SourceOutputs:
        """Computes the frozen tower's part, without a gradient.

        Args:
            features: Features as for `call`; the source model ignores those it does not have.
        """
        source = self.source
        given = {feature.name for feature in self.features}
        first = features[self.features[0].name]
        ids = {
            feature.name: features[feature.name]
            if feature.name in given
            else _unseen(feature, first)
            for feature in source.features
        }
        domain = features['domain'] if self._source_sees_domain else tf.constant(0, tf.int32)
        inputs = source.look_up({**ids, 'domain': domain}, training=False)
        levels = source.layer_outputs(inputs.flat, training=False)[:-1]

        def output(values: tf.Tensor) -> tf.Tensor:
            return tf.stop_gradient(inputs.domains.unsort(values))

        return SourceOutputs(
            [output(level) for level in levels],
            {name: output(inputs.attended[name]) for name in self.shared},
        )

    def remember(self) -> None:
        """Makes training compute the source tower once for each row instead of in every epoch.

        `trainer.loop.step` adds the outputs of `frozen_rows` for a batch to its features.
        """

        def outputs(features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            levels, attended = self.source_outputs(dict(features))
            used = levels[: len(self.adapters)]
            return {
                **{f'source_{level}': values for level, values in enumerate(used)},
                **{f'attended_{name}': values for name, values in attended.items()},
            }

        self.frozen_rows = FrozenRows(
            outputs, self.features, self.options.source_cache_mib << 20
        )

    def _cached(self, features: dict[str, tf.Tensor], domains: DomainBatch) -> SourceOutputs:
        levels = [
            domains.sort(features[f'source_{level}'])
            for level in range(len(self.adapters))
            if f'source_{level}' in features
        ]
        return SourceOutputs(
            levels, {name: domains.sort(features[f'attended_{name}']) for name in self.shared}
        )

    def extra_layers(self) -> list[keras.layers.Layer]:
        return self.adapters

    def _shared(self) -> list[str]:
        target, source = self.target, self.source
        attentions = source.shareable_attentions()
        names = [name for name in target.shareable_attentions() if name in attentions]
        if not names or _histories(target) != _histories(source):
            raise UserError(
                f'The towers of {self.config.name} are {target.config.name} and '
                f'{source.config.name}, whose attention layers do not match: set '
                'model.options.share_attention to false.'
            )
        if target.config.embedding_dim != source.config.embedding_dim:
            raise UserError(
                f'The source model of {self.config.name} has embeddings of dimension '
                f'{source.config.embedding_dim}, and can share attentions only with a target '
                'tower of the same: set model.embedding_dim to it.'
            )
        return names


def _unseen(feature: Feature, ids: tf.Tensor) -> tf.Tensor:
    """Unseen values of a feature, or empty sequences, for as many rows as `ids` has."""
    rows = tf.shape(ids)[0]
    if feature.kind == 'sequence':
        return tf.fill([rows, 1], tf.constant(-1, ids.dtype))
    return tf.zeros([rows], ids.dtype)


def _histories(model: MLPNetwork) -> list[str]:
    behaviors = model.behaviors
    if isinstance(behaviors, Behaviors):
        behaviors = [behaviors]
    return [history.name for history, _ in behaviors]
