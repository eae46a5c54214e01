"""Adds a domain to a trained model from its data alone."""

from __future__ import annotations

from beam_jobs.errors import UserError
from trainer.examples import Examples
from trainer.frameworks.mamdr import MAMDR
from trainer.frameworks.regularization import Regularization
from trainer.frameworks.specific import SpecificParameters
from trainer.models.grown import grown


def add_domain(trained: MAMDR, examples: Examples, domain: int,
               epochs: int = 1) -> SpecificParameters:
    """Learns theta_new of a new domain by domain regularization; nothing else moves.

    theta_S and every other theta_i stay as they are to the last bit, and theta_new starts
    from zero, the model of unseen domains. Where `examples` hold other domains too, these
    help (algorithm 2); of the new domain's rows alone, lines 3, 5 and 6 remain.

    Args:
        trained: MAMDR or domain regularization, trained; it stays as it is.
        examples: the new domain's training rows, in a dataset with the vocabularies of the
            one that `trained` was trained on and with all its domains, and new ones after them.
        domain: the new domain's id.
        epochs: of updates by algorithm 2.

    Returns:
        The specific parameters of all domains, of a model with the new ones; `DomainModels`
        of it is what to export.

    Raises:
        UserError: the domain is not new or has no rows, or the model cannot get domains.
    """
    if domain < trained.model.num_domains:
        raise UserError(f'Domain {domain} is not new: the model has it already.')
    if not examples.count(domain):
        raise UserError(f'Domain {domain} has no training rows: add it when it has some.')
    model = grown(trained.model, examples.manifest)
    options = trained.options
    regularization = Regularization(
        trained.config, options, model, examples, trained.make_inner(), alone=True)
    specific = regularization.specific
    for mine, theirs in zip(specific.differences, trained.specific.differences, strict=False):
        mine.copy_from(theirs)
    for number in range(epochs):
        for _ in regularization.epoch(number, targets=[domain]):
            pass
    return specific
