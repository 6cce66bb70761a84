"""Structs from JSON that others write, a field at a time: what is wrong in one place costs no more
than that place.

The published schema of the Agent Client Protocol asks for the same: members that are not known are
ignored, an optional one that cannot be read counts as absent, an item that cannot be read is left
out of its list.
"""

from __future__ import annotations

from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import msgspec

StructT = TypeVar("StructT", bound=msgspec.Struct)

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])


class Unusable(ValueError):
    """A message without what it needs."""


def lenient(raw: msgspec.Raw | bytes, kind: type[StructT]) -> StructT:
    """The struct that is written there.

    Raises:
        Unusable: it is no object, or a field without a default is absent or cannot be read.
    """
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError:
        pass
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Unusable(str(error)) from None
    try:
        members = _members.decode(raw)
    except msgspec.ValidationError as error:
        raise Unusable(str(error)) from None
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        if field.encode_name not in members:
            continue
        try:
            values[field.name] = _value(members[field.encode_name], field.type)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            if field.required:
                raise Unusable(f"{field.encode_name}: {error}") from None
    try:
        return kind(**values)
    except TypeError as error:
        raise Unusable(str(error)) from None


def _value(raw: msgspec.Raw, kind: Any) -> Any:
    if get_origin(kind) in (Union, UnionType) and bytes(raw) != b"null":
        kinds = [each for each in get_args(kind) if each is not type(None)]
        if len(kinds) == 1:
            return _value(raw, kinds[0])
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return lenient(raw, kind)
    if get_origin(kind) is tuple and get_args(kind)[1:] == (...,):
        return tuple(_readable(raw, get_args(kind)[0]))
    return msgspec.json.decode(raw, type=kind)


def _readable(raw: msgspec.Raw, kind: Any) -> list[Any]:
    found = []
    for item in _items.decode(raw):
        try:
            found.append(_value(item, kind))
        except (msgspec.DecodeError, ValueError, RecursionError):
            continue
    return found
