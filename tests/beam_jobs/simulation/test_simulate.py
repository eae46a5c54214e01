"""Simulated logs: the published figures, an honest truth, and bytes that repeat."""

import hashlib
import itertools
import json
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from beam_jobs.config import DatasetConfig
from beam_jobs.readers import make_reader
from beam_jobs.rows.validate_rows import validate_rows
from beam_jobs.simulation.impressions import calibrate, draw
from beam_jobs.simulation.presets import PRESETS
from beam_jobs.simulation.simulate import GROUP_ROWS, simulate
from beam_jobs.simulation.world import generator, make_world
from mdctr import storage
from mdctr.errors import UserError
from mdctr.settings import parse
from mdctr.yaml_reader import read_yaml
from tests.processes import REPOSITORY
from tests.stopped_writes import StoppedProcess

# STAR, Table 1, and MAMDR, Tables II, III and IV, written again: percent of the impressions
# and CTR, the latter from the CTR ratios as r / (1 + r).
ALIBABA = {
    1: (0.99, 2.14),
    2: (1.61, 2.69),
    3: (3.40, 2.97),
    4: (3.85, 3.63),
    5: (2.79, 2.77),
    6: (0.56, 3.45),
    7: (4.27, 3.59),
    8: (16.76, 3.24),
    9: (10.00, 3.23),
    10: (12.16, 2.08),
    11: (0.76, 12.05),
    12: (1.31, 3.52),
    13: (3.34, 1.27),
    14: (28.76, 3.75),
    15: (1.17, 12.03),
    16: (0.46, 4.02),
    17: (1.05, 1.63),
    18: (0.91, 4.64),
    19: (5.85, 1.42),
}
AMAZON_6 = {
    'Musical Instruments': (7.11, 0.22),
    'Office Products': (23.17, 0.23),
    'Patio Lawn and Garden': (17.87, 0.32),
    'Prime Pantry': (4.10, 0.23),
    'Toys and Games': (31.80, 0.47),
    'Video Games': (15.94, 0.21),
}
AMAZON_13 = {
    'Arts Crafts and Sewing': (11.86, 0.22),
    'Digital Music': (3.78, 0.23),
    'Gift Cards': (0.06, 0.32),
    'Industrial and Scientific': (1.86, 0.23),
    'Luxury Beauty': (0.43, 0.47),
    'Magazine Subscriptions': (0.06, 0.21),
    'Musical Instruments': (3.99, 0.36),
    'Office Products': (15.58, 0.30),
    'Patio Lawn and Garden': (11.36, 0.46),
    'Prime Pantry': (3.22, 0.25),
    'Software': (0.05, 0.30),
    'Toys and Games': (36.97, 0.30),
    'Video Games': (10.78, 0.27),
}
TAOBAO_30 = {  # percent, CTR ratio
    'D1': (1.82, 0.22),
    'D2': (0.96, 0.23),
    'D3': (2.77, 0.32),
    'D4': (8.60, 0.23),
    'D5': (1.59, 0.47),
    'D6': (0.99, 0.21),
    'D7': (0.58, 0.36),
    'D8': (3.31, 0.30),
    'D9': (0.77, 0.46),
    'D10': (2.46, 0.25),
    'D11': (4.03, 0.30),
    'D12': (0.89, 0.30),
    'D13': (1.22, 0.27),
    'D14': (17.29, 0.20),
    'D15': (2.14, 0.33),
    'D16': (0.75, 0.23),
    'D17': (1.94, 0.38),
    'D18': (7.42, 0.22),
    'D19': (1.67, 0.29),
    'D20': (0.40, 0.33),
    'D21': (0.65, 0.47),
    'D22': (4.03, 0.23),
    'D23': (5.73, 0.24),
    'D24': (1.01, 0.44),
    'D25': (9.38, 0.21),
    'D26': (0.73, 0.47),
    'D27': (3.43, 0.37),
    'D28': (5.36, 0.28),
    'D29': (3.35, 0.45),
    'D30': (4.72, 0.43),
}
ROWS = 300000


