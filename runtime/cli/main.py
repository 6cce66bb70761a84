"""The root of the command line: which commands there are, and how every one of them ends."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import click

from runtime.cli import acp, chat, config, doctor, media, queue, serve, sessions, version
from runtime.cli.errors import (
    BROKEN_PIPE,
    FAILURE,
    INTERRUPTED,
    CommandError,
    explain,
)
from runtime.cli.screen import printable
from runtime.cli.words import program

_DEBUG = "--debug"
_ANSWERED_BY_ITSELF = frozenset(("-h", "--help"))


class RootGroup(click.Group):
    """Commands, of which ``serve`` is meant when none is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put ``serve`` where a command is missing."""
        place = next((place for place, arg in enumerate(args) if arg != _DEBUG), len(args))
        rest = args[place:]
        if not rest or (rest[0].startswith("-") and rest[0] not in _ANSWERED_BY_ITSELF):
            args = [*args[:place], "serve", *rest]
        return super().parse_args(ctx, args)


@click.group(
    cls=RootGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Without a command, serve.",
)
@click.option(_DEBUG, is_flag=True, help="Show the traceback of an unexpected error.")
def root(debug: bool) -> None:
    """Greenroom: a session runtime for chat-driven AI agents."""


for command in (
    serve.serve,
    chat.chat,
    acp.acp,
    sessions.sessions,
    queue.queue,
    media.media,
    doctor.doctor,
    config.config,
    version.version,
):
    root.add_command(command)


def run(arguments: Sequence[str]) -> int:
    """Run a command line.

    Args:
        arguments: what follows the name of the program.

    Returns:
        The exit code; what went wrong has been said on standard error.
    """
    try:
        code = root.main(list(arguments), prog_name=program(), standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes standard output once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except SystemExit:  # the way in which click ends when nobody reads what a command prints
        return BROKEN_PIPE
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except click.ClickException as error:
        return _report_usage(error)
    except BaseException as error:
        return _report_unexpected(error, arguments)
    return code if isinstance(code, int) else 0


def _report_usage(error: click.ClickException) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        print(error.format_message(), file=sys.stderr)
        return error.exit_code
    hint = None
    if isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f"{error.ctx.command_path} --help"
    return _report(CommandError(error.format_message().rstrip("."), hint, error.exit_code))


def _report_unexpected(error: BaseException, arguments: Sequence[str]) -> int:
    if isinstance(error, BaseExceptionGroup) and error.subgroup(KeyboardInterrupt) is not None:
        return INTERRUPTED  # whatever broke because of that, or at the same time
    known = explain(error, arguments)
    debug = _DEBUG in arguments
    if debug:
        traceback.print_exception(error)
    if known is not None:
        return _report(known)
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    hint = None if debug else f"{program()} {_DEBUG} {' '.join(sys.argv[1:])} shows the traceback"
    return _report(CommandError(f"unexpected {type(error).__name__}: {error}", hint, FAILURE))


def _report(error: CommandError) -> int:
    print(printable(f"error: {error}"), file=sys.stderr)
    if error.hint is not None:
        print(printable(f"hint: {error.hint}"), file=sys.stderr)
    return error.code
