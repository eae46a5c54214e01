"""What a training run is: the `train` section of a configuration."""

from dataclasses import dataclass, field
from typing import Any, Literal

from beam_jobs.options import setting


@dataclass(frozen=True)
class ModelConfig:
    """An architecture and its hyper-parameters.

    Attributes:
        name: of the registry of `trainer.models`.
        embedding_dim: of every feature's embedding.
        hidden_units: the widths of the fully-connected layers.
        normalization: of the tower's input: batch, layer or partitioned normalization (STAR
            3.3 and Tables 3 and 4), or none; absent, the architecture's own.
        auxiliary: whether STAR's auxiliary network (3.5) is added; absent, the architecture's
            own choice.
        dropout: after every hidden layer, and of what a cross layer adds.
        id_dropout: the share of ids that training takes for unseen values, so that these have
            an embedding of their own, and no single id is relied on.
        embedding_l2: weight of the squared norm of the looked-up embeddings in the loss.
        numeric_slopes: a numeric feature's vector is that of its bucket and, beside it, a
            multiple of one vector of the feature's, by where among its buckets it is.
        exclude: features of the dataset that the model does not see.
        options: what this architecture alone takes.
    """

    name: str = 'star'
    embedding_dim: int = setting(16, minimum=1)
    hidden_units: list[int] = setting([256, 128, 64], minimum=1)
    normalization: Literal['none', 'bn', 'ln', 'pn'] | None = None
    auxiliary: bool | None = None
    dropout: float = setting(0.0, minimum=0, maximum=0.95)
    id_dropout: float = setting(0.0, minimum=0, maximum=0.9)
    embedding_l2: float = setting(0.0, minimum=0)
    numeric_slopes: bool = False
    exclude: list[str] = setting([])
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained.

    Attributes:
        model: what is trained.
        framework: the learning framework, a name of the registry of `trainer.frameworks`.
        framework_options: what this framework alone takes.
        batches: `domain` for batches of one domain each, drawn in proportion to the domains
            (STAR 3.2), or `mixed`; absent, `mixed` for a model with batch normalization,
            whose moments are to be those of all domains, and else `domain`.
        batch_size: rows a batch at most; those of a domain have alike many.
        optimizer: `sgd`, `momentum`, `adam`, `adagrad` and `rmsprop` move only the rows of
            embedding and domain variables that a batch touches; any other Keras optimizer, by
            its name (`nadam`, `ftrl`, `keras_adam`, ...) or as `module:Class`, goes over whole
            tables where Keras does.
        optimizer_options: hyper-parameters of the optimizer, as Keras names them.
        learning_rate: of the optimizer.
        schedule: how the learning rate falls to 0 by the end of the last of `epochs`:
            `linear`, `cosine`, or not at all, `constant`. What is a domain's own, and trained
            domain after domain, goes through it by the domain's own share of each epoch.
        warmup: the share of the run in which the learning rate first rises from 0.
        epochs: at most so many passes over the training split.
        stream_rows: above 0, training is one pass in the order of time instead (STAR 4.4):
            each row is used once, and a window of so many rows, many batches' worth, is
            shuffled as it slides over them. For the framework `joint`.
        patience: training stops when the validation split has not become better for so many
            epochs, and the best epoch's weights are kept.
        stop_by: what is compared: `gauc` is to rise, `auc` to rise, or `log_loss` to fall.
        average: what is validated, kept and exported is the mean of the weights at the ends
            of the epochs so far; training itself goes on from the weights as they are.
        checkpoint_steps: a checkpoint is written every so many steps and after each epoch.
        seed: of initialization, shuffling and dropout.
        mixed_precision: float16 computation with float32 variables, for GPUs.
        xla: compile the training step with XLA.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    framework: str = 'joint'
    framework_options: dict[str, Any] = field(default_factory=dict)
    batches: Literal['domain', 'mixed'] | None = None
    batch_size: int = setting(2000, minimum=1)
    optimizer: str = 'adam'
    optimizer_options: dict[str, Any] = field(default_factory=dict)
    learning_rate: float = setting(0.001, above=0)
    schedule: Literal['constant', 'linear', 'cosine'] = 'constant'
    warmup: float = setting(0.0, minimum=0, maximum=0.9)
    epochs: int = setting(10, minimum=1)
    stream_rows: int = setting(0, minimum=0)
    patience: int = setting(2, minimum=1)
    stop_by: Literal['gauc', 'auc', 'log_loss'] = 'gauc'
    average: bool = False
    checkpoint_steps: int = setting(500, minimum=1)
    seed: int = setting(1, minimum=0)
    mixed_precision: bool = False
    xla: bool = False

    def __post_init__(self):
        if 0 < self.stream_rows < self.batch_size:
            raise ValueError(f'stream_rows ({self.stream_rows}) must be 0, or hold a batch of '
                             f'{self.batch_size} rows and better many.')

    @property
    def passes(self) -> int:
        """At most so many times a row is trained on."""
        return 1 if self.stream_rows else self.epochs
