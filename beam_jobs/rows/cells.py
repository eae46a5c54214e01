"""What a cell of a raw log means: a text, a number, or a list of texts.

The meaning of a cell depends on the cell alone. Formats with a schema give a column one Arrow
type; of JSON lines and tf.Examples, the type of a column depends on the other rows of its
block. So all types of one value are read as the same: the number 10 as the text `10` whether
its column is of integers, decimals, or (with a missing value elsewhere) floats; a list with
one value as that value; `nan` as a missing number, and `+5` as 5.
"""

import functools

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mdctr.errors import UserError

_NUMBER = r'^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$'
_NAN = ('nan', '+nan', '-nan')
_EXACT = 2.0**53  # whole floats below it are exactly that integer


def plain(column: pa.Array) -> pa.Array:
    """The column without what says nothing about its values.

    Dictionaries are decoded; large texts, bytes and columns of nulls become texts; lists of
    every kind become lists with 32-bit offsets; half floats become single floats.

    Raises:
        UserError: Bytes that are not UTF-8.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        return plain(column.dictionary_decode())
    if pa.types.is_null(kind):
        return pa.nulls(len(column), pa.string())
    if pa.types.is_float16(kind):
        values = column.to_numpy(zero_copy_only=False).astype(np.float32)
        return pa.array(values, mask=~is_valid(column))
    if is_list(kind):
        return _plain_list(column)
    if pa.types.is_large_string(kind) or is_bytes(kind):
        try:
            return column.cast(pa.string())
        except pa.ArrowInvalid as error:
            raise UserError(f'The log contains bytes that are not UTF-8 ({error}).') from None
    return column


def is_list(kind: pa.DataType) -> bool:
    """Whether values of this type are lists."""
    return (
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
    )


def is_bytes(kind: pa.DataType) -> bool:
    """Whether values of this type are bytes."""
    return (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def is_valid(column: pa.Array) -> np.ndarray:
    """Which values are not null; `bool[rows]`."""
    return column.is_valid().to_numpy(zero_copy_only=False)


def texts(column: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Each cell as a text.

    A number is written as an integer if it is whole, whatever the type of its column.

    Args:
        column: Values of any type.

    Returns:
        The texts, null where the cell is missing or not a single value; and which cells are
        not single values (lists of several values, objects), `bool[rows]`.
    """
    column = plain(column)
    kind = column.type
    if pa.types.is_string(kind):
        return column, np.zeros(len(column), bool)
    if is_list(kind):
        return _texts_of_lists(column)
    if pa.types.is_nested(kind):
        return pa.nulls(len(column), pa.string()), is_valid(column)
    return _texts_of_values(column), np.zeros(len(column), bool)


def lists(column: pa.Array) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """Each cell as a list of texts; a single value is a list of one.

    Args:
        column: Values of any type, or lists of them.

    Returns:
        The texts of all lists, null where missing, `[values]`; the row of each, ascending,
        `int64[values]`; and which cells contain something else than single values (lists of
        lists, objects), `bool[rows]`.
    """
    column = plain(column)
    if not is_list(column.type):
        flat, invalid = texts(column)
        return flat, np.arange(len(column)), invalid
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    parents = np.repeat(np.arange(len(column)), lengths)
    values = column.flatten()
    invalid = np.zeros(len(column), bool)
    if pa.types.is_nested(values.type):
        invalid[parents[is_valid(values)]] = True
        return pa.nulls(len(values), pa.string()), parents, invalid
    flat, _ = texts(values)
    return flat, parents, invalid