@pytest.fixture(scope='module')
def logs(tmp_path_factory):
    """A function that simulates a preset once and gives its log, truth, ceiling and place."""
    made = {}

    def get(preset: str):
        if preset not in made:
            directory = tmp_path_factory.mktemp(preset)
            ceiling = simulate(preset, ROWS, str(directory), seed=3)
            log, truth = _parts(directory, 'log'), _parts(directory, 'truth')
            made[preset] = log, truth['probability'].to_numpy(), ceiling, directory
        return made[preset]

    return get


def _parts(directory: Path, name: str) -> pd.DataFrame:
    return pd.concat(
        map(pd.read_parquet, sorted((directory / name).glob('*.parquet'))), ignore_index=True
    )


def _expected(preset: str) -> dict[str, tuple[float, float]]:
    """The portion of the impressions and the CTR of each domain."""
    if preset == 'alibaba-19':
        return {str(n): (share, ctr / 100) for n, (share, ctr) in ALIBABA.items()}
    if preset == 'ctnet-abc':
        return {'A': (200, 0.04), 'B': (200 / 60, 0.06), 'C': (1, 0.08)}
    table = {'amazon-6': AMAZON_6, 'amazon-13': AMAZON_13}.get(preset, TAOBAO_30)
    if preset.startswith('taobao'):
        table = dict(list(table.items())[: int(preset.removeprefix('taobao-'))])
    return {name: (share, ratio / (1 + ratio)) for name, (share, ratio) in table.items()}


@pytest.mark.parametrize('preset', [name for name in PRESETS if name != 'iaac-300'])
def test_published_shares_and_ctrs(logs, preset):
    log, _, _, _ = logs(preset)
    expected = _expected(preset)
    total = sum(share for share, _ in expected.values())
    found = log.groupby('domain', observed=True)['click'].agg(['size', 'mean'])
    assert set(found.index) == set(expected) and len(log) == ROWS
    for name, (share, ctr) in expected.items():
        share /= total
        size, rate = found.loc[name]
        spread = math.sqrt(share * (1 - share) * ROWS)
        # Percentages are printed to two places: half a unit of the last is theirs.
        assert abs(size - share * ROWS) < 4 * spread + 0.00005 * ROWS, name
        assert abs(rate - ctr) < 4 * math.sqrt(ctr * (1 - ctr) / size) + 0.03 * ctr, name


def test_users_and_items_of_alibaba(logs):
    log, *_ = logs('alibaba-19')
    users = log.groupby('domain', observed=True)['user_id'].agg(set)
    both, either = users['1'] & users['2'], users['1'] | users['2']
    assert abs(len(both) / len(either) - 0.0852) < 0.01
    items = log.groupby('domain', observed=True)['item_id'].agg(set)
    small = items['1']  # the pool of #1 is that of #2, and in it the others' too
    assert len(small - items['14']) / len(small) < 0.1
    pools = make_world(PRESETS['alibaba-19'], ROWS, 3).items
    assert pools[0] == pools[1] or (pools[0].own, pools[0].common) == (0, pools[1].common)
    assert all(pool.own < 0.2 * pool.common for pool in pools)


def test_ctnet_has_31_days_and_new_items(logs):
    log, *_ = logs('ctnet-abc')
    day = (log['timestamp'] - log['timestamp'].min()) // 86400
    assert day.max() == 30 and day.value_counts().min() > ROWS / 31 * 0.9
    world = make_world(PRESETS['ctnet-abc'], ROWS, 3)
    pool = world.items[2]
    items = pool.numbers(np.arange(pool.size))
    new = items[world.item_birth[items] > 0]
    assert abs(len(new) / len(items) - 0.4) < 0.01
    shown = log[log['item_id'].isin(new)]
    assert set(shown['domain']) == {'C'} and len(shown) > 50
    time = (shown['timestamp'] - log['timestamp'].min()) / (31 * 86400)
    assert (time.to_numpy() >= world.item_birth[shown['item_id']] - 1 / 31).all()
    assert time.min() >= 0.5 - 1 / 31


def test_iaac_has_hundreds_of_domains_with_a_long_tail(logs):
    log, _, ceiling, _ = logs('iaac-300')
    columns = ['user_gender_id', 'user_age_level', 'user_star_level']
    sizes = log.groupby(columns, observed=True).size()
    assert len(sizes) > 300 and len(ceiling['all']['domains']) == len(sizes)
    assert sizes.max() > 0.02 * ROWS and (sizes < 0.0002 * ROWS).sum() > 50
    assert (log.groupby('user_id')[columns].nunique() == 1).all(axis=None)
    assert abs(log['click'].mean() - 0.02) < 0.002


