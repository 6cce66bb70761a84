"""Given values to structs, collecting every problem instead of stopping at the first.

cattrs reports all problems of attrs classes and dataclasses but hands msgspec structs to
`msgspec.convert`, which stops at the first; so each field is converted on its own here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from runtime.settings.forms import PATH, form_of, is_secret
from runtime.settings.problems import Problem, closest, listed, shown

SectionT = TypeVar("SectionT", bound=msgspec.Struct)

_REPORTED_PLACE = re.compile(r" - at `\$(?P<place>.*)`$", re.DOTALL)


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """A value as it was given.

    Args:
        value: what a TOML file, a variable or a flag says.
        source: which of them, for people; None in code.
        is_text: it comes from where everything is text (a variable, a flag), so ``8080`` may be a
            number.
        folder: what a relative path is relative to; None for the current directory.
    """

    value: Any
    source: str | None = None
    is_text: bool = False
    folder: Path | None = None


def structure(
    struct: type[SectionT],
    given: Mapping[str, Given],
    path: str,
    problems: list[Problem],
) -> SectionT | None:
    """Make a struct of given values; absent ones take their defaults.

    Args:
        struct: what to make.
        given: the values by name.
        path: where the struct is, as in ``gateway``.
        problems: what is wrong is added here.

    Returns:
        The struct, or None when anything in it is wrong.
    """
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    before = len(problems)
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name in fields:
            found = _convert(fields[name].type, value, f"{path}.{name}", problems)
            values[fields[name].name] = found
        else:
            problems.append(_unknown(name, value, path, fields))
    for name, field in fields.items():
        if field.required and name not in given:
            expected = f"{describe(field.type)}; it has no default"
            problems.append(Problem(path=f"{path}.{name}", expected=expected))
    if len(problems) > before:
        return None
    try:
        return struct(**values)
    except (TypeError, ValueError) as error:
        problems.append(Problem(path=path, expected=str(error) or describe(struct)))
        return None


def describe(field_type: object) -> str:
    """What to write for a type, in words."""
    form = form_of(field_type)
    if form is not None:
        return form.expected
    return _describe(inspect.type_info(field_type))


def _convert(field_type: Any, given: Given, path: str, problems: list[Problem]) -> Any:
    form = form_of(field_type)
    value = given.value
    if form is None and given.is_text and _is_list(field_type) and isinstance(value, str):
        value = [item.strip() for item in value.split(",") if item.strip()]
    place, expected = "", ""
    try:
        if form is None:
            return msgspec.convert(value, field_type, strict=not given.is_text)
        found = form.read(value)
        if form is PATH and given.folder is not None:
            return given.folder / found
    except msgspec.ValidationError as error:
        match = _REPORTED_PLACE.search(str(error))
        place = match["place"] if match else ""
        expected = describe(field_type)
        if place:
            expected = f"{expected} ({_REPORTED_PLACE.sub('', str(error))})"
    except ValueError as error:
        expected = str(error) or describe(field_type)
    else:
        return found
    problems.append(
        Problem(
            path=f"{path}{place}",
            expected=expected,
            given=None if is_secret(field_type) else shown(given.value),
            source=given.source,
        )
    )
    return None


def _unknown(name: str, given: Given, path: str, known: Mapping[str, Any]) -> Problem:
    near = closest(name, known)
    choice = "" if near else f": {', '.join(known) or 'there are none'}"
    return Problem(
        path=f"{path}.{name}",
        expected=f"one of the settings of [{path}]{choice}",
        given="an unknown key",
        source=given.source,
        suggestion=near,
    )


def _is_list(field_type: object) -> bool:
    return isinstance(
        inspect.type_info(field_type),
        (inspect.ListType, inspect.VarTupleType, inspect.SetType, inspect.FrozenSetType),
    )


def _describe(info: inspect.Type) -> str:
    match info:
        case inspect.Metadata():
            return _describe(info.type)
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType() | inspect.FloatType():
            return _describe_number(info)
        case inspect.StrType():
            return "a text that is not empty" if info.min_length else "a text"
        case inspect.LiteralType():
            return listed(info.values)
        case inspect.EnumType():
            return listed(member.value for member in info.cls)
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType():
            return f"a list, each item {_describe(info.item_type)}"
        case inspect.DictType():
            return f"a table, each value {_describe(info.value_type)}"
        case inspect.UnionType():
            kinds = [kind for kind in info.types if not isinstance(kind, inspect.NoneType)]
            return listed(_describe(kind) for kind in kinds)
        case inspect.StructType():
            return "a table"
        case _:
            return "another value"


def _describe_number(info: inspect.IntType | inspect.FloatType) -> str:
    text = "a whole number" if isinstance(info, inspect.IntType) else "a number"
    if info.ge is not None and info.le is not None:
        return f"{text} from {info.ge} to {info.le}"
    bounds = {"above": info.gt, "at least": info.ge, "below": info.lt, "at most": info.le}
    words = [f"{word} {bound}" for word, bound in bounds.items() if bound is not None]
    return f"{text} {' and '.join(words)}" if words else text
