"""What `import runtime` promises."""

from __future__ import annotations

import subprocess
import sys

import pytest

import runtime


@pytest.mark.parametrize("name", runtime.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(runtime, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        runtime.no_such_name  # noqa: B018


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, runtime;"
        "heavy = {'trio', 'msgspec', 'apsw', 'h11', 'trio_websocket', 'rich', 'click', 'httpx2'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
