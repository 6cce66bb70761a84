"""The page about the protocol is in step with the code (G4)."""

from __future__ import annotations

import json
import re
from pathlib import Path

from runtime.gateway.server import served_methods
from runtime.protocol.catalogue import FROM_CLIENT, FROM_RUNTIME
from runtime.protocol.document import document

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"


# G4
def test_the_page_is_in_step() -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert written == document(), "run: python -m runtime.protocol.document > docs/protocol.md"


def test_every_method_is_served_and_described() -> None:
    names = [method.name for method in FROM_CLIENT]
    assert sorted(served_methods()) == sorted(names)
    for method in (*FROM_CLIENT, *FROM_RUNTIME):
        assert f"### `{method.name}`" in document()


def test_every_link_has_its_heading() -> None:
    page = document()
    headings = {each.lower() for each in re.findall(r"^### (\w+)$", page, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= headings


def test_the_schemas_are_whole() -> None:
    (text,) = re.findall(r"```json\n(.*?)```", document(), re.DOTALL)
    schemas = json.loads(text)
    references = set(re.findall(r'"#/\$defs/([^"]+)"', text))
    assert references <= set(schemas["$defs"])
    assert set(schemas["methods"]) == {each.name for each in (*FROM_CLIENT, *FROM_RUNTIME)}
