"""AdaSparse: a domain-aware pruner at the input of every layer of a backbone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from trainer.keras import keras, tf
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.pruning.domain_aware_pruner import DomainAwarePruner
from trainer.layers.pruning.packed_network import PackedNetwork
from trainer.layers.pruning.pruning_schedule import PruningSchedule, PruningStrength
from trainer.layers.pruning.sparsity import dynamic_weight, sparsity_loss
from trainer.layers.sparse.paths import uses_sparse
from trainer.layers.sparse.pruned_product import pruned_product
from trainer.models.base import Inputs
from trainer.models.multi_domain.domain_aware import DomainAware, DomainAwareBackbone


@dataclass
class PruningPass:
    """State of one forward pass.

    Attributes:
        aware: Embedding of the domain-aware features.
        strength: Values of the pruning schedule.
        domains: Domains of the rows.
        training: Whether the model is being trained.
        factors: pi of the layers so far, by the layer's name.
        ratios: r of the layers so far.
    """

    aware: DomainAware
    strength: PruningStrength
    domains: DomainBatch
    training: bool
    factors: dict[str, tf.Tensor] = field(default_factory=dict)
    ratios: list[tf.Tensor] = field(default_factory=list)


class AdaSparse(DomainAwareBackbone):
    """Backbone that prunes the input h^l of every weight matrix W^l.

    h^l <- h^l (x) pi^l(d) (AdaSparse, equations 2 to 8), where R_s of equations 9 and 10
    controls how much is pruned. The input of W^1 is the embeddings, and the last W^L is the
    output's, so every hidden layer is pruned. R_s applies to binarization and fusion: scaling
    prunes nothing.

    On DCN-V2, the input x_i of a cross layer is pruned but x_0 is not; the layer's residual is
    the pruned x_i, so a pruned neuron does not return through it.
    """

    class Options(DomainAwareBackbone.Options):
        """Options of AdaSparse."""

        formulation: Literal['binarization', 'scaling', 'fusion'] = Field(
            default='fusion',
            description="Formulation of the pruning factors; `fusion` is the paper's best "
            '(Table 2).',
        )
        pruner_inputs: Literal['both', 'domain'] = Field(
            default='both',
            description='Input of the pruners: `both` the domain embedding e_d and the layer '
            'input h^l, as in the paper, for a factor per row; or `domain`, e_d alone, for a '
            'factor per domain, which is known at export.',
        )
        epsilon: float = Field(
            default=0.25, gt=0, description='Threshold below which a factor is zero.'
        )
        beta: float = Field(
            default=2.0, ge=1, description='Maximum factor of `scaling` and `fusion`.'
        )
        alpha_steps: int = Field(
            default=2000, ge=1, description='Training steps in which alpha grows from 0.1 to 5.'
        )
        lambda_growth: float = Field(
            default=0.01,
            ge=0,
            description='Increment per step of lambda-hat, the weight of the sparsity loss, '
            'which starts at 0.01.',
        )
        r_min: float = Field(
            default=0.15,
            ge=0,
            le=1,
            description='Minimum fraction of pruned neurons of the sparsity loss.',
        )
        r_max: float = Field(
            default=0.25,
            ge=0,
            le=1,
            description='Maximum fraction of pruned neurons of the sparsity loss.',
        )

        @model_validator(mode='after')
        def _check_sparsity(self) -> Self:
            if self.r_min > self.r_max:
                raise ValueError('r_min must not be more than r_max.')
            return self

    options: Options

    # Serving without the pruned neurons is faster with less than this fraction of the dense
    # multiplications and at least this many rows per domain, as measured by
    # tests/benchmarks/adasparse_serving.py.
    PACK_BELOW: ClassVar[float] = 0.25
    PACK_ROWS: ClassVar[int] = 1024

    def build_network(self) -> None:
        options = self.options
        self.schedule = PruningSchedule(
            options.alpha_steps, options.lambda_growth, name='schedule'
        )
        super().build_network()
        self.pruners = {
            layer.name: DomainAwarePruner(
                options.formulation,
                options.epsilon,
                options.beta,
                reads_hidden=options.pruner_inputs == 'both',
                name=f'{layer.name}_pruner',
            )
            for layer in (*self.crosses, *self.hidden, self.head)
        }
        self.packed: PackedNetwork | None = None
        self.sparsity: dict[str, float] = {}

    @property
    def fixed_factors(self) -> bool:
        """Whether pi depends only on the domain, and is known at export."""
        return self.options.pruner_inputs == 'domain' and list(self.options.domain_aware) == [
            'domain'
        ]

    def start(self, inputs: Inputs, training: bool) -> PruningPass:
        return PruningPass(
            self.domain_aware(inputs),
            self.schedule(None, training=training),
            inputs.domains,
            training,
        )

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        if self.packed is not None and not training:
            return self._serve(self.packed, inputs)
        context = self.start(inputs, training)
        logit = self.forward(inputs.flat, context, training)
        if training and self.options.formulation != 'scaling':
            lambda_hat = context.strength.lambda_hat
            self.add_loss(
                sparsity_loss(
                    context.ratios, lambda_hat, self.options.r_min, self.options.r_max
                )
            )
        return logit

    def factors(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Computes pi of every layer at inference.

        Returns:
            pi by the layer's name, [batch, units], or [1, units] if all rows have the same; the
            rows of mixed batches are sorted by domain.
        """
        inputs = self.look_up(features)
        context = self.start(inputs, training=False)
        self.forward(inputs.flat, context, training=False)
        return context.factors

    def summaries(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Computes the fraction of the domain's rows for which each neuron is kept (Figure 3a),
        by layer; 1 - mean is the layer's sparsity ratio r."""
        return {
            f'kept_neurons/{name}': tf.reduce_mean(tf.cast(factors > 0, tf.float32), axis=0)
            for name, factors in self.factors(features).items()
        }

    def scalars(self, summaries: dict[str, NDArray[np.float32]]) -> dict[str, float]:
        """Returns alpha and lambda-hat, and for every layer the mean r^l over the domains and
        its lambda^l."""
        options, schedule = self.options, self.schedule
        if options.formulation == 'scaling':
            return {}
        values = {
            'adasparse/alpha': float(schedule.alpha),
            'adasparse/lambda_hat': float(schedule.lambda_hat),
        }
        for name, kept in summaries.items():
            layer, ratio = name.split('/')[-1], 1 - float(np.mean(kept))
            values[f'sparsity_ratio/{layer}'] = ratio
            values[f'sparsity_weight/{layer}'] = float(
                dynamic_weight(ratio, schedule.lambda_hat, options.r_min, options.r_max)
            )
        return values

    def fold(self) -> None:
        """Removes the pruned neurons, if they are known and serving is then faster."""
        super().fold()
        if self.fixed_factors:
            self.sparsity = {
                layer.name: float((self.domain_factors(layer) == 0).mean(axis=1).min())
                for layer in (*self.crosses, *self.hidden, self.head)
            }
        if self.fixed_factors and not self.crosses:
            packed = self.pack()
            widths = [
                self.pruners[layer.name].bias.shape[0] for layer in (*self.hidden, self.head)
            ]
            if packed.cost_ratio([*widths, 1]) < self.PACK_BELOW:
                self.packed = packed

    def unfold(self) -> None:
        super().unfold()
        self.packed, self.sparsity = None, {}

    def _serve(self, packed: PackedNetwork, inputs: Inputs) -> tf.Tensor:
        minimum = self.PACK_ROWS * tf.size(inputs.domains.present_domains)
        return tf.cond(
            tf.shape(inputs.flat)[0] >= minimum,
            lambda: tf.squeeze(packed(inputs.flat, inputs.domains), axis=1),
            lambda: self.forward(inputs.flat, self.start(inputs, False), False),
        )

    def pack(self) -> PackedNetwork:
        """Makes the MLP without each domain's pruned neurons."""
        layers = [*self.hidden, self.head]
        kernels, biases = zip(*map(self.weights_by_domain, layers), strict=True)
        factors = [self.domain_factors(layer) for layer in layers]
        return PackedNetwork(kernels, biases, factors, self.options.activation)

    def domain_factors(self, layer: keras.layers.Layer) -> NDArray[np.float32]:
        """Returns pi of a layer for every domain, [domains, inputs], if it is fixed."""
        domains = DomainBatch(tf.range(self.num_domains), self.num_domains)
        assert self.domain_field is not None  # the factors are fixed
        vectors = tf.convert_to_tensor(self.domain_field.domain_table)
        pruner = self.pruners[layer.name]
        hidden = tf.zeros([self.num_domains, pruner.bias.shape[0]])
        _, pi = pruner((hidden, vectors), domains, tf.convert_to_tensor(self.schedule.alpha))
        factors: NDArray[np.float32] = pi.factors.numpy()
        return factors

    def weights_by_domain(
        self, layer: keras.layers.Layer
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns W and b of a layer for every domain, [domains or 1, ...]."""
        return layer.kernel.numpy()[None], layer.bias.numpy()[None]

    def prune(
        self, layer: keras.layers.Layer, values: tf.Tensor, context: PruningPass
    ) -> tf.Tensor:
        """Applies equation 2 to the input of `layer`."""
        aware = context.aware
        values, factors = self.pruners[layer.name](
            (values, aware.vectors), aware.domains, context.strength.alpha
        )
        context.factors[layer.name] = factors.factors
        context.ratios.append(factors.ratio)
        return values

    def dense(
        self, layer: keras.layers.Layer, values: tf.Tensor, context: PruningPass
    ) -> tf.Tensor:
        pruned = self.prune(layer, values, context)
        sparsity = None if context.training else self.sparsity.get(layer.name)
        if sparsity is not None and uses_sparse('pruned_product', sparsity=sparsity):
            product = pruned_product(pruned, tf.cast(layer.kernel, values.dtype), sparsity)
            bias = tf.cast(layer.bias, values.dtype)
            return layer.activation(tf.nn.bias_add(product, bias))
        if not (self.fixed_factors and context.domains.single_domain):
            return layer(pruned)
        # All rows have the same factors: W (h (x) pi) is (W diag(pi)) h, which reads the
        # matrix once instead of the rows twice.
        pi = tf.transpose(context.factors[layer.name])
        kernel = pi * tf.cast(layer.kernel, values.dtype)
        product = tf.nn.bias_add(tf.matmul(values, kernel), tf.cast(layer.bias, values.dtype))
        return layer.activation(product)

    def cross_input(
        self, layer: keras.layers.Layer, values: tf.Tensor, context: PruningPass
    ) -> tf.Tensor:
        return self.prune(layer, values, context)


class DCNv2AdaSparse(AdaSparse):
    """`AdaSparse` on DCN-V2."""

    class Options(AdaSparse.Options):
        """Options of `adasparse` on DCN-V2."""

        backbone: Literal['dcnv2'] = Field(default='dcnv2', description='DCN-V2.')
