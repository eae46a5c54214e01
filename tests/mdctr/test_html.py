"""The pieces of the pages, read as a browser would."""

from html.parser import HTMLParser

import pytest

from mdctr import html as report


class Reader(HTMLParser):
    """Collects cells and checks that tags are closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.cells = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in ('meta', 'rect', 'line', 'circle'):
            self.open.append(tag)
        if tag in ('td', 'th'):
            self.cells.append('')

    def handle_endtag(self, tag):
        if tag in self.open:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ('td', 'th'):
            self.cells[-1] += data


def read(text):
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return reader


def test_a_page_is_whole_and_what_it_is_given_is_text():
    text = report.page(
        'A & <b>',
        report.heading('<i>'),
        report.paragraph('1 < 2'),
        report.bullets(['<script>alert(1)</script>']),
        report.verdict(False, '<bad>'),
        report.table(['<c>'], [['<d>'], [report.bar(0.5, '<e>')]]),
    )
    for raw in ('<script', '<bad>', '<c>', '<d>', '<e>', '<i>', 'A & <b>'):
        assert raw not in text
    read(text)


def test_cells():
    cells = read(
        report.table(['name', 'count', 'share'], [['a', 1234567, 0.123456], ['b', 5, None]])
    ).cells
    assert cells == ['name', 'count', 'share', 'a', '1,234,567', '0.1235', 'b', '5', '–']


@pytest.mark.parametrize(('share', 'width'), [(0, 0), (0.5, 60), (1, 120), (7, 120), (-1, 0)])
def test_a_bar_is_as_long_as_its_share(share, width):
    assert f'width="{width:.1f}" height="10" fill="var(--bar)"' in report.bar(share)


def test_a_whisker_is_on_its_scale():
    # From 0 to 10 over 152 pixels after a margin of 4.
    text = report.whisker(2.5, 5, 10, 0, 10)
    assert 'x1="42.0" x2="156.0"' in text and 'cx="80.0"' in text
