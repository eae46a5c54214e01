"""The `data_validation` section of a configuration."""

from typing import Annotated

from pydantic import Field

from mdctr.settings import Settings

Share = Annotated[float, Field(gt=0, le=1)]
Ratio = Annotated[float, Field(gt=1)]


class DataValidationConfig(Settings):
    """Validation of a dataset: how far its splits may differ. Null switches a check off."""

    schema_path: str | None = Field(
        default=None,
        description='Path of a schema.pbtxt to validate against; if absent, the schema is '
        'inferred from the training split.',
    )
    train_split: str = Field(
        default='train',
        description='Split that schemas are inferred from and other splits are compared with.',
    )
    test_split: str = Field(
        default='test',
        description='Split that is compared with the training split; so is `validation`, '
        'unless another split than `test` is named here.',
    )
    false_alarm_rate: float = Field(
        default=0.01,
        gt=0,
        lt=0.5,
        description='Maximum probability that a dataset fails although no difference between '
        'its splits is larger than allowed, over all comparisons together.',
    )
    max_share_change: Share | None = Field(
        default=0.2,
        description="Maximum change of the share of rows with one of a feature's values, or "
        'of numbers below one of its bucket boundaries.',
    )
    feature_max_share_change: dict[str, Share | None] = Field(
        default_factory=dict,
        description='`max_share_change` by feature; null for a feature that is not compared.',
    )
    max_missing_change: Share | None = Field(
        default=0.1,
        description='Maximum change of the share of rows whose value of a feature is missing '
        'or, beyond what is usual in the training split, unseen.',
    )
    max_domain_share_change: Share | None = Field(
        default=0.2, description="Maximum change of a domain's share of the rows."
    )
    max_domain_share_ratio: Ratio | None = Field(
        default=10.0,
        description="Maximum ratio between a domain's shares of the rows in the two splits.",
    )
    max_ctr_odds_ratio: Ratio | None = Field(
        default=3.0,
        description='Maximum ratio between the odds of a click, CTR / (1 - CTR), of all rows '
        'or of a domain in the two splits.',
    )
    min_label_auc: Annotated[float, Field(gt=0, lt=0.5)] | None = Field(
        default=0.45,
        description='Minimum AUC on the compared split of a naive Bayes classifier of the '
        'training split; a smaller one means that labels are inverted.',
    )
    max_user_share: Share | None = Field(
        default=0.2,
        description='Maximum share of one user in the rows of the compared split or of one of '
        'its domains, unless the share of a user in the training split is over a third of it.',
    )
    min_day_size: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=0.25,
        description='Minimum number of rows of a day of the compared split, as a fraction of '
        'the mean of the training days; for splits by days and periods.',
    )
