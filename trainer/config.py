"""The `train` section of a configuration."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from mdctr.settings import Settings

Units = Annotated[int, Field(ge=1)]


class ModelConfig(Settings):
    """An architecture and its hyper-parameters."""

    name: str = Field(
        default='star',
        description='Architecture: a name of `trainer.models`, or `module:Class`.',
    )
    embedding_dim: int = Field(
        default=16, ge=1, description="Dimension of every feature's embedding."
    )
    hidden_units: list[Units] = Field(
        default=[256, 128, 64], description='Widths of the fully-connected layers.'
    )
    normalization: Literal['none', 'bn', 'ln', 'pn'] | None = Field(
        default=None,
        description="Normalization of the tower's input: batch, layer or partitioned "
        "normalization (STAR 3.3 and Tables 3 and 4), or none; the architecture's own if "
        'absent.',
    )
    auxiliary_network: bool | None = Field(
        default=None,
        description="Whether to add STAR's auxiliary network (3.5); the architecture's own "
        'choice if absent.',
    )
    dropout: float = Field(
        default=0.0,
        ge=0,
        le=0.95,
        description='Dropout rate after every hidden layer and in every cross layer.',
    )
    id_dropout: float = Field(
        default=0.0,
        ge=0,
        le=0.9,
        description='Rate at which training replaces ids by the unseen id 0, so that unseen '
        'values get a trained embedding and no single id is relied on.',
    )
    embedding_l2: float = Field(
        default=0.0,
        ge=0,
        description='Weight in the loss of the squared norm of the embeddings of a batch.',
    )
    numeric_slopes: bool = Field(
        default=False,
        description="Whether a numeric feature's embedding is the sum of its bucket's and of a "
        "trained vector multiplied by the value's position among the buckets.",
    )
    exclude_features: list[str] = Field(
        default=[], description='Features of the dataset that the model does not use.'
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description='Options of the architecture.'
    )


class TrainConfig(Settings):
    """How a model is trained."""

    model: ModelConfig = Field(default_factory=ModelConfig, description='Model to train.')
    framework: str = Field(
        default='joint',
        description='Learning framework: a name of `trainer.frameworks`, or `module:Class`.',
    )
    framework_options: dict[str, Any] = Field(
        default_factory=dict, description='Options of the framework.'
    )
    batching: Literal['domain', 'mixed'] | None = Field(
        default=None,
        description='`domain` for batches of one domain each, drawn in proportion to the '
        "domains' sizes (STAR 3.2), or `mixed`; if absent, `mixed` for a model with batch "
        'normalization, whose moments must be those of all domains, and `domain` otherwise.',
    )
    batch_size: int = Field(
        default=2000,
        ge=1,
        description='Maximum rows of a batch; the batches of a domain are of nearly equal '
        'size.',
    )
    optimizer: str = Field(
        default='adam',
        description='Optimizer. `sgd`, `momentum`, `adam`, `adagrad` and `rmsprop` update only '
        'the rows of embedding and domain variables that a batch uses; any other Keras '
        'optimizer, by name (`nadam`, `ftrl`, `keras_adam`, ...) or as `module:Class`, '
        'updates whole tables where Keras does.',
    )
    optimizer_options: dict[str, Any] = Field(
        default_factory=dict,
        description='Hyper-parameters of the optimizer, by the names that Keras uses.',
    )
    learning_rate: float = Field(
        default=0.001, gt=0, description='Learning rate of the optimizer.'
    )
    lr_schedule: Literal['constant', 'linear', 'cosine'] = Field(
        default='constant',
        description='How the learning rate decays to 0 by the end of the last of `epochs`. '
        'Domain-specific parameters, trained one domain at a time, follow the schedule by '
        "that domain's progress through the epoch.",
    )
    warmup_ratio: float = Field(
        default=0.0,
        ge=0,
        le=0.9,
        description='Fraction of the run in which the learning rate first rises from 0.',
    )
    epochs: int = Field(
        default=10, ge=1, description='Maximum number of passes over the training split.'
    )
    streaming_buffer_size: int = Field(
        default=0,
        ge=0,
        description='If above 0, training is one pass in order of time (STAR 4.4): each row is '
        'used once, after shuffling within a buffer of this many rows, which should hold many '
        'batches. Only for the framework `joint`.',
    )
    patience: int = Field(
        default=2,
        ge=1,
        description='Epochs without an improvement of the validation metric after which '
        "training stops; the best epoch's weights are kept.",
    )
    early_stopping_metric: Literal['gauc', 'auc', 'log_loss'] = Field(
        default='gauc',
        description='Validation metric to monitor: `gauc`, `auc` (higher is better) or '
        '`log_loss` (lower is better).',
    )
    average_weights: bool = Field(
        default=False,
        description='Whether the mean of the weights at the ends of the epochs so far is '
        'validated, kept and exported; training continues from the weights themselves.',
    )
    checkpoint_steps: int = Field(
        default=500,
        ge=1,
        description='Steps between checkpoints; one is written after each epoch, too.',
    )
    seed: int = Field(
        default=1, ge=0, description='Random seed of initialization, shuffling and dropout.'
    )
    mixed_precision: bool = Field(
        default=False,
        description='Whether to compute in float16 with float32 variables, for GPUs.',
    )
    xla: bool = Field(
        default=False, description='Whether to compile the training step with XLA.'
    )

    @model_validator(mode='after')
    def _check_buffer(self) -> Self:
        if 0 < self.streaming_buffer_size < self.batch_size:
            raise ValueError(
                f'streaming_buffer_size ({self.streaming_buffer_size}) must be 0 or at least '
                f'one batch ({self.batch_size}), preferably many.'
            )
        return self

    @property
    def passes(self) -> int:
        """Maximum number of times that a row is trained on."""
        return 1 if self.streaming_buffer_size else self.epochs
