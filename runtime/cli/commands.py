"""What a person can type besides messages: lines that begin with a slash (S36).

Where the agent has a command of the same name, the agent's is meant, and ours is typed as
``/runtime NAME``. A line that begins with two slashes is a text that begins with one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

import trio

from runtime.cli.attaching import completed_paths, read_attachment
from runtime.cli.choices import Choices, Setting, listed, values_of
from runtime.cli.conversation import Conversation
from runtime.cli.errors import CommandError
from runtime.cli.saying import Attachment
from runtime.cli.screen import Screen
from runtime.protocol.acp import Empty
from runtime.protocol.extensions import QueueClearResult, QueueStatusResult, ResetResult
from runtime.sessions.numbers import number_of
from runtime.sessions.overrides import BadOverride, typed_overrides
from runtime.sessions.rows import QueueOverrides

OURS = "runtime"
"""What is put before a command of ours that the agent has as well."""

_LEAVE = ("quit", "exit")
_ANEW = ("new", "reset")


class _Command(NamedTuple):
    run: Callable[[str], Awaitable[None]]
    help: str


class Commands:
    """The commands of this program in one conversation."""

    def __init__(self, conversation: Conversation, screen: Screen) -> None:
        self._conversation = conversation
        self._screen = screen
        self.attached: list[Attachment] = []
        """The files that go with the next message."""
        cancel = "cancel the running turn, withdraw what you said and waits (Ctrl-C)"
        self._table = {
            "new": _Command(self._new, "begin a new conversation, with a TEXT if one follows"),
            "reset": _Command(self._new, "the same"),
            "status": _Command(self._status, "how the session is: what runs, waits and is chosen"),
            "queue": _Command(self._queue, "what waits; MODE, debounce:2s, cap:20, default, clear"),
            "clear": _Command(self._clear, "withdraw what waits"),
            "attach": _Command(self._attach, "a file that goes with your next message: PATH"),
            "detach": _Command(self._detach, "take all of these files back"),
            "cancel": _Command(self._cancel, cancel),
            "stop": _Command(self._cancel, "the same"),
            "reconnect": _Command(self._reconnect, "start the agent again, run what was kept"),
            "model": _Command(self._model, "the model of the agent; NAME chooses another"),
            "mode": _Command(self._mode, "the mode of the agent; NAME chooses another"),
            "set": _Command(self._set, "all settings of the session; ID VALUE sets one"),
            "help": _Command(self._help, "this list"),
        }

    @property
    def choices(self) -> Choices:
        """What can be chosen in the session."""
        return self._conversation.choices

    def message_in(self, line: str) -> str | None:
        """The message that a line is, without blanks around it; None for a command of ours."""
        text = line.strip()
        if text.startswith("//"):
            return text.removeprefix("/")
        if not text.startswith("/") or self.choices.offers(_name_of(text)):
            return text
        name, argument = _ours_in(text)
        if name in _ANEW and argument:  # in one step, so that nothing comes between
            return f"/{OURS} {name} {argument}"
        return None

    def take_attached(self) -> list[Attachment]:
        """The files for a message that is sent now; they go with no other one."""
        taken, self.attached = self.attached, []
        return taken

    async def run(self, line: str) -> bool:
        """Run a line such as ``/queue collect``.

        Returns:
            False when the person wants to leave.

        Raises:
            CommandError: it cannot be done.
        """
        name, argument = _ours_in(line.strip())
        if name in _LEAVE:
            return False
        if name not in self._table:
            hint = "/help lists them; // begins a text with a slash"
            raise CommandError(f"there is no command /{name}", hint)
        await self._table[name].run(argument)
        return True

    def completions(self, text: str) -> list[str]:
        """What the last word of an unfinished line can become."""
        *words, last = text.split(" ")
        if words[:1] == [f"/{OURS}"]:
            del words[0]
            found = list(self._table) if not words else []
        elif not words:
            theirs = [each.name for each in self.choices.commands]
            found = [f"/{name}" for name in (*self._table, "quit", *theirs)]
        else:
            found = self._arguments(words, last)
        return sorted({each for each in found if each.casefold().startswith(last.casefold())})

    def _arguments(self, words: list[str], last: str) -> list[str]:
        settings = {each.id: each for each in self.choices.settings}
        match [word.removeprefix("/") for word in words]:
            case ["attach", *_]:
                # Of a path with blanks, what is before the last one is typed already.
                typed = " ".join([*words[1:], last])
                cut = len(typed) - len(last)
                return [path[cut:] for path in completed_paths(typed)]
            case ["set"]:
                return list(settings)
            case ["set", identity] if identity in settings:
                return _values(settings[identity])
            case ["queue"] if "queue_mode" in settings:
                return _values(settings["queue_mode"])
            case ["model" | "mode" as category]:
                fitting = (each for each in settings.values() if each.category == category)
                return [value for each in fitting for value in _values(each)]
        return []

    # -- the commands -------------------------------------------------------------------------

    async def _help(self, _argument: str) -> None:
        lines = [f"/{name:<14} {command.help}" for name, command in self._table.items()]
        lines.append("/quit           leave (Ctrl-D); what was sent is answered nevertheless")
        lines.append("//text          say a text that begins with a slash")
        theirs = self.choices.commands
        if theirs:
            lines.append("Commands of the agent; ours of the same name are /runtime NAME:")
            lines += [f"/{each.name:<14} {each.description}".rstrip() for each in theirs]
        self._screen.aside("\n".join(lines))

    async def _new(self, _argument: str) -> None:
        await self._conversation.call("_runtime/session/reset", ResetResult)

    async def _status(self, _argument: str) -> None:
        mark = self._conversation.mark
        where = f", works in {mark.workspace}" if mark.workspace is not None else ""
        self._screen.aside(f"session {mark.key}, agent {mark.agent}{where}")
        await self._show_queue()
        theirs = [each for each in self.choices.settings if each.id != "queue_mode"]
        if theirs:
            self._screen.aside(", ".join(f"{each.name}: {each.current}" for each in theirs))

    async def _queue(self, argument: str) -> None:
        words = argument.lower().split()
        if words == ["clear"]:
            await self._clear("")
        elif words in ([], ["status"]):
            await self._show_queue()
        else:
            await self._set_queue(words)

    async def _set_queue(self, words: list[str]) -> None:
        """The runtime reads it, as it does in any chat; what is wrong is said before."""
        if words not in (["default"], ["reset"]):
            try:
                typed_overrides(words, QueueOverrides())
            except BadOverride as error:
                raise CommandError(str(error), "/queue alone says what holds") from None
        message = await self._conversation.say(" ".join((f"/{OURS} queue", *words)))
        await message.done.wait()
        if message.outcome == "failed":
            raise CommandError("the queue was not set")

    async def _show_queue(self) -> None:
        status = await self._conversation.call("_runtime/queue/status", QueueStatusResult)
        running = "a turn runs" if status.running is not None else "nothing runs"
        waiting = f"{number_of(status.waiting, 'message')} waiting"
        self._screen.aside(f"queue mode {status.mode}, {running}, {waiting}")
        if status.blocked is not None:
            self._screen.aside(status.blocked)

    async def _clear(self, _argument: str) -> None:
        result = await self._conversation.call("_runtime/queue/clear", QueueClearResult)
        self._screen.aside(f"{number_of(result.cleared, 'message')} withdrawn")

    async def _attach(self, argument: str) -> None:
        if argument:
            room = self._conversation.largest_message()
            room -= sum(file.weight for file in self.attached)
            largest = self._conversation.largest_file()
            read = partial(read_attachment, argument, room, largest)
            self.attached.append(await trio.to_thread.run_sync(read, abandon_on_cancel=True))
        if not self.attached:
            raise CommandError("nothing is attached", "/attach PATH attaches a file")
        files = ", ".join(map(str, self.attached))
        self._screen.aside(f"With your next message: {files}")

    async def _detach(self, _argument: str) -> None:
        count = number_of(len(self.take_attached()), "file")
        self._screen.aside(f"{count} taken back")

    async def _cancel(self, _argument: str) -> None:
        status = await self._conversation.call("_runtime/queue/status", QueueStatusResult)
        if status.running is None and not self._conversation.unanswered:
            self._screen.aside("Nothing is running.")
        await self._conversation.cancel()

    async def _reconnect(self, _argument: str) -> None:
        await self._conversation.call("_runtime/session/reconnect", Empty)
        self._screen.aside("The agent is started anew; what was kept runs.")

    async def _model(self, argument: str) -> None:
        await self._choose(self.choices.of_category("model"), argument)

    async def _mode(self, argument: str) -> None:
        await self._choose(self.choices.of_category("mode"), argument)

    async def _set(self, argument: str) -> None:
        if not argument:
            self._screen.aside(listed(self.choices.settings))
            return
        identity, _, value = argument.partition(" ")
        await self._choose(self.choices.find(identity), value.strip())

    async def _choose(self, setting: Setting, argument: str) -> None:
        if not argument:
            self._screen.aside(values_of(setting))
            return
        await self._conversation.choose(setting.id, setting.meant_by(argument))
        chosen = self.choices.find(setting.id)
        self._screen.aside(f"{chosen.name}: {chosen.current}")


def _ours_in(line: str) -> tuple[str, str]:
    """The name of our command in a line, in lower case, and what follows it."""
    words = line.removeprefix("/").split(maxsplit=1)
    if words and words[0].lower() == OURS:
        words = words[1].split(maxsplit=1) if len(words) > 1 else []
    name = words[0].lower() if words else "help"
    return name, words[1].strip() if len(words) > 1 else ""


def _name_of(text: str) -> str:
    return (text.removeprefix("/").split(maxsplit=1) or [""])[0]


def _values(setting: Setting) -> list[str]:
    if setting.type == "boolean":
        return ["on", "off"]
    return [each.value for each in setting.values]
