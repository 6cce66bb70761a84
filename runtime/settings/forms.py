"""How values are written where their type does not say: durations, sizes, paths, modes.

A `Form` travels with a field in the ``extra`` of its `msgspec.Meta`, so the options of an agent
kind can use the same ones: ``limit: Annotated[float, Meta(extra={"form": DURATION})]``, or
`Seconds` for short.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, TypeAlias, cast

import msgspec
from msgspec import Meta

from runtime.sessions.durations import format_duration, parse_duration
from runtime.sessions.modes import MODE_NAMES, MODES_IN_WORDS, ModeName, mode_named

QueueMode: TypeAlias = ModeName

LARGEST_SIZE = 2**63 - 1
"""Bytes. What SQLite and every file system can count."""

_SIZE_UNITS = {
    "b": 1,
    **{f"{prefix}b": 1_000**power for power, prefix in enumerate("kmgt", start=1)},
    **{f"{prefix}ib": 1_024**power for power, prefix in enumerate("kmgt", start=1)},
}
_AMOUNT = r"[0-9]+(?:\.[0-9]+)?"
_DIGITS = re.compile(r"[0-9]{1,19}", re.ASCII)
_SECRET = re.compile(r"[!-~]+")
_SIZE = re.compile(rf"({_AMOUNT}) ?([kmgt]?i?b)", re.ASCII | re.IGNORECASE)


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """A way of writing a value.

    Args:
        expected: what to write, in words, as it continues "expected ...".
        read: makes the value of what was written. Raises ValueError; its text, when it has one, is
            more precise than ``expected``.
        write: the inverse; None for a value that is left out.
        schema: the JSON Schema of what is written.
        in_code: what the value is, in words, where that is something else; None where the type says
            it.
    """

    expected: str
    read: Callable[[object], Any]
    write: Callable[[Any], object]
    schema: dict[str, Any]
    in_code: str | None = None


# -- durations -------------------------------------------------------------------------------------


def duration_form(*, positive: bool = False, off: bool = False) -> Form:
    """The form of a duration.

    Args:
        positive: zero is not allowed.
        off: ``off`` is, and is read as None.
    """
    expected = 'a duration such as "500ms", "1s", "10m" or "24h"'
    if positive:
        expected += ", longer than zero"
    if off:
        expected += ', or "off"'

    def read(value: object) -> float | None:
        if off and value == "off":
            return None
        if isinstance(value, str):
            seconds = parse_duration(value)
            if seconds or not positive:
                return seconds
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        raise ValueError(f'a unit as well, as in "{value}s" or "{value}ms"' if number else "")

    def write(value: float | None) -> object:
        return "off" if value is None else format_duration(value)

    pattern = f"^({'off|' if off else ''}({_AMOUNT}(ms|[smhd]))+)$"
    return Form(
        expected=expected,
        read=read,
        write=write,
        schema={"type": "string", "pattern": pattern},
        in_code="a number of seconds",
    )


def optional(form: Form) -> Form:
    """The form of a value that may be left out, which is None then."""
    return msgspec.structs.replace(
        form, write=lambda value: None if value is None else form.write(value)
    )


DURATION = duration_form()
POSITIVE_DURATION = duration_form(positive=True)
DURATION_OR_OFF = duration_form(positive=True, off=True)


# -- sizes -----------------------------------------------------------------------------------------


def parse_size(text: str) -> int:
    """The bytes of a size such as ``200MiB``, ``1.5 GB`` or ``512B``; the case of the unit is free.

    Raises:
        ValueError: it is written otherwise, is no whole number of bytes, or is over 2**63 - 1.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError
    size = Decimal(match[1]) * _SIZE_UNITS[match[2].lower()]
    if size > LARGEST_SIZE or size != size.to_integral_value():
        raise ValueError
    return int(size)


def format_size(size: int) -> str:
    """The bytes with the largest binary unit that divides them: what `parse_size` reads.

    Raises:
        ValueError: negative, or over 2**63 - 1.
    """
    if not 0 <= size <= LARGEST_SIZE:
        raise ValueError(f"not a size: {size}")
    for unit, name in ((1_024**4, "TiB"), (1_024**3, "GiB"), (1_024**2, "MiB"), (1_024, "KiB")):
        if size and size % unit == 0:
            return f"{size // unit}{name}"
    return f"{size}B"


