"""Readers: raw logs of every kind as Arrow record batches with the same canonical columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beam_jobs.config import RANDOM, DatasetConfig, RowFeature
from mdctr.errors import UserError
from mdctr.registry import Registry
from mdctr.settings import parse

if TYPE_CHECKING:
    from beam_jobs.readers.base import Reader

READERS: Registry[Reader] = Registry(
    'reader',
    'beam_jobs.readers.base:Reader',
    {
        'ali-ccp': 'beam_jobs.readers.ali_ccp:AliCcpReader',
        'amazon': 'beam_jobs.readers.amazon:AmazonReader',
        'douban': 'beam_jobs.readers.douban:DoubanReader',
        'generic': 'beam_jobs.readers.generic:GenericReader',
        'iaac': 'beam_jobs.readers.iaac:IaacReader',
        'kuairand': 'beam_jobs.readers.kuairand:KuaiRandReader',
        'mind': 'beam_jobs.readers.mind:MindReader',
        'movielens': 'beam_jobs.readers.movielens:MovieLensReader',
        'open-bandit': 'beam_jobs.readers.open_bandit:OpenBanditReader',
        'taobao-theme': 'beam_jobs.readers.taobao_theme:TaobaoThemeReader',
        'tenrec': 'beam_jobs.readers.tenrec:TenrecReader',
    },
)


def make_reader(config: DatasetConfig, cache: str) -> Reader:
    """The reader that a configuration names, ready to read.

    Args:
        config: The `dataset` section; its features decide which columns are read.
        cache: Directory that fetched files are kept in.

    Raises:
        UserError: The reader is unknown, or does not accept its options or inputs.
    """
    reader = READERS.load(config.reader)
    columns = {
        *config.domain_columns,
        *(
            feature.source_column if isinstance(feature, RowFeature) else feature.name
            for feature in config.features
        ),
    }
    options = parse(reader.Options, config.reader_options, 'dataset.reader_options')
    if isinstance(config.inputs, dict):
        from beam_jobs.readers.by_split import SplitReader

        made: Reader = SplitReader(
            {
                split: reader(inputs, options, cache, columns)
                for split, inputs in config.inputs.items()
            }
        )
    else:
        made = reader(config.inputs, options, cache, columns)
    if not made.has_timestamps:
        _require_no_times(config)
    return made


def _require_no_times(config: DatasetConfig) -> None:
    """Refuses what needs timestamps that the log does not have."""
    if config.split.by not in RANDOM:
        raise UserError(
            f'dataset.split.by is {config.split.by}, but the log has no timestamps: '
            'split it by user, or by inputs.'
        )
    if config.extendable:
        raise UserError('dataset.extendable needs a log with timestamps.')
    for feature in config.features:
        timed = isinstance(feature, RowFeature) and feature.source_column in ('hour', 'weekday')
        if timed or not isinstance(feature, RowFeature):
            raise UserError(
                f'The feature {feature.name} needs timestamps, which the log does not have: '
                'remove it.'
            )
    for column in config.domain_columns:
        if column in ('hour', 'weekday'):
            raise UserError(f'The domain column {column} needs a log with timestamps.')
