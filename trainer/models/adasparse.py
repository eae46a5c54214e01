"""AdaSparse: a domain-aware pruner before every layer of a backbone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from beam_jobs.options import setting
from trainer.keras import keras, tf
from trainer.layers.domain_aware_pruner import DomainAwarePruner
from trainer.layers.domain_rows import DomainRows
from trainer.layers.packed_network import PackedNetwork
from trainer.layers.pruning_schedule import PruningSchedule, Schedule
from trainer.layers.sparsity import dynamic_weight, sparsity_loss
from trainer.models.base import Inputs
from trainer.models.domain_aware import DomainAware, DomainAwareBackbone


@dataclass
class Pass:
    """What the layers of one pass share, and the factors and ratios that they leave."""

    aware: DomainAware
    schedule: Schedule
    rows: DomainRows
    training: bool
    factors: dict[str, tf.Tensor] = field(default_factory=dict)
    ratios: list[tf.Tensor] = field(default_factory=list)


class AdaSparse(DomainAwareBackbone):
    """The input h^l of every weight matrix W^l is pruned: h^l <- h^l (x) pi^l(d) (AdaSparse,
    equations 2 to 8), and R_s of equations 9 and 10 controls how much.

    W^1's input is the embeddings, and the last W^L is the output's, so that every hidden layer
    is pruned. On DCN-V2 the input x_i of a cross layer is pruned (its residual is what is
    left), and x_0 is not. R_s is for binarization and fusion: scaling prunes nothing.
    """

    @dataclass(frozen=True)
    class Options(DomainAwareBackbone.Options):
        """
        Attributes:
            formulation: of the factors: `binarization`, `scaling` or `fusion`, the paper's
                best (Table 2).
            pruner_inputs: what a pruner reads: `both`, e_d and h^l as in the paper, which
                makes a factor of every row's own; or `domain`, e_d alone, which makes them a
                domain's own, known when the model is exported.
            epsilon: the threshold below which a factor is zero.
            beta: the greatest factor of `scaling` and `fusion`.
            alpha_steps: the training steps in which alpha grows from 0.1 to 5.
            lambda_growth: what a step adds to lambda-hat of the sparsity loss, at first 0.01.
            r_min: the least share of pruned neurons that the sparsity loss lets be.
            r_max: the greatest.
        """

        formulation: Literal['binarization', 'scaling', 'fusion'] = 'fusion'
        pruner_inputs: Literal['both', 'domain'] = 'both'
        epsilon: float = setting(0.25, above=0)
        beta: float = setting(2.0, minimum=1)
        alpha_steps: int = setting(2000, minimum=1)
        lambda_growth: float = setting(0.01, minimum=0)
        r_min: float = setting(0.15, minimum=0, maximum=1)
        r_max: float = setting(0.25, minimum=0, maximum=1)

        def __post_init__(self):
            if self.r_min > self.r_max:
                raise ValueError('r_min must not be more than r_max.')

    # When skipping what is pruned is faster, by tests/benchmarks/adasparse_serving.py: it does
    # less than this share of the dense products, for at least so many rows a domain.
    PACK_BELOW: ClassVar[float] = 0.25
    PACK_ROWS: ClassVar[int] = 1024

    def build_network(self) -> None:
        options = self.options
        self.schedule = PruningSchedule(options.alpha_steps, options.lambda_growth,
                                        name='schedule')
        super().build_network()
        self.pruners = {layer.name: DomainAwarePruner(
            options.formulation, options.epsilon, options.beta,
            reads_hidden=options.pruner_inputs == 'both', name=f'{layer.name}_pruner')
            for layer in (*self.crosses, *self.hidden, self.head)}

        self.packed = None

    @property
    def fixed_factors(self) -> bool:
        """Whether pi depends on the domain alone, so that it is known before any row comes."""
        return (self.options.pruner_inputs == 'domain'
                and list(self.options.domain_aware) == ['domain'])

    def start(self, inputs: Inputs, training: bool) -> Pass:
        return Pass(self.domain_aware(inputs), self.schedule(None, training=training),
                    inputs.rows, training)

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        if self.packed is not None and not training:
            return self._serve(inputs)
        now = self.start(inputs, training)
        logit = self.run(inputs.flat, now, training)
        if training and self.options.formulation != 'scaling':
            self.add_loss(sparsity_loss(now.ratios, now.schedule.lambda_hat,
                                        self.options.r_min, self.options.r_max))
        return logit

    def factors(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """pi of every layer at inference, [batch, units] by the layer's name; [1, units] where
        all rows have the same, rows by domain in mixed batches."""
        inputs = self.look_up(features)
        now = self.start(inputs, training=False)
        self.run(inputs.flat, now, training=False)
        return now.factors

    def summaries(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The share of the domain's rows for which each neuron is kept (Figure 3a), by
        layer; one less its mean is the layer's ratio r."""
        return {f'kept_neurons/{name}': tf.reduce_mean(tf.cast(factors > 0, tf.float32), axis=0)
                for name, factors in self.factors(features).items()}

    def scalars(self, summaries: dict[str, np.ndarray]) -> dict[str, float]:
        """alpha and lambda-hat; of every layer r^l, the domains' mean, and lambda^l of it."""
        options, schedule = self.options, self.schedule
        if options.formulation == 'scaling':
            return {}
        found = {'adasparse/alpha': float(schedule.alpha),
                 'adasparse/lambda_hat': float(schedule.lambda_hat)}
        for name, kept in summaries.items():
            layer, ratio = name.split('/')[-1], 1 - float(np.mean(kept))
            found[f'sparsity_ratio/{layer}'] = ratio
            found[f'sparsity_weight/{layer}'] = float(dynamic_weight(
                ratio, schedule.lambda_hat, options.r_min, options.r_max))
        return found

    def fold(self) -> None:
        """Leaves out what is pruned, where that is known and serves faster (`PACK_BELOW`)."""
        super().fold()
        if self.fixed_factors and self.options.backbone == 'mlp':
            packed = self.pack()
            widths = [self.pruners[layer.name].bias.shape[0]
                      for layer in (*self.hidden, self.head)]
            if packed.share([*widths, 1]) < self.PACK_BELOW:
                self.packed = packed

    def unfold(self) -> None:
        super().unfold()
        self.packed = None

    def _serve(self, inputs: Inputs) -> tf.Tensor:
        def masked():
            return self.run(inputs.flat, self.start(inputs, False), False)

        def skipping():
            return tf.squeeze(self.packed(inputs.flat, inputs.rows), axis=1)
        least = self.PACK_ROWS * tf.size(inputs.rows.present)
        return tf.cond(tf.shape(inputs.flat)[0] >= least, skipping, masked)

    def pack(self) -> PackedNetwork:
        """The MLP without each domain's pruned neurons."""
        everyone = DomainRows(tf.range(self.num_domains), self.num_domains)
        vectors = tf.convert_to_tensor(self.domain_field.domain_table)
        alpha = tf.convert_to_tensor(self.schedule.alpha)
        kernels, biases, factors = [], [], []
        for layer in (*self.hidden, self.head):
            kernel, bias = self.domain_weights(layer)
            width = tf.zeros([self.num_domains, kernel.shape[1]])
            _, found = self.pruners[layer.name]((width, vectors), everyone, alpha)
            for values, value in ((kernels, kernel), (biases, bias),
                                  (factors, found.factors.numpy())):
                values.append(value)
        return PackedNetwork(kernels, biases, factors, self.options.activation)

    def domain_weights(self, layer: keras.layers.Layer) -> tuple[np.ndarray, np.ndarray]:
        """W and b of a layer for every domain, [domains or 1, ...]."""
        return layer.kernel.numpy()[None], layer.bias.numpy()[None]

    def prune(self, layer: keras.layers.Layer, values: tf.Tensor, now: Pass) -> tf.Tensor:
        """Equation 2 for the input of `layer`."""
        values, factors = self.pruners[layer.name](
            (values, now.aware.vectors), now.aware.rows, now.schedule.alpha)
        now.factors[layer.name] = factors.factors
        now.ratios.append(factors.ratio)
        return values

    def dense(self, layer: keras.layers.Layer, values: tf.Tensor, now: Pass) -> tf.Tensor:
        pruned = self.prune(layer, values, now)
        if not (self.fixed_factors and now.rows.single):
            return layer(pruned)
        # All rows have the same factors: W (h (x) pi) is (W diag(pi)) h, which goes over the
        # matrix once instead of over the rows twice.
        kernel = tf.transpose(now.factors[layer.name]) * tf.cast(layer.kernel, values.dtype)
        product = tf.nn.bias_add(tf.matmul(values, kernel),
                                 tf.cast(layer.bias, values.dtype))
        return layer.activation(product)

    def cross(self, layer: keras.layers.Layer, first: tf.Tensor, values: tf.Tensor,
              now: Pass) -> tf.Tensor:
        return layer(first, self.prune(layer, values, now))


class DCNv2AdaSparse(AdaSparse):
    """`AdaSparse` on DCN-V2."""

    @dataclass(frozen=True)
    class Options(AdaSparse.Options):
        """`AdaSparse`'s, with another default."""

        backbone: Literal['dcnv2'] = 'dcnv2'
