"""What comes next, told from a manifest and pushed versions that are written by hand."""

import dataclasses
import json
import os

import pytest

from beam_jobs.dataset import Manifest, Rows, Split, write_manifest
from beam_jobs.errors import UserError
from beam_jobs.judge_config import EvaluateConfig, Floor
from components.continual.attempt import Attempt, plan
from components.continual.config import ContinualConfig
from components.continual.context import Context
from components.continual.extend import waiting
from components.continual.periods import days_of, find_period, periods
from components.continual.versions import Record, write_record
from trainer.config import TrainConfig

STRICT = EvaluateConfig(min_auc=0.9, domains={'small': Floor(0.9), 'large': Floor(0.9)})


def day(number: int) -> str:
    return f'2020-01-{number:02d}'


def manifest_of(days: int, without=()):
    """Splits `period-1`..., each a day with 10 rows of each shop, but for `without`."""
    splits = {f'period-{n}': Split((day(n), day(n)), {
        shop: 0 if (shop, n) in without else 10 for shop in ('large', 'small')}, {})
        for n in range(1, days + 1)}
    return Manifest('shops', 'f', [], [], splits, Rows(0, 0, 0, 0, 0, 0, 0))


@pytest.fixture
def context(tmp_path):
    return Context('shops', ContinualConfig(['large'], ['small'], days_per_period=2,
                                            warm_up_days=3), str(tmp_path))


def pushed(context, model, last, kind, number=1, record=True):
    """A version that has seen the days up to `last`."""
    directory = os.path.join(context.models, f'shops-{model}', str(number))
    os.makedirs(directory)
    with open(os.path.join(directory, 'model.json'), 'w') as file:
        json.dump({'features': [], 'dataset': {'fingerprint': 'f'}}, file)
    if record:
        write_record(directory, Record(model, kind, day(1), day(last), ['period-1'], 'x'))
    open(os.path.join(directory, 'saved_model.pb'), 'w').close()
    return directory


def planned(context, model, manifest, number):
    found = list(periods(days_of(manifest), context.continual))[number - 1]
    return plan(context, manifest, model, found)


def refuse(attempt):
    os.makedirs(attempt.evaluation)
    with open(os.path.join(attempt.evaluation, 'metrics.json'), 'w') as file:
        json.dump({'blessed': False}, file)
    with open(os.path.join(attempt.evaluation, 'thresholds.json'), 'w') as file:
        json.dump(attempt.judged_by(STRICT), file)


