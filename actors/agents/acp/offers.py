"""What an agent lets its session choose from, kept as the agent changes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from runtime.ports.agent import AgentRefused, Offers
from runtime.protocol.acp_agent import Modes
from runtime.sessions.updates import (
    Announcement,
    AvailableCommands,
    ConfigOptions,
    CurrentMode,
)

MODE = "mode"
"""The id and the category of the setting that stands for modes of the older form."""
MOST_OPTIONS = 64
MOST_COMMANDS = 256
LARGEST_ENTRY = 64 * 1024
"""Bytes of JSON of one setting or command; larger ones are left out."""


class _Option(msgspec.Struct, frozen=True, rename="camel"):
    id: str
    name: str
    type: str
    current_value: str | bool
    options: list[Any] = []


class _Command(msgspec.Struct, frozen=True):
    name: str


class OfferBook:
    """The settings and commands of one session."""

    def __init__(self) -> None:
        self._options: tuple[dict[str, Any], ...] = ()
        self._modes: Modes | None = None
        self._commands: tuple[dict[str, Any], ...] = ()

    @property
    def current(self) -> Offers:
        """What can be chosen now. Modes of the older form are a setting, unless the agent has one
        of that category itself.
        """
        return Offers(self._all_options(), self._commands)

    def opened(self, options: Iterable[Any] | None, modes: Modes | None) -> None:
        """A session was opened, with these settings."""
        self.set_options(options or ())
        self._modes = modes

    def set_options(self, options: Iterable[Any]) -> None:
        """These are all settings, as they are now."""
        self._options = _usable(options, _Option, MOST_OPTIONS)

    def set_mode(self, mode: str) -> None:
        """This mode of the older form is in force."""
        if self._modes is not None:
            self._modes = msgspec.structs.replace(self._modes, current_mode_id=mode)

    def has_old_mode(self, option_id: str) -> bool:
        """Whether a setting stands for the modes of the older form."""
        return option_id == MODE and self._old_modes() is not None

    def take(self, announced: Announcement) -> tuple[Announcement, ...]:
        """Follow what the agent announces.

        Returns:
            What is to be announced further.
        """
        match announced:
            case AvailableCommands():
                self._commands = _usable(announced.available_commands, _Command, MOST_COMMANDS)
                return (AvailableCommands(list(self._commands)),)
            case ConfigOptions():
                self.set_options(announced.config_options)
                return (ConfigOptions(list(self._all_options())),)
            case CurrentMode():
                self.set_mode(announced.current_mode_id)
                if self._old_modes() is None:
                    return (announced,)
                return announced, ConfigOptions(list(self._all_options()))
            case _:
                return (announced,)

    def checked(self, option_id: str, value: str | bool) -> dict[str, Any]:
        """The setting that is to have this value.

        Raises:
            AgentRefused: there is no such setting or value.
        """
        options = self._all_options()
        found = next((option for option in options if option["id"] == option_id), None)
        if found is None:
            known = ", ".join(option["id"] for option in options) or "none"
            raise AgentRefused(
                f"the agent has no setting {option_id!r}; it has: {known}", code="no_such_option"
            )
        if found["type"] == "boolean":
            fits, named = isinstance(value, bool), "true, false"
        else:
            values = list(_values(found))
            fits, named = value in values, ", ".join(values)
        if not fits:
            raise AgentRefused(
                f"{option_id!r} has no value {value!r}; it has: {named}", code="no_such_value"
            )
        return found

    def _all_options(self) -> tuple[dict[str, Any], ...]:
        modes = self._old_modes()
        return self._options if modes is None else (*self._options, _as_option(modes))

    def _old_modes(self) -> Modes | None:
        if any(option.get("category") == MODE or option["id"] == MODE for option in self._options):
            return None
        return self._modes if self._modes is not None and self._modes.available_modes else None


def _as_option(modes: Modes) -> dict[str, Any]:
    return {
        "id": MODE,
        "name": "Mode",
        "category": MODE,
        "type": "select",
        "currentValue": modes.current_mode_id,
        "options": [
            {
                "value": mode.id,
                "name": mode.name,
                **({} if mode.description is None else {"description": mode.description}),
            }
            for mode in modes.available_modes[:MOST_COMMANDS]
        ],
    }


def _values(option: dict[str, Any]) -> Iterator[str]:
    """The values of a setting; they may be in groups."""
    for entry in option.get("options", ()):
        if isinstance(entry, dict):
            for each in entry.get("options", (entry,)):
                if isinstance(each, dict) and isinstance(each.get("value"), str):
                    yield each["value"]


def _usable(
    entries: Iterable[Any], kind: type[msgspec.Struct], most: int
) -> tuple[dict[str, Any], ...]:
    """The entries that are of that kind and not too large, in their own JSON."""
    found: Sequence[dict[str, Any]] = [entry for entry in entries if _is(entry, kind)]
    return tuple(found[:most])


def _is(entry: Any, kind: type[msgspec.Struct]) -> bool:
    try:
        msgspec.convert(entry, kind)
        return len(msgspec.json.encode(entry)) <= LARGEST_ENTRY
    except (msgspec.ValidationError, RecursionError):
        return False