def numbers(column: pa.Array, truth_values: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Each cell as a number.

    Args:
        column: Values of any type. Texts are decimal numbers, with or without a sign, a
            fraction and an exponent.
        truth_values: Whether true and false, in any case, are the numbers 1 and 0.

    Returns:
        The numbers, `float64[rows]`, NaN where the cell is missing or not a number; and which
        cells are not numbers, `bool[rows]`. An infinite number is a number in a column of
        floats, but not as a text.
    """
    column = plain(column)
    kind = column.type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return values, np.zeros(len(column), bool)
    text, invalid = texts(column)
    values = _numbers_at_once(text)
    if values is None:
        values, not_numbers = _numbers_of_texts(text, truth_values)
        invalid = invalid | not_numbers
    return values, invalid


def join_columns(columns: list[pa.Array]) -> pa.Array:
    r"""Joins the texts of each row by `|`; different rows give different texts.

    In a row of several columns in which a value contains `|`, every `\` becomes `\\` and every
    `|` of a value becomes `\|`. Such a text has more `|` than that of any other row has, so all
    other rows need no escaping.

    Args:
        columns: Texts of each column, `[rows]`.
    """
    if len(columns) == 1:
        return columns[0]
    separators = [pc.match_substring(column, '|') for column in columns]
    escape = functools.reduce(pc.or_, separators)
    joined = pc.binary_join_element_wise(*columns, '|')
    if not pc.any(escape).as_py():
        return joined
    escaped = [
        pc.replace_substring(pc.replace_substring(column, '\\', '\\\\'), '|', '\\|')
        for column in columns
    ]
    return pc.if_else(escape, pc.binary_join_element_wise(*escaped, '|'), joined)


def is_missing(text: pa.Array) -> np.ndarray:
    """Which texts are null or empty; `bool[rows]`."""
    return mask_of(pc.or_kleene(pc.is_null(text), pc.equal(text, '')))


def mask_of(values: pa.Array) -> np.ndarray:
    """Booleans as `bool[rows]`, nulls as False."""
    return pc.fill_null(values, False).to_numpy(zero_copy_only=False)


def _plain_list(column: pa.Array) -> pa.Array:
    if pa.types.is_list(column.type):
        return column
    valid = is_valid(column)
    if pa.types.is_fixed_size_list(column.type):
        size = column.type.list_size
        lengths = np.where(valid, size, 0)
        # Not `flatten`: whether null lists have values depends on Arrow's version.
        values = pa.concat_arrays(
            [pa.array([], column.type.value_type)]
            + [pc.list_element(column, place) for place in range(size)]
        )
        rows = np.flatnonzero(valid)
        values = values.take(pa.array((rows[:, None] + len(column) * np.arange(size)).ravel()))
    else:
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
        values = column.flatten()
    ends = np.concatenate([[0], np.cumsum(lengths)])
    # A null among the offsets makes a null list.
    offsets = pa.array(ends, pa.int32(), mask=np.append(~valid, False))
    return pa.ListArray.from_arrays(offsets, values)


def _texts_of_lists(column: pa.Array) -> tuple[pa.Array, np.ndarray]:
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    values = column.flatten()
    single = lengths == 1
    starts = np.cumsum(lengths) - lengths
    first = values.take(pa.array(np.where(single, starts, 0), mask=~single))
    if pa.types.is_nested(values.type):
        return pa.nulls(len(column), pa.string()), (lengths > 1) | is_valid(first)
    text, _ = texts(first)
    return text, lengths > 1


def _texts_of_values(column: pa.Array) -> pa.Array:
    """Texts of numbers, booleans and times."""
    kind = column.type
    if pa.types.is_floating(kind):
        return _texts_of_floats(column)
    if pa.types.is_decimal(kind):
        values = [None if v is None else format(v, 'f') for v in column.to_pylist()]
        text = pa.array(values, pa.string())
        return _without_trailing_zeros(text) if kind.scale > 0 else text
    if pa.types.is_duration(kind) or pa.types.is_interval(kind):
        return pa.array([None if v is None else str(v) for v in column.to_pylist()])
    text = column.cast(pa.string())
    return _without_trailing_zeros(text) if pa.types.is_temporal(kind) else text


def _texts_of_floats(column: pa.Array) -> pa.Array:
    values = column.to_numpy(zero_copy_only=False).astype(np.float64)
    missing = np.isnan(values)
    with np.errstate(invalid='ignore'):
        whole = (np.abs(values) < _EXACT) & (values % 1 == 0)
    integers = pa.array(np.where(whole, values, 0).astype(np.int64), mask=missing)
    if (whole | missing).all():
        return integers.cast(pa.string())
    text = column.cast(pa.string())
    written = pc.if_else(pa.array(whole), integers.cast(pa.string()), text)
    return pc.if_else(pa.array(missing), pa.scalar(None, pa.string()), written)


def _without_trailing_zeros(text: pa.Array) -> pa.Array:
    """Of texts with a fraction, those without the zeros at the end of it."""
    return pc.replace_substring_regex(text, r'(\.[0-9]*?[1-9])0+$|\.0+$', r'\1')


def _numbers_at_once(text: pa.Array) -> np.ndarray | None:
    """Numbers of texts that are all finite numbers without a sign +; None if one is not."""
    try:
        values = text.cast(pa.float64())
    except pa.ArrowInvalid:
        return None
    numbers = values.to_numpy(zero_copy_only=False)
    # `nan` and `inf` are read too, in spellings that differ from version to version.
    return numbers if (np.isfinite(numbers) | ~is_valid(text)).all() else None


def _numbers_of_texts(text: pa.Array, truth_values: bool) -> tuple[np.ndarray, np.ndarray]:
    text = pc.utf8_trim_whitespace(text)
    lower = pc.utf8_lower(text)
    if truth_values:
        text = pc.if_else(pc.equal(lower, 'true'), '1', text)
        text = pc.if_else(pc.equal(lower, 'false'), '0', text)
    readable = pc.match_substring_regex(text, _NUMBER)
    digits = pc.replace_substring_regex(text, r'^\+', '')
    values = pc.if_else(readable, digits, pa.scalar(None, pa.string())).cast(pa.float64())
    numbers = values.to_numpy(zero_copy_only=False)
    infinite = np.isinf(numbers)
    missing = is_missing(text) | mask_of(pc.is_in(lower, pa.array(_NAN)))
    return np.where(infinite, np.nan, numbers), (~missing & ~mask_of(readable)) | infinite
