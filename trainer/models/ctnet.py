"""The Continual Transfer Network (CTNet 3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from beam_jobs.dataset import Feature
from beam_jobs.errors import UserError
from beam_jobs.options import setting
from trainer.frozen_rows import FrozenRows
from trainer.keras import keras, tf
from trainer.layers.domain_rows import DomainRows
from trainer.layers.gated_adapter import GatedAdapter
from trainer.layers.linear_adapter import LinearAdapter
from trainer.models import build_model
from trainer.models.base import CTRModel
from trainer.models.behaviors import Behaviors
from trainer.models.grown import copy_weights
from trainer.models.mlp_network import MLPNetwork
from trainer.models.towered import Towered, check_shared


class SourceOutputs(NamedTuple):
    """What the source tower gives for a batch.

    Attributes:
        levels: z^s_0, its input, and z^s_l of its hidden layers, [batch, units_l].
        attended: outputs of the attentions that both towers share, by name.
    """

    levels: list[tf.Tensor]
    attended: dict[str, tf.Tensor]


class CTNet(Towered):
    """A frozen source tower and a trained target tower, with an adapter at every layer.

    CTNet, equation 4, with z^s_0 the normalized input of the source tower:

        z_l = psi(W_l z_{l-1} + b_l + g_l(z^s_{l-1}))

    The source tower is a trained model, whole, as it scores: its embeddings, attentions,
    hidden layers and moments never move. The adapters g_l (equation 5) start so small that the
    model starts as its target tower; they and the target tower are trained. The logit is a
    layer of the MLP too and has an adapter, without which the source's last hidden layer would
    go unused. A source with fewer layers gives its last one to those above.

    Features that one tower's model does not know are empty to it, and so are the values and
    domains that the source model had not seen.

    With `share_attention` (4.7) those attentions of the target tower that go over long
    histories, SIM and ETA, are replaced by the source tower's over the same history, which are
    then computed once. Short-term attention stays each tower's own.
    """

    @dataclass(frozen=True)
    class Options(Towered.Options):
        """
        Attributes:
            adapter: `gated`, or `linear` for the ablation without GLU.
            adapter_scale: the standard deviation of the adapters' first values.
            output_adapter: whether the logit has an adapter.
            share_attention: whether the target tower takes the source's attentions.
            tower_exclude: features that only the source tower sees.
            remembered_mib: how much memory the source tower's outputs may take that are kept
                from one epoch for the next.
        """

        adapter: Literal['gated', 'linear'] = 'gated'
        adapter_scale: float = setting(1e-5, minimum=0)
        output_adapter: bool = True
        share_attention: bool = False
        tower_exclude: list[str] = setting([])
        remembered_mib: int = setting(1024, minimum=0)

    frozen_rows: FrozenRows | None = None

    def excluded(self) -> list[str]:
        return self.options.tower_exclude

    def build_network(self) -> None:
        if not isinstance(self.source, MLPNetwork):
            raise UserError(f'The source model of {self.config.name} is a '
                            f'{self.source.config.name}, which does not end in an MLP: take a '
                            'source model of mlp, din or taobao_base.')
        self.source.trainable = False
        check_shared(self.features, self.source.features, self.config.name)
        known = {feature.name for each in (self.target, self.source)
                 for feature in each.features}
        self.features = [feature for feature in self.features if feature.name in known]
        kind = GatedAdapter if self.options.adapter == 'gated' else LinearAdapter
        layers = self.target.fully_connected().layers
        if not self.options.output_adapter:
            layers = layers[:-1]
        self.adapters = [kind(layer.units, self.options.adapter_scale, name=f'adapter_{level}')
                         for level, layer in enumerate(layers, 1)]
        self.shared = self._shared() if self.options.share_attention else []
        for name in self.shared:
            self.target.shareable()[name].trainable = False
        # Of a domain a source without layers of domains sees nothing; one batch, one domain.
        self._source_sees_domain = any(layer is not self.source.auxiliary
                                       for layer in self.source.domain_layers())

    def call(self, features: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        domain = tf.convert_to_tensor(features['domain'])
        rows = DomainRows(domain, self.num_domains)
        inputs = {feature.name: rows.sort(features[feature.name]) for feature in self.features}
        inputs['domain'] = rows.sort(domain)
        if 'source_0' in features:  # what `frozen_rows` kept
            levels, attended = self._kept(features, rows)
        else:
            levels, attended = self.source_outputs(inputs)
        # Sorted rows stay where they are, so that the towers' rows are side by side.
        target = self.target.look_up(inputs, training, attended)

        def added(level):
            if level > len(self.adapters):
                return None
            return self.adapters[level - 1](levels[min(level, len(levels)) - 1])
        logit = self.target.levels(target.flat, training, added)[-1]
        return rows.unsort(self.target.logits(target, tf.squeeze(logit, axis=1)))

    def source_outputs(self, features: dict[str, tf.Tensor]) -> SourceOutputs:
        """The frozen tower's part, forward only and without a gradient.

        Args:
            features: as of `call`; those that the source model does not have are not read.
        """
        source = self.source
        given = {feature.name for feature in self.features}
        some = features[self.features[0].name]
        ids = {feature.name: features[feature.name] if feature.name in given
               else _nothing(feature, some) for feature in source.features}
        domain = (features['domain'] if self._source_sees_domain
                  else tf.constant(0, tf.int32))
        inputs = source.look_up({**ids, 'domain': domain}, training=False)
        levels = source.levels(inputs.flat, training=False)[:-1]

        def out(values):
            return tf.stop_gradient(inputs.rows.unsort(values))
        return SourceOutputs([out(level) for level in levels],
                             {name: out(inputs.attended[name]) for name in self.shared})

    def remember(self) -> None:
        """From now on training computes the source tower once for every row, not each epoch.

        `trainer.step` passes what `frozen_rows` gives for a batch beside the batch.
        """
        def outputs(features):
            levels, attended = self.source_outputs(features)
            used = levels[:len(self.adapters)]
            return {**{f'source_{level}': values for level, values in enumerate(used)},
                    **{f'attended_{name}': values for name, values in attended.items()}}
        self.frozen_rows = FrozenRows(outputs, self.features,
                                      self.options.remembered_mib << 20)

    def _kept(self, features: dict[str, tf.Tensor], rows: DomainRows) -> SourceOutputs:
        levels = [rows.sort(features[f'source_{level}']) for level in range(len(self.adapters))
                  if f'source_{level}' in features]
        return SourceOutputs(levels, {name: rows.sort(features[f'attended_{name}'])
                                      for name in self.shared})

    def beside(self) -> list[keras.layers.Layer]:
        return self.adapters

    def _shared(self) -> list[str]:
        mine, theirs = self.target, self.source
        names = [name for name in mine.shareable() if name in theirs.shareable()]
        if not names or _histories(mine) != _histories(theirs):
            raise UserError(f'The towers of {self.config.name} are {mine.config.name} and '
                            f'{theirs.config.name}, which attend to no history in the same '
                            'way: set model.options.share_attention to false.')
        if mine.config.embedding_dim != theirs.config.embedding_dim:
            raise UserError(f'The source model of {self.config.name} embeds in '
                            f'{theirs.config.embedding_dim} dimensions, and shares attentions '
                            'with a tower of as many: set model.embedding_dim to that.')
        return names


def with_source(model: CTNet, source: CTRModel) -> CTNet:
    """The same target tower and adapters on a newer source (CTNet, algorithm 1, line 5).

    Args:
        model: trained; it stays as it is.
        source: a model of the source's structure with other weights; its vocabularies may have
            grown. It becomes part of the new model, frozen.

    Raises:
        UserError: the adapters do not fit it.
    """
    swapped = build_model(model.manifest, model.config, source)
    for layer, old in swapped.continued(model):
        copy_weights(layer, old)
    return swapped


def _nothing(feature: Feature, some: tf.Tensor) -> tf.Tensor:
    """A feature that no row has, for as many rows as those of `some` ids."""
    rows = tf.shape(some)[0]
    if feature.kind == 'sequence':
        return tf.fill([rows, 1], tf.constant(-1, some.dtype))
    return tf.zeros([rows], some.dtype)


def _histories(model: MLPNetwork) -> list[str]:
    behaviors = model.behaviors
    return [each.history.name for each in (
        [behaviors] if isinstance(behaviors, Behaviors) else behaviors)]
