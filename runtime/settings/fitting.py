"""What settings that are built in code hold: a value of another type is found before it is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import msgspec

from runtime.settings.forms import form_of, is_secret
from runtime.settings.problems import Problem, shown
from runtime.settings.structure import in_words, is_table_of_structs


def misfits(struct: msgspec.Struct, path: str = "") -> Iterator[Problem]:
    """The values that are of another type than their field, or out of its range.

    Args:
        struct: settings, or a table of them.
        path: where the struct is, as in ``gateway``.
    """
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        place = f"{path}.{field.name}" if path else field.name
        if is_table_of_structs(field.type) and isinstance(value, dict):
            kind = get_args(field.type)[1]
            for name, member in value.items():
                yield from _within(member, kind, f"{place}.{name}")
        else:
            yield from _within(value, field.type, place)


def _within(value: Any, kind: Any, path: str) -> Iterator[Problem]:
    if isinstance(value, msgspec.Struct):
        if type(value) is kind:
            yield from misfits(value, path)
            return
        if kind == msgspec.Struct | None:  # the options of an agent are for its kind to judge
            return
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        form = form_of(kind)
        written = form.in_code if form is not None else None
        yield Problem(
            path=path,
            given=None if is_secret(kind) else shown(value),
            expected=written or in_words(kind),
        )
