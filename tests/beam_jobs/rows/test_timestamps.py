"""Times in one format a column, in seconds; anything else is not a time."""

import datetime

import numpy as np
import pyarrow as pa
import pytest

from beam_jobs.rows.timestamps import (
    any_seconds,
    check_format,
    formatted_seconds,
    iso_seconds,
    numeric_seconds,
    temporal_seconds,
)

NOON = 1790856000.0  # 2026-10-01 12:00 UTC
ISO = {  # a text: its seconds, None if it is missing, ValueError if it is not ISO 8601
    '2026-10-01 12:00': NOON,
    '2026-10-01T12:00:00Z': NOON,
    '2026-10-01 14:00:00.000+02:00': NOON,
    '2026-10-01 07:00:00 -0500': NOON,
    '2026-10-01T12:00:00.25': NOON + 0.25,
    '2026-10-01T12:00:00.123456789': NOON + 0.123456,
    '2026-10-01': NOON - 12 * 3600,
    '20261001': NOON - 12 * 3600,
    '20261001T1200': NOON,
    ' 2026-10-01 12:00 ': NOON,
    '': None,
    '14102100': ValueError,  # hour 0 of 21 October 2014, as Avazu writes it
    '2026-10-01 12:00 CET': ValueError,
    '11/10/2026': ValueError,
    '13/10/2026': ValueError,
    '1790856000': ValueError,
    '2026-13-01': ValueError,
    '2026-02-30': ValueError,
    '2026-10-01 24:00': ValueError,
    'yesterday': ValueError,
}


def _value(seconds: np.ndarray, invalid: np.ndarray, row: int) -> float | type | None:
    return ValueError if invalid[row] else None if np.isnan(seconds[row]) else seconds[row]


@pytest.mark.parametrize('cell', ISO)
def test_iso_8601_whatever_the_neighbours_are(cell):
    for other in (*ISO, None):
        assert _value(*iso_seconds(pa.array([other, cell])), 1) == ISO[cell]
    assert _value(*iso_seconds(pa.array([cell])), 0) == ISO[cell]


@pytest.mark.parametrize(
    ('time_format', 'cell', 'expected'),
    [
        ('%d/%m/%Y %H:%M', '11/10/2026 12:00', NOON + 10 * 86400),
        ('%d/%m/%Y %H:%M', '13/10/2026 12:00', NOON + 12 * 86400),
        ('%d/%m/%Y %H:%M', '10/13/2026 12:00', ValueError),
        ('%y%m%d%H', '26100112', NOON),
        ('%y%m%d%H', 26100112, NOON),
        ('%Y-%m-%d %H:%M:%S %z', '2026-10-01 14:00:00 +0200', NOON),
        ('%Y-%m-%d', '', None),
        ('%Y-%m-%d', None, None),
        ('%Y-%m-%d', '2026-10-01 12:00', ValueError),
    ],
)
def test_a_given_format(time_format, cell, expected):
    assert check_format(time_format) == time_format
    assert _value(*formatted_seconds(pa.array([cell]), time_format), 0) == expected


@pytest.mark.parametrize(
    'time_format', ['%H:%M', '%Y-%m', '%d.%m. %H:%M', '%Q', '', '%Y %Z', 'x']
)
def test_a_format_without_a_day_is_refused(time_format):
    with pytest.raises(ValueError, match=r'strptime format|lacks the year|time zones'):
        check_format(time_format)


UNITS = {'1e9': 1e6, '1790856000000': NOON, '+1500': 1.5, '1.5': 0.0015, 'x': ValueError}


@pytest.mark.parametrize('cell', UNITS)
def test_a_unit_holds_whatever_the_neighbours_are(cell):
    for other in (*UNITS, '', None, '2026-10-01'):
        assert _value(*numeric_seconds(pa.array([other, cell]), 1000), 1) == UNITS[cell]
    if cell != 'x':
        assert numeric_seconds(pa.array([float(cell)]), 1000)[0][0] == UNITS[cell]


def test_numbers_of_seconds_or_else_iso_8601():
    cells = [f'{NOON:.0f}', '2026-10-01 12:00', '', '11/10/2026', None, '+5']
    seconds, invalid = any_seconds(pa.array(cells))
    np.testing.assert_array_equal(seconds, [NOON, NOON, np.nan, np.nan, np.nan, 5])
    assert invalid.tolist() == [False, False, False, True, False, False]


def test_times_of_arrow():
    time = datetime.datetime(2026, 10, 1, 12)
    for kind in (pa.timestamp('s'), pa.timestamp('ns'), pa.timestamp('us', 'Europe/Madrid')):
        seconds, invalid = temporal_seconds(pa.array([time, None], kind))
        np.testing.assert_array_equal(seconds, [NOON, np.nan])
        assert not invalid.any()
    nanos = pa.array([1_500_000_001]).cast(pa.timestamp('ns'))
    assert temporal_seconds(nanos)[0].tolist() == [1.5]
    for column in (
        pa.array([datetime.time(12), None], pa.time32('s')),
        pa.array([datetime.timedelta(1), None]),
    ):
        assert temporal_seconds(column)[1].tolist() == [True, False]
    assert temporal_seconds(pa.array(['2026-10-01'])) is None
