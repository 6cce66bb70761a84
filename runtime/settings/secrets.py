"""Which texts of the settings nobody may see."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from runtime.settings.forms import is_secret
from runtime.settings.structs import Settings

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASS(WORD|WD|PHRASE)|CREDENTIAL|AUTH", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Whether the name of a variable says that its value is a secret, as in ``OPENAI_API_KEY``."""
    return _SECRET_NAME.search(name) is not None


def secrets_of(settings: Settings) -> frozenset[str]:
    """All secrets: of the fields that are declared so, and of variables that are called so."""
    return frozenset(_secrets(settings))


def _secrets(value: object) -> Iterator[str]:
    match value:
        case msgspec.Struct():
            for field in msgspec.structs.fields(type(value)):
                found = getattr(value, field.name)
                if is_secret(field.type) and isinstance(found, str):
                    yield found
                else:
                    yield from _secrets(found)
        case dict():
            for name, found in value.items():
                if isinstance(found, str) and isinstance(name, str) and is_secret_name(name):
                    yield found
                else:
                    yield from _secrets(found)
        case list() | tuple() | set() | frozenset():
            for found in value:
                yield from _secrets(found)
