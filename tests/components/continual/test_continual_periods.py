"""The next period, given a manifest and pushed versions that are written by hand."""

import dataclasses
import json
import os

import pytest

from beam_jobs.evaluation.config import DomainThresholds, EvaluateConfig
from components.continual import run
from components.continual.attempt import Attempt, plan
from components.continual.config import BaseTrainConfig, ContinualConfig
from components.continual.context import ContinualContext
from components.continual.extend import pending_period
from components.continual.periods import days_of, find_period, periods
from components.continual.versions import Record, write_record
from mdctr.errors import UserError
from mdctr.manifest import Manifest, Rows, Split, write_manifest
from tests.components.continual.pushed_versions import write_version

STRICT = EvaluateConfig(
    min_auc=0.9,
    domain_thresholds={
        'small': DomainThresholds(min_auc=0.9),
        'large': DomainThresholds(min_auc=0.9),
    },
)


def day(number: int) -> str:
    return f'2020-01-{number:02d}'


def manifest_of(days: int, without=()):
    """Splits `period-1`..., each a day with 10 rows of each shop, but for `without`."""
    splits = {
        f'period-{n}': Split(
            (day(n), day(n)),
            {shop: 0 if (shop, n) in without else 10 for shop in ('large', 'small')},
            {},
            digest=f'content of day {n}',
        )
        for n in range(1, days + 1)
    }
    return Manifest('shops', 'f', [], [], splits, Rows(0, 0, 0, 0, 0, 0, 0))


@pytest.fixture
def context(tmp_path):
    return ContinualContext(
        'shops',
        ContinualConfig(
            source_domains=['large'],
            target_domains=['small'],
            days_per_period=2,
            warm_up_days=3,
        ),
        str(tmp_path),
    )


def pushed(context, model, last, kind, number=1, record=True):
    """A version that has seen the days up to `last`."""
    seen = Record(model, kind, day(1), day(last), ['period-1'], 'x')
    return write_version(context, seen if record else None, model, number)


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
    wide = dataclasses.replace(
        manifest, splits=manifest.splits | {'test': Split((day(4), day(9)), {}, {})}
    )
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
        'source',
        None,
        None,
        0,
    )
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


def test_a_source_that_has_seen_the_day_after_is_not_used(context):
    pushed(context, 'small', 4, 'transfer')
    older = pushed(context, 'source', 6, 'source', 1)
    pushed(context, 'source', 8, 'source', 2)  # knows day 7, on which period 3 is evaluated
    assert planned(context, 'small', manifest_of(9), 3).source == older


def test_without_a_source_the_plain_model_continues_but_ctnet_cannot(context):
    pushed(context, 'small', 4, 'base')
    assert planned(context, 'small', manifest_of(7), 3).record.kind == 'base'
    pushed(context, 'small', 6, 'transfer', 2)
    with pytest.raises(UserError, match='no complete version of shops-source up to 2020-01-08'):
        planned(context, 'small', manifest_of(9), 4)


def test_without_a_warm_up_ctnet_begins_at_once(context):
    source = pushed(context, 'source', 2, 'source')
    at_once = dataclasses.replace(context, continual=context.continual.replace(warm_up_days=0))
    first = planned(at_once, 'small', manifest_of(3), 1)
    assert (first.record.kind, first.parent, first.source) == ('transfer', None, source)


def test_half_written_versions_are_ignored(context):
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
    # There are rows to train on, but none to evaluate on: the next period has them, too.
    unjudged = {('small', 3)}
    sentence = planned(context, 'small', manifest_of(7, unjudged), 1)
    assert 'has no rows on 2020-01-03, on which a model up to 2020-01-02' in sentence
    assert planned(context, 'small', manifest_of(7, unjudged), 2).record.splits == [
        f'period-{n}' for n in (1, 2, 3, 4)
    ]


def test_the_first_period_with_a_model_to_train_is_pending(context):
    manifest = manifest_of(7)
    assert pending_period(context, manifest, STRICT).number == 1
    pushed(context, 'source', 2, 'source')
    assert pending_period(context, manifest, STRICT).number == 1  # the target is still to come
    pushed(context, 'small', 2, 'base')
    assert pending_period(context, manifest, STRICT).number == 2
    pushed(context, 'source', 6, 'source', 2)
    pushed(context, 'small', 6, 'base', 2)
    assert pending_period(context, manifest, STRICT) is None
    assert pending_period(context, manifest_of(8), STRICT) is None
    assert pending_period(context, manifest_of(9), STRICT).number == 4


