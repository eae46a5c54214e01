"""Built-in configurations of public logs, built from small files in the published layout."""

import random
from collections import Counter

import pytest

from beam_jobs.build.pipeline import build_dataset
from pipeline.config import load_config

FIELDS = {
    'video': 'user_id,item_id,click,follow,like,share,video_category,watching_times,gender,age',
    'article': 'user_id,item_id,click,gender,age,category_second,category_first',
}


def _build(name, inputs, tmp_path):
    written = '[' + ', '.join(str(path) for path in inputs) + ']'
    config = load_config(name, [f'dataset.inputs={written}', 'dataset.user_buckets=2'])
    dataset = build_dataset(
        config.dataset, name, str(tmp_path / 'dataset'), '/nowhere', progress=False
    )
    return dataset.manifest


def _totals(counts):
    """Adds up the numbers of all splits by domain."""
    return dict(sum((Counter(each) for each in counts), Counter()))


def _check_random_split(manifest, expected):
    """Every row is in one of the three splits; `expected` is (domain, click) of each row."""
    splits = manifest.splits.values()
    assert list(manifest.splits) == ['train', 'validation', 'test']
    assert _totals(split.examples for split in splits) == Counter(d for d, _ in expected)
    assert _totals(split.clicks for split in splits) == Counter(d for d, c in expected if c)
    train = sum(manifest.splits['train'].examples.values())
    assert abs(train / len(expected) - 0.8) < 0.05


@pytest.fixture
def draws():
    return random.Random(7)


def test_tenrec(tmp_path, draws):
    expected = []
    history = ','.join(f'hist_{n}' for n in range(1, 11))
    with (tmp_path / 'ctr_data_1M.csv').open('w') as file:
        file.write(f'{FIELDS["video"]},{history}\n')
        for user in range(1, 41):
            for _ in range(20):
                category = draws.choice(['0', '1', '\\N'])
                click = draws.randrange(2)
                expected.append((category.replace('\\N', 'unknown'), click))
                file.write(
                    f'{user},{draws.randrange(30)},{click},0,0,0,{category},1,1,2,'
                    + '5,6,0,0,0,0,0,0,0,0\n'
                )
    _check_random_split(_build('tenrec', [tmp_path], tmp_path), expected)


def test_tenrec_scenarios(tmp_path, draws):
    clicks = Counter()
    for scenario in ('QK-video', 'QK-article', 'QB-video', 'QB-article'):
        kind = scenario[3:]
        with (tmp_path / f'{scenario}.csv').open('w') as file:
            file.write(FIELDS[kind] + '\n')
            pairs = [(user, item) for user in range(20) for item in range(60)]
            for user, item in draws.sample(pairs, 300):
                click = draws.randrange(2) if kind == 'video' else 1
                clicks[scenario] += click
                rest = ',0,0,0,1,2,1,4' if kind == 'video' else ',1,4,1105,11'
                file.write(f'{user},{item},{click}{rest}\n')
    manifest = _build('tenrec-scenarios', [tmp_path], tmp_path)
    splits = manifest.splits.values()
    assert _totals(split.clicks for split in splits) == clicks
    examples = _totals(split.examples for split in splits)
    for scenario, positives in clicks.items():
        ratio = positives / (examples[scenario] - positives)
        assert 0.19 < ratio < 0.51


def test_mind(tmp_path, draws):
    topics = ['news', 'lifestyle', 'sports', 'finance', 'tv']
    examples, clicks = Counter(), Counter()
    for part, days in (('train', range(9, 15)), ('dev', [15])):
        folder = tmp_path / part
        folder.mkdir()
        (folder / 'news.tsv').write_text(
            ''.join(
                f'N{n}\t{topics[n % 5]}\tsub{n % 7}\tA "title {n}\t\turl\t[]\t[]\n'
                for n in range(40)
            )
        )
        lines = []
        for day in days:
            split = 'test' if day == 15 else 'validation' if day == 14 else 'train'
            for minute in range(20):
                shown = draws.sample(range(40), 5)
                labels = [draws.randrange(2) for _ in shown]
                for news, click in zip(shown, labels, strict=True):
                    if topics[news % 5] != 'tv':
                        examples[split, topics[news % 5]] += 1
                        clicks[split, topics[news % 5]] += click
                text = ' '.join(f'N{n}-{c}' for n, c in zip(shown, labels, strict=True))
                time = f'11/{day}/2019 1:{minute:02}:00 PM'
                user = draws.randrange(9)
                lines.append(f'{minute}\tU{user}\t{time}\tN3 N4\t{text}')
        (folder / 'behaviors.tsv').write_text('\n'.join(lines) + '\n')
    manifest = _build('mind', [tmp_path / 'train', tmp_path / 'dev'], tmp_path)
    for split in ('train', 'validation', 'test'):
        for topic in topics[:4]:
            assert manifest.splits[split].examples[topic] == examples[split, topic]
            assert manifest.splits[split].clicks[topic] == clicks[split, topic]
    assert manifest.rows.rejected == manifest.rows.duplicates == 0


def test_douban(tmp_path, draws):
    expected = []
    for kind in ('book', 'movie', 'music'):
        lines = [f'"user_id"\t"{kind}_id"\t"rating"\t"comment"\t"time"\n']
        pairs = [(user, item) for user in range(30) for item in range(40)]
        for user, item in draws.sample(pairs, 300):
            rating = draws.randint(1, 5)
            expected.append((kind, rating > 3))
            day = f'20{draws.randint(10, 15)}-{draws.randint(1, 12):02}-11'
            lines.append(f'"{user}"\t"{item}"\t"{rating}"\t"So so"\t"{day}"\n')
        (tmp_path / f'{kind}reviews_cleaned.txt').write_text(''.join(lines))
    (tmp_path / 'users_cleaned.txt').write_text(
        '"UID"\t"living_place"\t"join_time"\n'
        + ''.join(f'"{user}"\t"place {user % 4}"\t"2007-07-10"\n' for user in range(29))
    )
    _check_random_split(_build('douban', [tmp_path], tmp_path), expected)
