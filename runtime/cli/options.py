"""Options that several commands share, and the settings that follow from them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    import msgspec

    from runtime.settings import Loaded

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def settings_options(command: CommandT) -> CommandT:
    """``--config`` and ``--data-dir``."""
    for option in (
        click.option("--data-dir", type=click.Path(path_type=Path), help="Where the data is kept."),
        click.option("--config", type=click.Path(path_type=Path), help="The settings file."),
    ):
        command = option(command)
    return command


def log_options(command: CommandT) -> CommandT:
    """``--log-level`` and ``--log-format``, for commands that log."""
    for option in (
        click.option(
            "--log-format",
            type=click.Choice(["auto", "text", "json"]),
            help="How lines of the log are written.",
        ),
        click.option(
            "--log-level",
            type=click.Choice(["debug", "info", "warning", "error", "critical"]),
            help="The least that is logged.",
        ),
    ):
        command = option(command)
    return command


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def agent_options() -> Mapping[str, type[msgspec.Struct]]:
    """The kinds of agents that are installed, each with the struct of its options."""
    from actors.agents import agent_kinds

    return {name: kind.options for name, kind in agent_kinds().items()}


def load(config: Path | None, **overrides: object) -> Loaded:
    """The settings for a command.

    Args:
        config: the settings file, when it was named.
        overrides: values of flags; the name of a setting has two underscores for its dot.

    Raises:
        SettingsError: with every problem.
    """
    from runtime.settings import load_settings

    return load_settings(
        config=config,
        environ=os.environ,
        overrides={name.replace("__", "."): value for name, value in overrides.items()},
        agent_kinds=agent_options(),
    )
