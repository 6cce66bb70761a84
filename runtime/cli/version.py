"""``version``: what this is."""

from __future__ import annotations

import platform

import click

from runtime import __version__
from runtime.cli.options import json_option
from runtime.cli.words import print_json


@click.command()
@json_option
def version(as_json: bool) -> None:
    """Print the version."""
    if as_json:
        print_json(
            {
                "name": "greenroom",
                "version": __version__,
                "python": platform.python_version(),
                "platform": platform.platform(),
            }
        )
    else:
        print(f"greenroom {__version__} (Python {platform.python_version()})")
