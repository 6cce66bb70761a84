"""Which texts of the settings no log may show."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from runtime.settings.forms import is_secret, names_variables
from runtime.settings.structs import Settings

LIKE_A_KEY = re.compile(r"[!-.0-~]{16,}")
"""A value that is probably no word, path or address, but something to get in with."""

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH|COOKIE", re.IGNORECASE)


def secrets_of(settings: Settings, environ: Mapping[str, str]) -> frozenset[str]:
    """All secrets: fields that are declared as such and, in tables that are, what looks like one.

    In a table such as an agent's environment most values are harmless, and leaving all of them out
    of the log would take it apart. So there the name has to say it, as in ``OPENAI_API_KEY``, or
    the value must look `LIKE_A_KEY`.

    Args:
        settings: where secrets are, or the names of variables that have some.
        environ: the variables.
    """
    return frozenset(_declared(settings, environ))


def _declared(value: object, environ: Mapping[str, str]) -> Iterator[str]:
    if isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(type(value)):
            found = getattr(value, field.name)
            if names_variables(field.type):
                yield from _likely({name: environ[name] for name in found if name in environ})
            elif not is_secret(field.type):
                yield from _declared(found, environ)
            elif isinstance(found, str):
                yield found
            else:
                yield from _likely(found)
    elif isinstance(value, Mapping):
        for found in value.values():
            yield from _declared(found, environ)


def _likely(value: object, name: str = "") -> Iterator[str]:
    match value:
        case str():
            # The last word: a header says "Bearer" or "Basic" before it.
            *_, last = value.split() or [""]
            if last and (_SECRET_NAME.search(name) or LIKE_A_KEY.fullmatch(last)):
                yield last
        case {"name": str(inner), "value": str(text)}:
            yield from _likely(text, inner)
        case Mapping():
            for key, found in value.items():
                yield from _likely(found, str(key))
        case list() | tuple():
            for found in value:
                yield from _likely(found, name)