def test_after_a_refusal_the_days_are_trained_again_with_the_next_period(context):
    pushed(context, 'source', 6, 'source')
    pushed(context, 'small', 2, 'base')
    manifest = manifest_of(7)
    refuse(planned(context, 'small', manifest, 2))
    assert pending_period(context, manifest, STRICT).number == 3
    third = planned(context, 'small', manifest, 3)
    assert third.record.splits == [f'period-{n}' for n in (3, 4, 5, 6)]
    refuse(third)
    assert pending_period(context, manifest, STRICT) is None
    # With other settings it is another attempt.
    other = dataclasses.replace(
        context,
        continual=context.continual.replace(base_train=BaseTrainConfig(epochs=2)),
    )
    assert pending_period(other, manifest, STRICT).number == 2
    # So it is with other thresholds of this model; those of other models do not matter.
    assert pending_period(context, manifest, STRICT.replace(min_auc=0.5)).number == 2
    assert (
        pending_period(
            context,
            manifest,
            STRICT.replace(domain_thresholds={'small': DomainThresholds(min_auc=0.9)}),
        )
        is None
    )
    # A later day changes nothing about what was refused.
    assert pending_period(context, manifest_of(8), STRICT) is None


def corrected(manifest, split):
    """The manifest after the log of a split's day was corrected; its counts stay."""
    other = dataclasses.replace(manifest.splits[split], digest='corrected')
    return dataclasses.replace(manifest, splits=manifest.splits | {split: other})


def test_an_attempt_is_identified_by_the_content_of_its_days(context):
    manifest = manifest_of(7)
    first = planned(context, 'source', manifest, 1)
    assert planned(context, 'source', manifest, 1) == first
    for split in ('period-1', 'period-2', 'period-3'):  # it is evaluated on the third
        again = planned(context, 'source', corrected(manifest, split), 1)
        assert again.directory != first.directory, split
        assert again.record.digest != first.record.digest
    # A later day is no part of it.
    assert planned(context, 'source', corrected(manifest, 'period-4'), 1) == first


def test_what_was_refused_is_tried_again_after_its_log_was_corrected(context):
    manifest = manifest_of(3)
    for model in context.continual.models:
        refuse(planned(context, model, manifest, 1))
    assert pending_period(context, manifest, STRICT) is None
    assert pending_period(context, corrected(manifest, 'period-2'), STRICT).number == 1


def test_a_model_of_a_dataset_that_was_built_again_is_trained_again(
    context, tmp_path, monkeypatch
):
    """Its days have the same content, but push would refuse it as one of another dataset."""
    os.makedirs(context.dataset)
    write_manifest(context.dataset, manifest_of(3))
    attempt = planned(context, 'source', manifest_of(3), 1)
    trained = []
    monkeypatch.setattr(run, '_train', lambda _, dataset, attempt: trained.append(attempt))

    def exported(fingerprint):
        os.makedirs(attempt.export, exist_ok=True)
        with open(os.path.join(attempt.export, 'model.json'), 'w') as file:
            json.dump({'features': [], 'dataset': {'fingerprint': fingerprint}}, file)
        write_record(attempt.export, attempt.record)
        open(os.path.join(attempt.export, 'saved_model.pb'), 'w').close()

    exported('f')
    assert run.train_model(context, 'source', 1) == attempt and not trained
    exported('of a dataset that is gone')
    assert run.train_model(context, 'source', 1) == attempt and trained == [attempt]


@pytest.mark.parametrize('reference', ['pushed', 'best'])
def test_a_model_is_compared_with_the_versions_of_its_own_name(context, monkeypatch, reference):
    from beam_jobs.evaluation import evaluate

    manifest = manifest_of(7)
    pushed(context, 'source', 4, 'source', 3)
    versions = [pushed(context, 'small', last, 'base', last // 2) for last in (4, 2)]
    attempt = planned(context, 'small', manifest, 3)
    asked = []

    def evaluated(dataset, model, output, config, **arguments):
        asked.append((config, arguments['pushed'], arguments['domains']))
        return evaluate.Evaluation({}, True, [], {'blessed': True})

    monkeypatch.setattr(evaluate, 'evaluate', evaluated)
    os.makedirs(attempt.evaluation)
    thresholds = EvaluateConfig(max_gauc_drop=0.01, reference=reference, recent_pushes=4)
    assert run.evaluate_model(context, attempt, thresholds) == {'blessed': True}
    assert asked == [(thresholds.replace(split='period-7'), versions, ['small'])]


def test_an_attempt_is_passed_between_steps_as_text(context, monkeypatch):
    pushed(context, 'small', 2, 'base')
    attempt = planned(context, 'small', manifest_of(5), 2)
    monkeypatch.setattr(ContinualContext, 'manifest', lambda self: manifest_of(6))
    assert Attempt.from_json(attempt.to_json(), context) == attempt
    assert 'domains' not in json.loads(attempt.to_json())  # thousands would not fit
    assert json.loads(attempt.to_json())['record']['parent']['version'] == 1