@pytest.mark.parametrize('preset', ['alibaba-19', 'iaac-300', 'taobao-10'])
def test_clicks_follow_the_truth(logs, preset):
    """In each tenth of the rows by probability clicks come as often as it says."""
    log, probability, _, _ = logs(preset)
    for rows in np.array_split(np.argsort(probability), 10):
        mean, clicks = probability[rows].mean(), log['click'].to_numpy()[rows].mean()
        assert abs(mean - clicks) < 4 * math.sqrt(mean * (1 - mean) / len(rows))


def test_ceiling_against_scikit_learn(logs):
    log, probability, ceiling, directory = logs('alibaba-19')
    assert json.loads((directory / 'truth' / 'ceiling.json').read_text()) == ceiling
    click, overall = log['click'].to_numpy(), ceiling['all']['overall']
    assert overall['auc'] == pytest.approx(roc_auc_score(click, probability), abs=1e-9)
    assert overall['log_loss'] == pytest.approx(
        log_loss(click, probability.astype(float)), rel=1e-6
    )
    rows = (log['domain'] == '15').to_numpy()
    assert ceiling['all']['domains']['15']['auc'] == pytest.approx(
        roc_auc_score(click[rows], probability[rows]), abs=1e-9
    )
    rows &= (log['timestamp'] >= 1622505600 + 2 * 86400).to_numpy()  # 2021-06-03
    assert ceiling['last_day']['domains']['15']['impressions'] == rows.sum()
    assert ceiling['last_day']['domains']['15']['auc'] == pytest.approx(
        roc_auc_score(click[rows], probability[rows]), abs=1e-9
    )
    assert 0.6 < overall['gauc'] < overall['auc'] < 0.9  # something to learn, and noise


@pytest.mark.parametrize('preset', ['alibaba-19', 'ctnet-abc', 'iaac-300'])
def test_probability_is_the_documented_formula(preset):
    world = calibrate(make_world(PRESETS[preset], 20000, 5), 5)
    made = draw(world, generator(5, 9), np.linspace(0, 0.999, 50))
    for row in range(50):
        d, u, v = made.domain[row], made.user[row], made.item[row]
        taste = sum(
            float(world.user_factors[u, i])
            * float(world.tastes[d, i, j])
            * float(world.item_factors[v, j])
            for i in range(8)
            for j in range(8)
        )
        time, hour = row / 49 * 0.999, made.day[row] % 1 * 24
        logit = (
            world.click_rates[d]
            + 0.9 * taste / math.sqrt(8)
            + world.user_bias[u]
            + world.item_appeal[v]
            + (world.item_trend[v] + world.domain_trend[d]) * (time - 0.5)
            - world.position_effect[d] * math.log(made.position[row])
            + world.hour_effect[d] * math.cos(2 * math.pi * (hour - world.hour_phase[d]) / 24)
        )
        assert made.probability[row] == pytest.approx(1 / (1 + math.exp(-logit)), rel=1e-3)


def test_domains_differ_in_what_they_show(logs):
    """Categories, positions and users' groups are distributed otherwise in each domain."""
    log, *_ = logs('alibaba-19')
    for column in ('item_category', 'position', 'user_group'):
        shares = pd.crosstab(log['domain'], log[column], normalize='index')
        distances = [
            (shares.loc[one] - shares.loc[other]).abs().sum() / 2
            for one, other in itertools.combinations(['8', '9', '10', '14'], 2)
        ]
        assert np.mean(distances) > 0.05, column


def test_the_log_is_in_order_of_time(logs):
    for preset in ('alibaba-19', 'ctnet-abc'):
        times = logs(preset)[0]['timestamp'].to_numpy()
        assert (np.diff(times) >= 0).all()


@pytest.mark.parametrize('preset', ['alibaba-19', 'iaac-300'])
def test_same_seed_same_bytes(tmp_path, preset):
    sums = []
    for name, seed in (('a', 1), ('b', 1), ('c', 2)):
        simulate(preset, 5000, str(tmp_path / name), seed)
        sums.append(
            [
                hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted((tmp_path / name).rglob('*.*'))
            ]
        )
    assert sums[0] == sums[1] and len(sums[0]) == 4
    assert not set(sums[0]) & set(sums[2])


