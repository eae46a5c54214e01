"""How datasets and models are judged: the `validate` and `evaluate` sections."""

from dataclasses import dataclass, field

from beam_jobs.options import setting


@dataclass(frozen=True)
class ValidateConfig:
    """When a dataset is sound. A number is a threshold, None switches a check off.

    Attributes:
        schema: the path of a schema.pbtxt to validate against; absent, it is inferred from
            the training split.
        train: the split that schemas come from and that the others are compared with.
        test: the split whose drift from training is judged.
        drift: the most that the shares of a value may differ between the two splits
            (L-infinity distance), for every feature without its own threshold.
        feature_drift: the same by feature; null for a feature that is not judged, such as
            one of time, which drifts in a split by days by its nature.
        domain_drift: the most that the share of a domain may differ.
        ctr_drift: the most that a domain's CTR in the two splits may differ, as a factor;
            beyond it the report warns, and nothing fails.
        min_rows: the drift of a domain with fewer rows than this in the statistics of either
            split is not judged, nor its CTR with fewer in the split.
    """

    schema: str | None = None
    train: str = 'train'
    test: str = 'test'
    drift: float | None = setting(0.3, above=0, maximum=1)
    feature_drift: dict[str, float | None] = field(default_factory=dict)
    domain_drift: float | None = setting(0.3, above=0, maximum=1)
    ctr_drift: float | None = setting(3.0, above=1)
    min_rows: int = setting(500, minimum=1)


@dataclass(frozen=True)
class Floor:
    """The least AUC and GAUC of one domain, and what its PCOC may be: `[low, high]`."""

    min_auc: float | None = setting(None, minimum=0, maximum=1)
    min_gauc: float | None = setting(None, minimum=0, maximum=1)
    pcoc_band: tuple[float, float] | None = setting(None, minimum=0)

    def __post_init__(self):
        _check_band('pcoc_band', self.pcoc_band)


@dataclass(frozen=True)
class EvaluateConfig:
    """When a model is blessed. Without any threshold there is no verdict, and no blessing.

    Attributes:
        split: whose rows are scored.
        max_gauc_drop: how much lower than the pushed model's the GAUC may be; a first model,
            which has no other beside it, passes.
        min_auc, min_gauc: the least overall AUC and GAUC.
        pcoc_band: `[low, high]` of the overall PCOC.
        domains: thresholds of domains, by name.
        domain_pcoc_band: `[low, high]` of the PCOC of every domain that has at least
            `min_impressions` and no band of its own.
        min_impressions: see `domain_pcoc_band`.
        batch_size: rows that are scored at a time.
        replicates: of the bootstrap by user behind the confidence intervals; 0 for none.
        confidence: of the intervals.
        seed: of the bootstrap.
    """

    split: str = 'test'
    max_gauc_drop: float | None = setting(None, minimum=0)
    min_auc: float | None = setting(None, minimum=0, maximum=1)
    min_gauc: float | None = setting(None, minimum=0, maximum=1)
    pcoc_band: tuple[float, float] | None = setting(None, minimum=0)
    domains: dict[str, Floor] = field(default_factory=dict)
    domain_pcoc_band: tuple[float, float] | None = setting(None, minimum=0)
    min_impressions: int = setting(1000, minimum=1)
    batch_size: int = setting(8192, minimum=1)
    replicates: int = setting(100, minimum=0)
    confidence: float = setting(0.95, above=0, maximum=0.999)
    seed: int = setting(1, minimum=0)

    def __post_init__(self):
        _check_band('pcoc_band', self.pcoc_band)
        _check_band('domain_pcoc_band', self.domain_pcoc_band)

    @property
    def has_thresholds(self) -> bool:
        """Whether there is one, without which there is no verdict."""
        return bool(self.domains) or any(threshold is not None for threshold in (
            self.max_gauc_drop, self.min_auc, self.min_gauc, self.pcoc_band,
            self.domain_pcoc_band))


def _check_band(name: str, band: tuple[float, float] | None) -> None:
    if band is not None and not band[0] < band[1]:
        raise ValueError(f'{name} must be [low, high], not {list(band)}.')