def size_form(at_least: int, *, auto: bool = False) -> Form:
    """The form of a size in bytes that is not below ``at_least``.

    Args:
        at_least: bytes.
        auto: ``auto`` is allowed, and is read as None.
    """
    expected = f'a size such as "200MiB", "1GB" or a number of bytes, at least {at_least}'
    if auto:
        expected += ', or "auto"'

    def read(value: object) -> int | None:
        if auto and value == "auto":
            return None
        size = -1
        if isinstance(value, str):
            size = int(value) if _DIGITS.fullmatch(value) else parse_size(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            size = value
        if at_least <= size <= LARGEST_SIZE:
            return size
        raise ValueError

    def write(size: int | None) -> object:
        return "auto" if size is None else format_size(size)

    return Form(
        expected=expected,
        read=read,
        write=write,
        schema={"type": ["string", "integer"]},
        in_code="a number of bytes",
    )


# -- paths, queue modes, secrets ------------------------------------------------------------------


def _read_path(value: object) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        raise ValueError("a path whose ~ names a known user") from error


PATH = Form(
    expected="a path",
    read=_read_path,
    write=lambda value: None if value is None else str(value),
    schema={"type": "string", "minLength": 1},
    in_code="a pathlib.Path",
)


def _read_paths(value: object) -> tuple[Path, ...]:
    if isinstance(value, str):
        value = [item.strip() for item in value.split(",") if item.strip()]
    return tuple(map(_read_path, value if isinstance(value, list) else [value]))


PATHS = Form(
    expected="a list of paths",
    read=_read_paths,
    write=lambda value: [str(path) for path in value],
    schema={"type": "array", "items": {"type": "string", "minLength": 1}},
    in_code="a tuple of pathlib.Path",
)


def parse_queue_mode(text: str) -> QueueMode:
    """The queue mode of a name or one of its aliases, in any case.

    Raises:
        ValueError: there is no such mode; the text says which there are.
    """
    return mode_named(text).value


def _read_queue_mode(value: object) -> QueueMode:
    return parse_queue_mode(value if isinstance(value, str) else "")


QUEUE_MODE = Form(
    expected=MODES_IN_WORDS,
    read=_read_queue_mode,
    write=lambda value: cast("str", value),
    schema={"enum": sorted(MODE_NAMES)},
    in_code=MODES_IN_WORDS,
)


def _read_secret(value: object) -> str:
    if not isinstance(value, str) or not _SECRET.fullmatch(value):
        raise ValueError
    return value


SECRET = Form(
    expected="a text of visible ASCII characters without blanks",
    read=_read_secret,
    write=lambda value: cast("object", value),
    schema={"type": "string", "pattern": "^[!-~]+$"},
)


# -- fields that use them --------------------------------------------------------------------------

Seconds: TypeAlias = Annotated[float, Meta(extra={"form": DURATION})]
"""A duration that may be zero."""

OptionalSeconds: TypeAlias = Annotated[float | None, Meta(extra={"form": optional(DURATION)})]
"""A duration that may be zero, or None when it is left out."""

OptionalQueueMode: TypeAlias = Annotated[
    QueueMode | None, Meta(extra={"form": optional(QUEUE_MODE)})
]
"""A queue mode, or None when it is left out."""

PositiveSeconds: TypeAlias = Annotated[float, Meta(extra={"form": POSITIVE_DURATION})]
"""A duration longer than zero."""

SecondsOrOff: TypeAlias = Annotated[float | None, Meta(extra={"form": DURATION_OR_OFF})]
"""A duration longer than zero, or None, which is written ``off``."""

PathField: TypeAlias = Annotated[Path, Meta(extra={"form": PATH})]
"""A path; ``~`` is expanded, and a relative one belongs to the folder of the settings file."""

OptionalPath: TypeAlias = Annotated[Path | None, Meta(extra={"form": PATH})]
"""A path, or None when it is left out."""

PathList: TypeAlias = Annotated[tuple[Path, ...], Meta(extra={"form": PATHS})]
"""Paths, each as in `PathField`."""

Secret: TypeAlias = Annotated[str | None, Meta(extra={"secret": True, "form": SECRET})]
"""A text that is never shown, or None when it is left out."""

RequiredSecret: TypeAlias = Annotated[str, Meta(extra={"secret": True, "form": SECRET})]
"""A text that is never shown, and must be given."""

VariableNames: TypeAlias = Annotated[
    tuple[Annotated[str, Meta(min_length=1)], ...], Meta(extra={"variables": True})
]
"""Names of variables of the environment, some of which may hold secrets."""


def form_of(field_type: object) -> Form | None:
    """The form that a field's type carries."""
    return cast("Form | None", _extra(field_type).get("form"))


def is_secret(field_type: object) -> bool:
    """Whether a field's value must never be shown."""
    return bool(_extra(field_type).get("secret"))


def names_variables(field_type: object) -> bool:
    """Whether a field's value names variables of the environment."""
    return bool(_extra(field_type).get("variables"))


def _extra(field_type: object) -> Mapping[str, Any]:
    for annotation in getattr(field_type, "__metadata__", ()):
        if isinstance(annotation, Meta) and annotation.extra:
            return annotation.extra
    return {}
