"""Small models whose every weight is random, and batches for them."""

from typing import Any

import numpy as np

from mdctr.manifest import Manifest
from tests.trainer import trainer_dataset
from trainer.config import ModelConfig
from trainer.keras import keras, tf
from trainer.models import build_model
from trainer.models.base import CTRModel


def random_model(
    name: str,
    manifest: Manifest | None = None,
    normalization: str = 'none',
    hidden: tuple[int, ...] = (8, 6),
    **options: Any,
) -> CTRModel:
    """A model of three domains, none of whose weights is 0 or 1, as some are at first."""
    keras.utils.set_random_seed(1)
    model = build_model(
        manifest or trainer_dataset.make_manifest(3),
        ModelConfig(
            name=name,
            embedding_dim=4,
            hidden_units=list(hidden),
            normalization=normalization,
            auxiliary_network=False,
            options=options,
        ),
    )
    rng = np.random.default_rng(2)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(size=variable.shape) * 0.4)
    return model


def random_batch(size: int = 24, domain: int | None = None) -> dict[str, tf.Tensor]:
    """A batch for `random_model`: of rows of all domains, or of one domain for all rows."""
    rows = trainer_dataset.make_batch(np.random.default_rng(3), size)
    rows = {name: tf.constant(values) for name, values in rows.items()}
    return rows if domain is None else {**rows, 'domain': tf.constant(domain)}
