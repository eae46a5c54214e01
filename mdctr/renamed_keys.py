"""The tables of configuration keys that have been renamed or removed.

An old key in a configuration is an error that names the new one, or says what to do. Files that
earlier versions wrote (`model.json`) are read under the old names.
"""

from collections.abc import Mapping
from typing import Any

# By the qualified name of the `Settings` class: old key -> new key. Subclasses inherit it.
RENAMED_KEYS: dict[str, dict[str, str]] = {
    'RunConfig': {'validate': 'data_validation'},
    'DatasetConfig': {
        'buckets': 'user_buckets',
        'domain': 'domain_columns',
        'max_rejected_share': 'max_rejected_fraction',
        'options': 'reader_options',
    },
    'SequenceFeature': {'length': 'max_length'},
    'HistoryFeature': {
        'length': 'max_length',
        'of': 'feature',
        'remembers': 'events',
        'until': 'as_of',
    },
    'StatisticFeature': {'of': 'group_by', 'until': 'as_of', 'value': 'aggregation'},
    'SamplingConfig': {'popularity': 'popularity_exponent'},
    'SplitConfig': {'start': 'first_day'},
    'DataValidationConfig': {
        'ctr_drift': 'max_ctr_odds_ratio',
        'ctr_drift_threshold': 'max_ctr_odds_ratio',
        'domain_drift': 'max_domain_share_change',
        'domain_drift_threshold': 'max_domain_share_change',
        'drift': 'max_share_change',
        'drift_threshold': 'max_share_change',
        'feature_drift': 'feature_max_share_change',
        'feature_drift_thresholds': 'feature_max_share_change',
        'schema': 'schema_path',
        'test': 'test_split',
        'train': 'train_split',
    },
    'EvaluateConfig': {
        'confidence': 'confidence_level',
        'domains': 'domain_thresholds',
        'replicates': 'bootstrap_replicates',
    },
    'TrainConfig': {
        'average': 'average_weights',
        'batches': 'batching',
        'schedule': 'lr_schedule',
        'stop_by': 'early_stopping_metric',
        'stream_rows': 'streaming_buffer_size',
        'warmup': 'warmup_ratio',
    },
    'ModelConfig': {'auxiliary': 'auxiliary_network', 'exclude': 'exclude_features'},
    # Options of models.
    'CrossStitch.Options': {'own': 'same_domain_weight'},
    'CTNet.Options': {
        'adapter_scale': 'adapter_stddev',
        'remembered_mib': 'source_cache_mib',
        'tower_exclude': 'source_only_features',
    },
    'DASL.Options': {
        'alignment': 'alignment_weight',
        'orthogonality': 'orthogonality_weight',
    },
    'DDTCDR.Options': {'orthogonality': 'orthogonality_weight'},
    'MulANN.Options': {'strength': 'adversarial_weight'},
    'TaobaoBase.Options': {'retrieved': 'top_k'},
    'TargetTowerModel.Options': {
        'tower': 'target_tower',
        'tower_options': 'target_tower_options',
    },
    # Options of frameworks.
    'Finetune.Options': {'tuning_rate': 'tuning_learning_rate'},
    'InnerOptions': {
        'inner_options': 'inner_optimizer_options',
        'inner_rate': 'inner_learning_rate',
        'slots': 'slot_lifetime',
    },
    'MAML.Options': {'inner_rate': 'inner_learning_rate'},
    'MLDG.Options': {'inner_rate': 'inner_learning_rate'},
    'OuterOptions': {
        'outer_options': 'outer_optimizer_options',
        'outer_rate': 'outer_learning_rate',
    },
    'RegularizationOptions': {
        'helpers': 'helper_domains',
        'regularization_rate': 'regularization_learning_rate',
        'specific': 'specific_parameters',
    },
    # Options of readers.
    'AliCcpOptions': {'length': 'max_length', 'validation': 'validation_every'},
    'GenericOptions': {'header': 'column_names', 'lists': 'list_columns'},
}

# Keys that have no successor, and why: completes the sentence "unknown key ...; ".
REMOVED_KEYS: dict[str, dict[str, str]] = {
    'DataValidationConfig': dict.fromkeys(
        ['min_examples', 'min_rows'],
        'remove it: small domains are compared by tests, at the rate of false_alarm_rate',
    ),
}


def with_new_names(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a `Settings` class under the new names of keys that were renamed."""
    return {new_name(cls, key) or key: value for key, value in values.items()}


def new_name(cls: type, key: object) -> str | None:
    """The new name of a key of a `Settings` class; None if it never had `key`."""
    for base in cls.__mro__:
        renamed = RENAMED_KEYS.get(base.__qualname__, {})
        if key in renamed:
            return renamed[str(key)]
    return None


def removal_note(cls: type, key: object) -> str | None:
    """What to do about a key that has no successor; None if `key` is not one of them."""
    for base in cls.__mro__:
        removed = REMOVED_KEYS.get(base.__qualname__, {})
        if key in removed:
            return removed[str(key)]
    return None