@pytest.mark.parametrize('place', ['local', pytest.param('s3', marks=pytest.mark.slow)])
@pytest.mark.parametrize('write', range(1, 5))  # what is simulated, log, truth, ceiling
def test_a_simulation_is_killed_and_repeated(tmp_path, request, place, write):
    directory = str(tmp_path / 'killed')
    if place == 's3':
        directory = request.getfixturevalue('bucket') + '/simulated'
    environment = {name: value for name, value in os.environ.items() if name[:4] == 'AWS_'}
    assert StoppedProcess(simulate_in, (environment, directory), at=write).was_killed()
    repeated = simulate('taobao-10', 1000, directory)
    assert repeated == simulate('taobao-10', 1000, str(tmp_path / 'undisturbed'))
    assert storage.list_files(directory) == [
        'log/part-00000.parquet',
        'simulation.json',
        'truth/ceiling.json',
        'truth/part-00000.parquet',
    ]
    for name in storage.list_files(directory):
        undisturbed = (tmp_path / 'undisturbed' / name).read_bytes()
        assert storage.read_bytes(storage.join(directory, name)) == undisturbed, name


def simulate_in(environment: dict[str, str], directory: str) -> None:
    """Simulates a small log in a process of its own."""
    os.environ.update(environment)
    simulate('taobao-10', 1000, directory)


def test_a_complete_simulation_is_left_as_it_is(tmp_path):
    ceiling = simulate('taobao-10', 1000, str(tmp_path))
    log = tmp_path / 'log' / 'part-00000.parquet'
    log.unlink()
    assert simulate('taobao-10', 1000, str(tmp_path)) == ceiling
    assert not log.exists()


def test_several_row_groups_are_one_log(tmp_path):
    rows = GROUP_ROWS + 1000
    simulate('taobao-10', rows, str(tmp_path), ceiling=False)
    log = _parts(tmp_path, 'log')
    assert len(log) == rows == len(_parts(tmp_path, 'truth'))
    assert (np.diff(log['timestamp']) >= 0).all()
    assert not (tmp_path / 'truth' / 'ceiling.json').exists()


@pytest.mark.parametrize(
    'config', ['alibaba-19', 'ctnet-abc', 'iaac-300', 'simulated-taobao-10']
)
def test_the_configuration_reads_the_log(logs, config):
    path = REPOSITORY / 'pipeline' / 'configs' / f'{config}.yaml'
    section = read_yaml(path.read_text(), config).values['dataset']
    _, _, _, directory = logs(config.removeprefix('simulated-'))
    section['inputs'] = [str(directory / 'log')]
    dataset = parse(DatasetConfig, section, config)
    reader = make_reader(dataset, '/nowhere')
    rows = 0
    for shard in reader.shards():
        for batch in reader.read(shard):
            good, bad = validate_rows(batch.rows, dataset)
            assert bad.num_rows == batch.rejected.num_rows == 0
            assert 'probability' not in batch.rows.schema.names
            rows += good.num_rows
    assert rows == ROWS


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (
            ('alibaba-20', 5000),
            'Unknown preset alibaba-20: choose one of alibaba-19, taobao-10',
        ),
        (('alibaba-19', 10), 'A log of 10 rows is too small to simulate'),
    ],
)
def test_mistakes(tmp_path, arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        simulate(*arguments, str(tmp_path / 'x'))
    assert not (tmp_path / 'x').exists()


def test_the_directory_must_be_free(tmp_path):
    simulate('taobao-10', 1000, str(tmp_path / 'x'))
    with pytest.raises(UserError, match='x already contains another log'):
        simulate('taobao-10', 2000, str(tmp_path / 'x'))
    (tmp_path / 'own' / 'log').mkdir(parents=True)
    with pytest.raises(UserError, match='own already contains another log'):
        simulate('taobao-10', 1000, str(tmp_path / 'own'))
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='file cannot be read or written: Not a directory'):
        simulate('taobao-10', 1000, str(tmp_path / 'file'))
