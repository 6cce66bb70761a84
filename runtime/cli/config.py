"""``config show | check | schema``: the settings as they are, their mistakes, their schema."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from runtime.cli.errors import NO_SUCH_CHANNEL
from runtime.cli.options import agent_options, json_option, load, settings_options
from runtime.cli.words import print_json


@click.group()
def config() -> None:
    """Show and check the settings."""


@config.command()
@settings_options
@json_option
def show(config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show the settings that hold, and what gave each of them.

    They are written as a settings file.
    """
    loaded = load(config, storage__data_dir=data_dir)
    from runtime.settings import settings_table, settings_toml

    if as_json:
        print_json(settings_table(loaded.settings))
        return
    print(f"# {loaded.summary}; a comment behind a value says what gave it\n")
    print(settings_toml(loaded.settings, loaded.origins), end="")


@config.command()
@settings_options
@json_option
def check(config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Check the settings and report every problem. Exits with 1 if there is one."""
    import msgspec

    from runtime.settings import SettingsError, check_files, settings_of_no_channel

    try:
        loaded = load(config, storage__data_dir=data_dir)
        check_files(loaded)
    except SettingsError as error:
        if not as_json:
            raise
        print_json({"valid": False, "problems": msgspec.to_builtins(error.problems)})
        raise click.exceptions.Exit(1) from None
    files = [str(path) for path in loaded.source_files]
    unused = settings_of_no_channel(loaded.settings)
    if as_json:
        warnings = msgspec.to_builtins(unused)
        print_json({"valid": True, "files": files, "problems": [], "warnings": warnings})
        return
    print(f"ok: {loaded.summary}")
    for each in unused:
        print(f"warning: {each}\nhint: {NO_SUCH_CHANNEL}", file=sys.stderr)


@config.command()
def schema() -> None:
    """Print the JSON Schema of the settings file, for editors."""
    from runtime.settings import settings_schema

    print_json(settings_schema(agent_options()))
