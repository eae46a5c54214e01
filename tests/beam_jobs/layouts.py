"""A log of four good lines and one bad one for every reader, in its published layout."""

import json
from collections.abc import Callable
from pathlib import Path

GOOD, BAD = 4, 1
_OBD_USER = [f'user_feature_{n}' for n in range(4)]
_OBD_ITEM = [f'item_feature_{n}' for n in range(4)]


def _generic(directory: Path) -> tuple[dict, str]:
    (directory / 'log.csv').write_text(
        'user_id,item_id,timestamp,click,shop\n'
        + ''.join(f'u{n},i{n},{1577836800 + n},{n % 2},s\n' for n in range(4))
        + 'u,i\n'
    )
    return {}, 'shop'


def _movielens(directory: Path) -> tuple[dict, str]:
    (directory / 'ratings.dat').write_text(
        ''.join(f'{n}::1::5::{978300760 + n}\n' for n in range(4)) + '1::2\n'
    )
    (directory / 'users.dat').write_text('1::F::1::10::48067\n')
    (directory / 'movies.dat').write_text('1::Toy Story (1995)::Animation\n')
    return {'variant': '1m'}, 'genre'


def _open_bandit(directory: Path) -> tuple[dict, str]:
    header = (
        f',timestamp,item_id,position,click,propensity_score,{",".join(_OBD_USER)},'
        'user-item_affinity_0\n'
    )
    row = '{n},2019-11-24 00:00:1{n}.004101+00:00,0,1,0,0.1,u,v,w,x,0.0\n'
    rows = {
        'all': row.format(n=1) + row.format(n=2) + 'short\n',
        'men': row.format(n=3),
        'women': row.format(n=4),
    }
    for campaign, text in rows.items():
        folder = directory / 'bts' / campaign
        folder.mkdir(parents=True)
        (folder / f'{campaign}.csv').write_text(header + text)
        (folder / 'item_context.csv').write_text(
            f',item_id,{",".join(_OBD_ITEM)}\n0,0,0.5,a,b,c\n'
        )
    return {'policies': ['bts']}, 'campaign'


def _kuairand(directory: Path) -> tuple[dict, str]:
    (directory / 'log_standard_4_22_to_5_08_pure.csv').write_text(
        'user_id,video_id,time_ms,is_click,is_like,duration_ms,is_rand,tab\n'
        + ''.join(f'{n},7,{1650812741436 + n},1,1,5000,0,1\n' for n in range(4))
        + '1,2\n'
    )
    (directory / 'user_features_pure.csv').write_text('user_id,fans_user_num\n1,5\n')
    (directory / 'video_features_basic_pure.csv').write_text(
        'video_id,upload_dt,tag\n7,2022-04-20,"12,5"\n'
    )
    return {}, 'tab'


def _amazon(directory: Path) -> tuple[dict, str]:
    (directory / 'Gift_Cards_5.json').write_text(
        ''.join(
            json.dumps(
                {
                    'overall': 5.0,
                    'reviewerID': f'A{n}',
                    'asin': 'B',
                    'unixReviewTime': 1441324800 + n,
                }
            )
            + '\n'
            for n in range(4)
        )
        + '{\n'
    )
    return {'categories': ['Gift Cards']}, 'category'


def _taobao_theme(directory: Path) -> tuple[dict, str]:
    (directory / 'theme_click_log.csv').write_text(
        'user_id,item_id,leaf_cate_id,cate_level1_id,theme_id,reach_time\n'
        + ''.join(f'{n},5,6,7,{n % 2},2018-12-01 10:00:0{n}\n' for n in range(4))
        + '1,2\n'
    )
    return {}, 'theme'


def _iaac(directory: Path) -> tuple[dict, str]:
    (directory / 'train.txt').write_text(
        'instance_id item_id user_id user_gender_id context_timestamp is_trade\n'
        + ''.join(f'9 8 {n} 1 {1537236544 + n} 0\n' for n in range(4))
        + '1 2\n'
    )
    return {}, 'user_gender_id'


def _ali_ccp(directory: Path) -> tuple[dict, str]:
    (directory / 'common_features_train.csv').write_text('c,1,101\x02u\x031.0\n')
    (directory / 'sample_skeleton_train.csv').write_text(
        ''.join(f'{n},0,0,c,2,205\x02i\x031.0\x01301\x021\x031.0\n' for n in range(4)) + '1,2\n'
    )
    return {}, '301'


def _douban(directory: Path) -> tuple[dict, str]:
    (directory / 'bookreviews_cleaned.txt').write_text(
        '"user_id"\t"book_id"\t"rating"\t"labels"\t"comment"\t"time"\t"ID"\n'
        + ''.join(
            f'"{n}"\t"7"\t{n + 2}\t"a|b"\t"x"\t"2010-05-0{n + 1}"\t{n}\n' for n in range(4)
        )
        + '"1"\t"7"\n'
    )
    (directory / 'users_cleaned.txt').write_text(
        '"user_id"\t"living_place"\t"join_time"\t"self_statement"\t"UID"\n'
        '"a"\t"Beijing"\t"2007-07-10"\t""\t"1"\n'
    )
    return {'kinds': ['book']}, 'kind'


def _mind(directory: Path) -> tuple[dict, str]:
    (directory / 'behaviors.tsv').write_text(
        ''.join(f'{n}\tU{n}\t11/9/2019 8:36:5{n} AM\tN2\tN1-{n % 2}\n' for n in range(4))
        + '5\tU\n'
    )
    (directory / 'news.tsv').write_text('N1\tsports\tgolf\tA title\tText\turl\t[]\t[]\n')
    return {}, 'category'


def _tenrec(directory: Path) -> tuple[dict, str]:
    (directory / 'QB-video.csv').write_text(
        'user_id,item_id,click,follow,like,share,video_category,watching_times,gender,age\n'
        + ''.join(f'{n},7,{n % 2},0,0,0,1,2,1,4\n' for n in range(4))
        + '1,2\n'
    )
    return {'files': ['QB-video']}, 'video_category'


# Each writes a log into a directory, and gives the reader's options and the domain's column.
LAYOUTS: dict[str, Callable[[Path], tuple[dict, str]]] = {
    'ali-ccp': _ali_ccp,
    'amazon': _amazon,
    'douban': _douban,
    'generic': _generic,
    'iaac': _iaac,
    'kuairand': _kuairand,
    'mind': _mind,
    'movielens': _movielens,
    'open-bandit': _open_bandit,
    'taobao-theme': _taobao_theme,
    'tenrec': _tenrec,
}
_WITHOUT_TIMESTAMPS = ('tenrec',)


def split_of(reader: str) -> dict:
    """A split that the log of a reader can be divided by."""
    by = 'user' if reader in _WITHOUT_TIMESTAMPS else 'time'
    return {'by': by, 'fractions': [0.5, 0.25, 0.25]}