def test_a_period_is_complete_with_the_day_after(context):
    for days, complete in ((1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (7, 3)):
        assert len(list(periods(days_of(manifest_of(days)), context.continual))) == complete
    second = list(periods(days_of(manifest_of(5)), context.continual))[1]
    assert [one.day for one in second.days] == [day(3), day(4)]
    assert (second.number, second.last_day, second.evaluated_on.day) == (2, day(4), day(5))
    assert [one.day for one in second.since(day(1))] == [day(2), day(3), day(4)]


def test_a_split_of_several_days_is_refused(context, tmp_path):
    manifest = manifest_of(3)
    wide = dataclasses.replace(manifest, splits=manifest.splits | {
        'test': Split((day(4), day(9)), {}, {})})
    with pytest.raises(UserError, match='The split test .* needs a split for each day'):
        days_of(wide)
    os.makedirs(tmp_path / 'dataset')
    write_manifest(str(tmp_path / 'dataset'), manifest)
    with pytest.raises(UserError, match='has no complete period 2'):
        find_period(str(tmp_path / 'dataset'), context.continual, 2)


def test_the_first_period_starts_from_nothing(context):
    source = planned(context, 'source', manifest_of(5), 1)
    assert source.record.splits == ['period-1', 'period-2']
    assert source.record.evaluated_on == 'period-3'
    assert (source.record.kind, source.parent, source.baseline, source.expected) == (
        'source', None, None, 0)
    target = planned(context, 'small', manifest_of(5), 1)
    assert (target.record.kind, target.source, target.domains) == ('base', None, ['small'])


def test_each_continues_its_newest_and_ctnet_begins_after_the_warm_up(context):
    before = pushed(context, 'small', 2, 'base')
    source = pushed(context, 'source', 4, 'source')
    warm = planned(context, 'small', manifest_of(9), 2)  # 2 of 3 days before it
    assert (warm.record.kind, warm.parent, warm.source) == ('base', before, None)
    assert warm.record.splits == ['period-3', 'period-4']
    third = planned(context, 'small', manifest_of(9), 3)
    assert (third.record.kind, third.parent, third.source) == ('transfer', before, source)
    assert third.record.splits == [f'period-{n}' for n in (3, 4, 5, 6)]
    assert (third.baseline, third.expected) == (before, 1)


def test_a_source_that_has_seen_the_day_after_is_not_taken(context):
    pushed(context, 'small', 4, 'transfer')
    older = pushed(context, 'source', 6, 'source', 1)
    pushed(context, 'source', 8, 'source', 2)  # knows day 7, by which period 3 is judged
    assert planned(context, 'small', manifest_of(9), 3).source == older


def test_without_a_source_the_plain_model_goes_on_but_ctnet_cannot(context):
    pushed(context, 'small', 4, 'base')
    assert planned(context, 'small', manifest_of(7), 3).record.kind == 'base'
    pushed(context, 'small', 6, 'transfer', 2)
    with pytest.raises(UserError, match='no complete version of shops-source up to 2020-01-08'):
        planned(context, 'small', manifest_of(9), 4)


def test_without_a_warm_up_ctnet_begins_at_once(context):
    source = pushed(context, 'source', 2, 'source')
    at_once = dataclasses.replace(context, continual=dataclasses.replace(
        context.continual, warm_up_days=0))
    first = planned(at_once, 'small', manifest_of(3), 1)
    assert (first.record.kind, first.parent, first.source) == ('transfer', None, source)


def test_half_written_versions_are_passed_over(context):
    whole = pushed(context, 'source', 2, 'source', 1)
    os.remove(os.path.join(pushed(context, 'source', 4, 'source', 2), 'saved_model.pb'))
    cut = os.path.join(pushed(context, 'source', 4, 'source', 3), 'model.json')
    with open(cut, 'r+') as file:
        file.truncate(40)
    os.remove(os.path.join(pushed(context, 'source', 4, 'source', 4), 'model.json'))
    pushed(context, 'source', 4, 'source', 5, record=False)  # of another pipeline
    attempt = planned(context, 'source', manifest_of(5), 2)
    assert attempt.parent == whole
    assert attempt.record.splits == ['period-3', 'period-4']
    assert attempt.expected == 5


def test_a_period_that_has_no_rows_leaves_the_served_model(context):
    without = {('small', 1), ('small', 2)}
    sentence = planned(context, 'small', manifest_of(7, without), 1)
    assert sentence.startswith('small has no rows from 2020-01-01 to 2020-01-02')
    assert isinstance(planned(context, 'source', manifest_of(7, without), 1), Attempt)
    # Rows, but none to judge by: the next period has them too.
    unjudged = {('small', 3)}
    sentence = planned(context, 'small', manifest_of(7, unjudged), 1)
    assert 'has no rows on 2020-01-03, by which a model up to 2020-01-02' in sentence
    assert planned(context, 'small', manifest_of(7, unjudged), 2).record.splits == [
        f'period-{n}' for n in (1, 2, 3, 4)]


def test_the_first_period_with_a_model_to_train_waits(context):
    manifest = manifest_of(7)
    assert waiting(context, manifest, STRICT).number == 1
    pushed(context, 'source', 2, 'source')
    assert waiting(context, manifest, STRICT).number == 1  # the target is still to come
    pushed(context, 'small', 2, 'base')
    assert waiting(context, manifest, STRICT).number == 2
    pushed(context, 'source', 6, 'source', 2)
    pushed(context, 'small', 6, 'base', 2)
    assert waiting(context, manifest, STRICT) is None
    assert waiting(context, manifest_of(8), STRICT) is None
    assert waiting(context, manifest_of(9), STRICT).number == 4


def test_after_a_refusal_the_days_come_again_with_the_next_period(context):
    pushed(context, 'source', 6, 'source')
    pushed(context, 'small', 2, 'base')
    manifest = manifest_of(7)
    refuse(planned(context, 'small', manifest, 2))
    assert waiting(context, manifest, STRICT).number == 3
    third = planned(context, 'small', manifest, 3)
    assert third.record.splits == [f'period-{n}' for n in (3, 4, 5, 6)]
    refuse(third)
    assert waiting(context, manifest, STRICT) is None
    # The same with other settings is another attempt.
    other = dataclasses.replace(context, continual=dataclasses.replace(
        context.continual, base_train=TrainConfig(epochs=2)))
    assert waiting(other, manifest, STRICT).number == 2
    # So it is with other thresholds; those of another model do not count.
    assert waiting(context, manifest, dataclasses.replace(STRICT, min_auc=0.5)).number == 2
    assert waiting(context, manifest, dataclasses.replace(
        STRICT, domains={'small': Floor(0.9)})) is None
    # A later day changes nothing about what was refused.
    assert waiting(context, manifest_of(8), STRICT) is None


def test_an_attempt_goes_from_step_to_step_as_text(context):
    pushed(context, 'small', 2, 'base')
    attempt = planned(context, 'small', manifest_of(5), 2)
    assert Attempt.from_json(attempt.to_json()) == attempt
    assert json.loads(attempt.to_json())['record']['parent']['version'] == 1
