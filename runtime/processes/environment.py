"""Which variables a child sees: those that a program needs to find its way, and no secrets (P1).

A child gets the variables of the allow-list, those that its configuration names, those that its
configuration sets, and the marker by which it and its descendants are found again. Everything else
stays here: keys of other services, tokens, and all ``RUNTIME_*`` variables, even when they are
named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

MARKER = "GREENROOM_PROCESS"
"""The variable that marks a child and whatever it starts."""

PASSED = frozenset(
    [
        # Who and where
        "HOME",
        "LOGNAME",
        "PATH",
        "SHELL",
        "TMPDIR",
        "USER",
        # Language and time
        "LANG",
        "LANGUAGE",
        "TZ",
        # What the terminal can do: programs without one ask too
        "COLORTERM",
        "NO_COLOR",
        "TERM",
        # How to reach the network, a password of the proxy included: there is no other way
        "ALL_PROXY",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "NO_PROXY",
        "all_proxy",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        # Whom to trust on it
        "NODE_EXTRA_CA_CERTS",
        "REQUESTS_CA_BUNDLE",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
    ]
)
"""Variables that are passed on as they are."""

PASSED_PREFIXES = ("LC_", "XDG_")
"""Beginnings of the names of variables that are passed on as they are."""

NEVER_PASSED = "RUNTIME_"
"""Settings of the runtime begin like this; one of them may be the token."""


def child_environment(
    ours: Mapping[str, str],
    pass_env: Iterable[str],
    env: Mapping[str, str],
    marker: str,
) -> dict[str, str]:
    """Put together the environment of a child.

    Args:
        ours: the environment of this process.
        pass_env: names of variables that are passed on beside the allow-list.
        env: variables that are set; they win.
        marker: the value of `MARKER`.
    """
    named = frozenset(pass_env)
    passed = {
        name: value
        for name, value in ours.items()
        if (name in PASSED or name in named or name.startswith(PASSED_PREFIXES))
        and not name.startswith(NEVER_PASSED)
    }
    return {**passed, **env, MARKER: marker}
