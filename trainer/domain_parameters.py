"""Exports of models with parameters of each domain's own, read again."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from beam_jobs.errors import UserError
from beam_jobs.options import from_mapping
from trainer.export import WEIGHTS
from trainer.frameworks.specific import Difference, checkpoint_of
from trainer.keras import tf
from trainer.models.base import CTRModel
from trainer.structure import Structure
from trainer.trained import build_structure


class DomainParameters(NamedTuple):
    """A shared model and the domains' differences from it.

    Attributes:
        model: with theta_S.
        structure: its record.
        differences: theta_i by the domain's id.
    """

    model: CTRModel
    structure: Structure
    differences: list[Difference]


def read_domain_parameters(directory: str, described: dict[str, Any]) -> DomainParameters:
    """What `export_model` wrote of a `DomainModels`.

    Args:
        directory: of the export.
        described: its `model.json`.

    Raises:
        UserError: the weights are not there, or damaged.
    """
    structure = from_mapping(Structure, described['domain_parameters'],
                             os.path.join(directory, 'model.json'))
    model = build_structure(structure)
    differences = [Difference() for _ in range(model.num_domains)]
    try:
        tf.train.Checkpoint(model=model, specific=checkpoint_of(differences)).read(
            os.path.join(directory, WEIGHTS)).assert_existing_objects_matched()
    except (tf.errors.OpError, AssertionError, LookupError, RuntimeError, ValueError) as error:
        raise UserError(f'The weights of the exported model {directory} cannot be read '
                        f'({str(error).strip().splitlines()[0][:200]}): take a complete '
                        'export.') from None
    return DomainParameters(model, structure, differences)
