"""``media usage | sweep``: what the files of messages take on disk, and making room at once."""

from __future__ import annotations

from pathlib import Path

import click

from runtime.cli.options import json_option, load, settings_options


@click.group()
def media() -> None:
    """Look after the files that people sent.

    While a runtime runs it is asked; else the data directory is looked into.
    """


@media.command()
@settings_options
@json_option
def usage(config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Say what files take on disk, and which sessions take most."""
    loaded = load(config, storage__data_dir=data_dir)
    import trio

    from runtime.cli.filing import print_usage

    trio.run(print_usage, loaded.settings, as_json)


@media.command()
@settings_options
@json_option
def sweep(config: Path | None, data_dir: Path | None, as_json: bool) -> int:
    """Remove now what is to be removed.

    That is what is over the cap or under the floor of free space, what nobody has used for long,
    and what belongs to nothing. Exits with 1 if a file could not be.
    """
    loaded = load(config, storage__data_dir=data_dir)
    import trio

    from runtime.cli.filing import print_sweep
    from runtime.log import configure
    from runtime.settings import LogSettings

    configure(LogSettings(level="warning", format="text"))  # why a file could not be removed
    return trio.run(print_sweep, loaded.settings, as_json)
