"""Readers: raw logs of every kind as Arrow record batches with the same canonical columns."""

import importlib

from beam_jobs.config import DatasetConfig
from beam_jobs.errors import UserError

READERS = {
    'ali-ccp': 'ali_ccp.AliCcpReader',
    'amazon': 'amazon.AmazonReader',
    'generic': 'generic.GenericReader',
    'iaac': 'iaac.IaacReader',
    'kuairand': 'kuairand.KuaiRandReader',
    'movielens': 'movielens.MovieLensReader',
    'open-bandit': 'open_bandit.OpenBanditReader',
    'taobao-theme': 'taobao_theme.TaobaoThemeReader',
}


def make_reader(config: DatasetConfig, cache: str):
    """The reader that `config` names, ready to read.

    Args:
        config: its `reader`, `inputs` and `options`; its features say which columns are read.
        cache: the directory that fetched files are kept in.

    Returns:
        A `beam_jobs.readers.base.Reader`.

    Raises:
        UserError: there is no reader of that name, or it does not take these options.
    """
    if config.reader not in READERS:
        raise UserError(f'dataset.reader: there is no reader {config.reader}; there are '
                        f'{", ".join(sorted(READERS))}.')
    module, _, name = READERS[config.reader].partition('.')
    made = getattr(importlib.import_module(f'beam_jobs.readers.{module}'), name)
    columns = {*config.domain, *(f.column or f.name for f in config.features)}
    return made(config.inputs, config.options, cache, columns)
