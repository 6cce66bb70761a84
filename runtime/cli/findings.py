"""What ``doctor`` found, and how it says it."""

from __future__ import annotations

from itertools import zip_longest
from typing import Literal

import msgspec

from runtime.cli.words import print_json
from runtime.sessions.numbers import number_of


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    Args:
        name: what it is.
        state: how it is; only a ``problem`` keeps the runtime from working.
        text: what was found.
        hint: what to do; None where nothing needs to be done.
    """

    name: str
    state: Literal["ok", "warning", "problem"]
    text: str
    hint: str | None = None


def print_findings(findings: list[Finding], as_json: bool) -> int:
    """Print what was found. Returns the exit code: 1 if there is a problem."""
    bad = sum(finding.state == "problem" for finding in findings)
    odd = sum(finding.state == "warning" for finding in findings)
    if as_json:
        print_json({"ok": not bad, "findings": msgspec.to_builtins(findings)})
        return int(bad > 0)
    for finding, following in zip_longest(findings, findings[1:]):
        print(f"{finding.state:<8} {finding.name}: {finding.text}")
        # Of several in a row with the same thing to do, the last one says it.
        if finding.hint is not None and (following is None or following.hint != finding.hint):
            print(f"{'':<8} hint: {finding.hint}")
    counts = [(bad, "problem"), (odd, "warning")]
    summary = ", ".join(number_of(count, name) for count, name in counts if count)
    print(f"\n{summary or 'Everything is in order'}.")
    return int(bad > 0)
