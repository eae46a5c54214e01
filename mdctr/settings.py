"""Settings: immutable pydantic models, whose errors are one sentence for the user.

Every section of a configuration, and the options of every reader, model and framework, is a
subclass of `Settings`. YAML files, the parameters of Kubeflow components (JSON) and the command
line all go through `parse`; `to_mapping` is its inverse.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Strict,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from mdctr.errors import UserError
from mdctr.key_path import KeyPath
from mdctr.renamed_keys import new_name, removal_note
from mdctr.settings_errors import UNKNOWN_KEY, sentence

T = TypeVar('T')

Range = Annotated[tuple[float, float], Strict(False)]
"""`[low, high]`; a list in YAML and JSON."""

_ACCEPT_RENAMED = 'accept renamed keys'


class Settings(BaseModel):
    """Base class of a section of a configuration, and of the options of a component.

    Values are not converted, except that an integer is taken for a float and a list for a
    tuple. Unknown keys are refused.
    """

    model_config = ConfigDict(
        frozen=True, extra='forbid', strict=True, allow_inf_nan=False, protected_namespaces=()
    )

    @model_validator(mode='before')
    @classmethod
    def _check_keys(cls, values: Any, info: ValidationInfo) -> Any:
        if not isinstance(values, Mapping):
            return values
        checked = {}
        for key, value in values.items():
            new = None if key in cls.model_fields else new_name(cls, key)
            if new is not None and (info.context or {}).get(_ACCEPT_RENAMED):
                key, new = new, None
            if key not in cls.model_fields:
                raise PydanticCustomError(
                    UNKNOWN_KEY,
                    'unknown key {key}; {hint}',
                    {'key': key, 'hint': _hint(cls, key, new)},
                )
            checked[key] = value
        return checked

    def replace(self, **changes: Any) -> Self:
        """A copy with other values, which are checked.

        Args:
            changes: New values by key.

        Raises:
            pydantic.ValidationError: A key or a value is not valid.
        """
        return type(self).model_validate({**dict(self), **changes})


def parse(
    cls: type[T],
    values: Any,
    where: str,
    origins: Mapping[KeyPath, str] | None = None,
    *,
    path: KeyPath = (),
    accept_renamed: bool = False,
) -> T:
    """Builds settings, or a dataclass, from plain values and checks every key and value.

    Args:
        cls: Subclass of `Settings`, or a dataclass.
        values: Mapping, as read from YAML or JSON.
        where: Name of the mapping in errors, for example `the parameter config`.
        origins: Origin of the value at a path, for example `shops.yaml:12`, which an error
            names instead of `where`; values inside of it share it.
        path: Path of `values` in the configuration, for errors and `origins`.
        accept_renamed: Whether keys that have been renamed are accepted under their old names,
            as in files that earlier versions wrote.

    Raises:
        UserError: A key is unknown, renamed or missing, or a value has the wrong type or is out
            of bounds.
    """
    adapter: TypeAdapter[T] = _adapter(cls)
    try:
        return adapter.validate_python(values, context={_ACCEPT_RENAMED: accept_renamed})
    except ValidationError as error:
        raise UserError(sentence(error, values, where, origins or {}, path)) from None


def to_mapping(settings: Any) -> dict[str, Any]:
    """The JSON values from which `parse` builds equal settings, or an equal dataclass."""
    values: dict[str, Any] = _adapter(type(settings)).dump_python(settings, mode='json')
    return values


_adapter: Callable[[Any], TypeAdapter[Any]] = functools.cache(TypeAdapter)


def _hint(cls: type[Settings], key: Any, new: str | None) -> str:
    if new is not None:
        return f'it is now called {new}'
    removed = removal_note(cls, key)
    if removed is not None:
        return removed
    close = difflib.get_close_matches(str(key), cls.model_fields, n=1)
    if close:
        return f'did you mean {close[0]}?'
    return f'allowed here: {", ".join(cls.model_fields)}'
