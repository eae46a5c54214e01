"""Loads exported models with domain-specific parameters."""

from __future__ import annotations

from typing import Any, NamedTuple

from mdctr import storage
from mdctr.exported_model import MODEL_JSON
from trainer.export.load import build_structure
from trainer.export.structure import Structure, read_structure
from trainer.export.weights import read_weights
from trainer.frameworks.core.domain_specific import DomainDelta, checkpoint_of
from trainer.models.base import CTRModel


class DomainParameters(NamedTuple):
    """A shared model and the domain-specific parameters.

    Attributes:
        model: Model with the shared parameters theta_S.
        structure: Its structure.
        deltas: theta_i by domain id.
    """

    model: CTRModel
    structure: Structure
    deltas: list[DomainDelta]


def load_domain_parameters(directory: str, description: dict[str, Any]) -> DomainParameters:
    """Loads what `export_model` wrote of a `DomainSpecificModel`.

    Args:
        directory: Directory of the export.
        description: Content of its `model.json`.

    Raises:
        UserError: The weights are missing or damaged.
    """
    structure = read_structure(
        description['domain_parameters'], storage.join(directory, MODEL_JSON)
    )
    model = build_structure(structure)
    deltas = [DomainDelta() for _ in range(model.num_domains)]
    read_weights(directory, model=model, specific=checkpoint_of(deltas))
    return DomainParameters(model, structure, deltas)
