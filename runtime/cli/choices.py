"""What can be chosen in a session, and which commands its agent has, as a person reads and types
it. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import msgspec

from runtime.cli.errors import CommandError

_EntryT = TypeVar("_EntryT")
_TRUE, _FALSE = ("on", "true", "yes"), ("off", "false", "no")


class Value(msgspec.Struct, frozen=True):
    """One value of a setting: what the runtime is told, and what people read."""

    value: str
    name: str


class Setting(msgspec.Struct, frozen=True, rename="camel"):
    """Something that can be chosen, with its current value. ``options`` may be in groups."""

    id: str
    name: str
    current_value: str | bool
    type: str = "select"
    category: str | None = None
    options: list[Any] = []

    @property
    def values(self) -> tuple[Value, ...]:
        """The values that it may have; none for one that is on or off."""
        return tuple(_read(_ungrouped(self.options), Value))

    @property
    def current(self) -> str:
        """Its current value, in words."""
        if isinstance(self.current_value, bool):
            return "on" if self.current_value else "off"
        return next(
            (each.name for each in self.values if each.value == self.current_value),
            self.current_value,
        )

    def meant_by(self, text: str) -> str | bool:
        """The value that a text means: the value itself or its name, in any case.

        Raises:
            CommandError: it means none.
        """
        said = text.casefold()
        if self.type == "boolean":
            if said in (*_TRUE, *_FALSE):
                return said in _TRUE
            raise CommandError(f"{self.id} is on or off, not {text!r}")
        for each in self.values:
            if each.value == text:
                return text
        found = {each.value for each in self.values if said in _names(each)}
        if len(found) == 1:
            return found.pop()
        known = ", ".join(each.value for each in self.values)
        raise CommandError(f"{self.name} cannot be {text!r}", f"choose one of: {known}")


class AgentCommand(msgspec.Struct, frozen=True):
    """A command of the agent."""

    name: str
    description: str = ""


class Choices:
    """The settings and commands of one session, as far as the runtime has told them."""

    def __init__(self) -> None:
        self._settings: tuple[Setting, ...] | None = None
        self.commands: tuple[AgentCommand, ...] = ()

    @property
    def settings(self) -> tuple[Setting, ...]:
        """All settings: the queue mode first, then those of the agent."""
        return self._settings or ()

    def forget(self) -> None:
        """The session is asked for again, and with it what can be chosen in it."""
        self._settings, self.commands = None, ()

    def attached(self, options: Iterable[Any]) -> None:
        """The settings were these when the session was found; something newer may have come."""
        if self._settings is None:
            self.set_options(options)

    def set_options(self, options: Iterable[Any]) -> None:
        """These are all settings, as they are now."""
        self._settings = tuple(_read(options, Setting))

    def take(self, update: Any) -> None:
        """Take in an update of the session; those of other kinds change nothing."""
        match update:
            case {"sessionUpdate": "config_option_update", "configOptions": list(options)}:
                self.set_options(options)
            case {"sessionUpdate": "available_commands_update", "availableCommands": list(all_)}:
                self.commands = tuple(_read(all_, AgentCommand))

    def find(self, identity: str) -> Setting:
        """A setting by its id or its name.

        Raises:
            CommandError: there is none.
        """
        said = identity.casefold()
        for each in self.settings:
            if said in (each.id.casefold(), each.name.casefold()):
                return each
        raise CommandError(f"there is no setting {identity!r}", "/set lists them")

    def of_category(self, category: str) -> Setting:
        """The agent's setting of a category: its model, or its mode.

        Raises:
            CommandError: it has none, or is not started.
        """
        for each in self.settings:
            if category in (each.category, each.id):
                return each
        hint = "if it has not been started yet, say something to it first"
        raise CommandError(f"the agent offers no {category} to choose", hint)

    def offers(self, name: str) -> bool:
        """Whether the agent has a command of this name."""
        return any(each.name.casefold() == name.casefold() for each in self.commands)


def listed(settings: Iterable[Setting]) -> str:
    """Settings with their current values, a line for each."""
    lines = [f"{each.id:<14} {each.current}{_alternatives(each)}" for each in settings]
    return "\n".join(lines)


def values_of(setting: Setting) -> str:
    """One setting with all its values, a line for each."""
    lines = [f"{setting.name}: {setting.current}"]
    for each in setting.values:
        mark = "*" if each.value == setting.current_value else " "
        lines.append(f"{mark} {each.value:<20} {'' if each.name == each.value else each.name}")
    return "\n".join(line.rstrip() for line in lines)


def _alternatives(setting: Setting) -> str:
    known = [each.value for each in setting.values]
    return f"   ({', '.join(known)})" if 0 < len(known) <= 6 else ""


def _names(value: Value) -> tuple[str, str]:
    return value.value.casefold(), value.name.casefold()


def _read(entries: Iterable[Any], kind: type[_EntryT]) -> Iterator[_EntryT]:
    """The entries that are of a kind; an agent may offer what is not known here."""
    for entry in entries:
        try:
            yield msgspec.convert(entry, kind)
        except msgspec.ValidationError:
            continue


def _ungrouped(options: Iterable[Any]) -> Iterator[Any]:
    for each in options:
        if isinstance(each, dict) and isinstance(each.get("options"), list):
            yield from each["options"]
        else:
            yield each
