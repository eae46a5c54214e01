"""Days and their numbers."""

import datetime

import numpy as np
import pytest

from mdctr.days import day_name, day_number, day_start, days_of


def test_numbers_and_names_are_inverse():
    assert day_number('1970-01-01') == 0
    assert day_name(day_number('2024-02-29')) == '2024-02-29'


def test_what_is_not_a_day():
    for text in ('2024-02-30', '29.2.2024', ''):
        with pytest.raises(ValueError, match='is not a day, which is written YYYY-MM-DD'):
            day_number(text)


def test_days_begin_at_the_offset():
    china = datetime.timezone(datetime.timedelta(hours=8))
    midnight = datetime.datetime(2022, 4, 18, tzinfo=china).timestamp()
    days = days_of(np.array([midnight - 0.001, midnight]), 8.0)
    assert [day_name(day) for day in days] == ['2022-04-17', '2022-04-18']
    assert day_start(day_number('2022-04-18'), 8.0) == midnight
