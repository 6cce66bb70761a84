"""Whether an agent could be started, as far as can be seen without starting it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from actors.agents import AgentFinding
from actors.agents.acp.options import Options
from runtime.processes.environment import child_environment
from runtime.processes.programs import CannotStart, find_program


def examine(name: str, options: Options) -> Iterator[AgentFinding]:
    """Look for the program and for the folder that it is to work in."""
    program, cwd = options.command[0], options.cwd
    if cwd is not None and not cwd.is_dir():
        hint = f"make it, or set agents.{name}.cwd"
        yield AgentFinding("problem", f"it is to work in {cwd}, which is no folder", hint)
        return
    if cwd is None and os.sep in program and not Path(program).is_absolute():
        text = f"{program} is looked for in the folder of each session, where it will hardly be"
        yield AgentFinding("warning", text, f"give its full path in agents.{name}.command")
        return
    env = child_environment(os.environ, options.pass_env, options.env or {}, marker="")
    try:
        found = find_program(program, cwd or Path(), env)
    except CannotStart as error:
        yield AgentFinding("problem", str(error), f"see to agents.{name}.command")
        return
    yield AgentFinding("ok", found)
