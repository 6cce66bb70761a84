"""Given values to structs, collecting every problem instead of stopping at the first.

cattrs walks the structs field by field and gathers what is wrong, with the path to it; a value that
is no struct is read by its `Form`, or by `msgspec.convert`, which is strict about types.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_origin

import msgspec
from cattrs import AttributeValidationNote, ClassValidationError, Converter
from msgspec import inspect

from runtime.settings.forms import PATH, PATHS, Form, form_of, is_secret
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
    try:
        return _converter().structure(dict(given), struct)
    except ClassValidationError as error:
        problems.extend(_problems(error, path))
        return None


class _Refused(ValueError):
    """A value that cannot be used; ``place`` is where in it, as in ``[0].name``."""

    def __init__(
        self,
        expected: str,
        *,
        given: str | None = None,
        source: str | None = None,
        place: str = "",
        suggestion: str | None = None,
    ) -> None:
        super().__init__(expected)
        self.expected = expected
        self.given = given
        self.source = source
        self.place = place
        self.suggestion = suggestion


def _converter() -> Converter:
    made = Converter(detailed_validation=True)
    for builtin in (bool, bytes, float, int, str):  # these are looked up before any predicate
        made.register_structure_hook(builtin, _read)
    made.register_structure_hook_func(lambda kind: not _is_struct(kind), _read)
    made.register_structure_hook_func(_is_struct, partial(_structure_fields, made))
    made.register_structure_hook_func(is_table_of_structs, partial(_structure_table, made))
    return made


def _structure_fields(converter: Converter, given: Any, struct: type[SectionT]) -> SectionT:
    """A struct of its fields, all of them tried before any is complained of."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    values: dict[str, Any] = {}
    refused: list[Exception] = []
    for name, value in _members(given, struct).items():
        try:
            if name not in fields:
                raise _unknown(name, value, fields)
            found = converter.structure(value, fields[name].type)
        except (_Refused, ClassValidationError) as error:
            refused.append(_noted(error, name, struct))
        else:
            values[fields[name].name] = found
    for name, field in fields.items():
        if field.required and name not in _members(given, struct):
            missing = _Refused(f"{describe(field.type)}; it has no default")
            refused.append(_noted(missing, name, struct))
    if not refused:
        try:
            return struct(**values)
        except (TypeError, ValueError) as error:
            refused.append(_Refused(str(error) or describe(struct)))
    raise ClassValidationError(f"while structuring {struct.__name__}", refused, struct)


def _structure_table(converter: Converter, given: Any, kind: Any) -> dict[str, Any]:
    """Structs by name, all of them tried before any is complained of."""
    _, struct = get_args(kind)
    made: dict[str, Any] = {}
    refused: list[Exception] = []
    for name, value in _members(given, kind).items():
        try:
            made[name] = converter.structure(value, struct)
        except (_Refused, ClassValidationError) as error:
            refused.append(_noted(error, name, struct))
    if refused:
        raise ClassValidationError("while structuring a table", refused, struct)
    return made


def _members(given: Any, kind: object) -> dict[str, Given]:
    """The members of a table, each with the source of the table."""
    if isinstance(given, dict):
        return given
    if not isinstance(given.value, Mapping):
        shown_value = None if _has_secrets(kind) else shown(given.value)
        raise _Refused(describe(kind), given=shown_value, source=given.source)
    return {
        name: msgspec.structs.replace(given, value=value) for name, value in given.value.items()
    }


def _noted(error: Exception, name: str, struct: type[msgspec.Struct]) -> Exception:
    """The error with the note by which cattrs' errors say which attribute they are about."""
    note = AttributeValidationNote(f"{struct.__name__}.{name}", name, struct)
    error.__notes__ = [*getattr(error, "__notes__", []), note]
    return error


def _problems(error: ClassValidationError, path: str) -> Iterator[Problem]:
    """What is wrong, each with its path."""
    about_fields, about_struct = error.group_exceptions()
    for each, note in about_fields:
        yield from _as_problems(each, f"{path}.{note.name}")
    for each in about_struct:
        yield from _as_problems(each, path)


def _as_problems(error: Exception, path: str) -> Iterator[Problem]:
    if isinstance(error, ClassValidationError):
        yield from _problems(error, path)
    elif isinstance(error, _Refused):
        yield Problem(
            path=f"{path}{error.place}",
            expected=error.expected,
            given=error.given,
            source=error.source,
            suggestion=error.suggestion,
        )
    else:
        raise error


def describe(field_type: object) -> str:
    """What to write for a type, in words."""
    form = form_of(field_type)
    if form is not None:
        return form.expected
    return in_words(field_type)


def in_words(field_type: object) -> str:
    """What a value of a type is, in words."""
    return _describe(inspect.type_info(field_type))


def _read(given: Given, field_type: Any) -> Any:
    """A value that is no struct. Raises `_Refused`."""
    form = form_of(field_type)
    value = given.value
    if form is None and given.is_text and _is_list(field_type) and isinstance(value, str):
        value = [item.strip() for item in value.split(",") if item.strip()]
    place = ""
    try:
        if form is None:
            return msgspec.convert(value, field_type, strict=not given.is_text)
        found = form.read(value)
    except msgspec.ValidationError as error:
        match = _REPORTED_PLACE.search(str(error))
        place = match["place"] if match else ""
        expected = describe(field_type)
        if place:
            expected = f"{expected} ({_REPORTED_PLACE.sub('', str(error))})"
    except ValueError as error:
        expected = str(error) or describe(field_type)
    else:
        return _placed(found, form, given.folder)
    shown_value = None if is_secret(field_type) else shown(given.value)
    raise _Refused(expected, given=shown_value, source=given.source, place=place)


def _placed(found: Any, form: Form, folder: Path | None) -> Any:
    """Relative paths belong to a folder."""
    if folder is None or form not in (PATH, PATHS):
        return found
    return folder / found if form is PATH else tuple(folder / path for path in found)


def _unknown(name: str, given: Given, known: Mapping[str, Any]) -> _Refused:
    near = closest(name, known)
    choice = "" if near else f": {', '.join(known) or 'there are none'}"
    return _Refused(
        f"one of the settings of this table{choice}",
        given="an unknown key",
        source=given.source,
        suggestion=near,
    )


def _is_struct(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def is_table_of_structs(kind: object) -> bool:
    """Whether values of a type are structs by name."""
    return get_origin(kind) is dict and _is_struct(get_args(kind)[1])


def _has_secrets(kind: object) -> bool:
    """Whether a table may hold what must not be shown: it may have been given in its place."""
    struct = get_args(kind)[1] if is_table_of_structs(kind) else kind
    return _is_struct(struct) and any(
        is_secret(field.type) for field in msgspec.structs.fields(cast("Any", struct))
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
