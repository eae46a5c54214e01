"""The `evaluate` section of a configuration."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from mdctr.settings import Range, Settings


def _check_band(band: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= band[0] < band[1]:
        raise ValueError(f'must be [low, high], with 0 <= low < high, not {list(band)}.')
    return band


Fraction = Annotated[float, Field(ge=0, le=1)]
Band = Annotated[Range, AfterValidator(_check_band)]


class DomainThresholds(Settings):
    """Thresholds of one domain."""

    min_auc: Fraction | None = Field(default=None, description='Minimum AUC.')
    min_gauc: Fraction | None = Field(default=None, description='Minimum GAUC.')
    pcoc_band: Band | None = Field(
        default=None, description='`[low, high]` in which the PCOC must be.'
    )


class EvaluateConfig(Settings):
    """Thresholds that a model must pass to be blessed. Without any, no model is blessed."""

    split: str = Field(default='test', description='Split whose examples are scored.')
    max_gauc_drop: Annotated[float, Field(ge=0)] | None = Field(
        default=None,
        description="Maximum difference by which the GAUC may be below the reference's. The "
        'model is refused if the confidence interval of the difference lies entirely beyond '
        'it; a first model, without a pushed one, passes.',
    )
    reference: Literal['pushed', 'best'] = Field(
        default='best',
        description='Model to compare with: the `pushed` model, or that and the `best` of the '
        '`recent_pushes`, scored on the same rows. With `pushed` alone, many pushes that are '
        'each a little worse add up.',
    )
    recent_pushes: int = Field(
        default=5, ge=1, description='Pushed versions among which `reference: best` chooses.'
    )
    undefined_gauc: Literal['refuse', 'auc'] = Field(
        default='refuse',
        description='Where a threshold needs a GAUC that is undefined, because no user has '
        'both clicks and impressions without one: `refuse` the model, or compare the `auc`.',
    )
    min_auc: Fraction | None = Field(default=None, description='Minimum overall AUC.')
    min_gauc: Fraction | None = Field(default=None, description='Minimum overall GAUC.')
    pcoc_band: Band | None = Field(
        default=None, description='`[low, high]` in which the overall PCOC must be.'
    )
    domain_thresholds: dict[str, DomainThresholds] = Field(
        default_factory=dict, description='Thresholds of domains, by name.'
    )
    domain_pcoc_band: Band | None = Field(
        default=None,
        description='`[low, high]` in which the PCOC must be of every domain that has at least '
        '`min_impressions` and no band of its own.',
    )
    min_impressions: int = Field(
        default=1000, ge=1, description='Impressions from which `domain_pcoc_band` applies.'
    )
    max_domain_gauc_drop: Annotated[float, Field(ge=0)] | None = Field(
        default=0.01,
        description="Maximum difference by which a domain's GAUC may be below the reference's "
        '(its AUC, where fewer than 50 users of the domain have a GAUC), judged as '
        '`max_gauc_drop` for every domain with `min_domain_clicks`; null for no comparison.',
    )
    max_domain_pcoc_drift: Annotated[float, Field(ge=0)] | None = Field(
        default=0.1,
        description="Maximum factor, less 1, by which a domain's PCOC may be farther from 1 "
        "than the reference's, judged as `max_gauc_drop`; null for no comparison.",
    )
    min_domain_clicks: int = Field(
        default=100,
        ge=1,
        description='Clicks, and impressions without one, that a domain must have to be '
        'compared with the reference.',
    )
    false_refusal_rate: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description='Probability at most that a model as good as the reference is refused, '
        'over all comparisons of an evaluation.',
    )
    batch_size: int = Field(default=8192, ge=1, description='Rows that are scored at a time.')
    bootstrap_replicates: int = Field(
        default=100,
        ge=0,
        description='Replicates of the bootstrap by user behind the confidence intervals; 0 '
        'for no intervals.',
    )
    confidence_level: float = Field(
        default=0.95, gt=0, le=0.999, description='Confidence level of the intervals.'
    )
    seed: int = Field(default=1, ge=0, description='Random seed of the bootstrap.')

    @property
    def has_thresholds(self) -> bool:
        """Whether there is a threshold, without which no model is blessed."""
        return bool(self.domain_thresholds) or any(
            threshold is not None
            for threshold in (
                self.max_gauc_drop,
                self.min_auc,
                self.min_gauc,
                self.pcoc_band,
                self.domain_pcoc_band,
            )
        )
