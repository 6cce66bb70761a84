"""Every Python example of the documentation runs, as a reader would run it.

A fenced ``python`` block of ``README.md`` or ``docs/*.md`` is a script: it runs in a process of its
own, in an empty folder, with its own data directory. One that needs what a test does not have, such
as a model or an account, stands below the comment ``<!-- no-run -->`` and is only compiled.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
DEADLINE_SECONDS = 60.0

FENCE = re.compile(
    r"^(?P<mark><!-- no-run -->\n\s*)?"
    r"^(?P<indent>[ \t]*)```python[^\n]*\n(?P<code>.*?)^(?P=indent)```[ \t]*$",
    re.MULTILINE | re.DOTALL,
)


class Example(NamedTuple):
    """One fenced block."""

    name: str
    line: int
    code: str
    runs: bool


def examples(document: str, name: str) -> Iterator[Example]:
    """Find the Python blocks of a Markdown text."""
    for match in FENCE.finditer(document):
        line = document.count("\n", 0, match.start("code")) + 1
        yield Example(name, line, dedent(match["code"]), runs=match["mark"] is None)


FOUND = [
    example
    for path in DOCUMENTS
    if path.exists()
    for example in examples(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))
]


def compiled(example: Example) -> str:
    """Compile a block, and return it moved down to its line in the document."""
    moved = "\n" * (example.line - 1) + example.code
    compile(moved, example.name, "exec")
    return moved


@pytest.mark.parametrize("example", FOUND, ids=lambda example: f"{example.name}:{example.line}")
def test_example(example: Example, tmp_path: Path) -> None:
    script = tmp_path / f"{Path(example.name).stem}_{example.line}.py"
    script.write_text(compiled(example), encoding="utf-8")
    if not example.runs:
        return
    folder = tmp_path / "empty"
    folder.mkdir()
    finished = subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder),
            "XDG_DATA_HOME": str(folder / "data"),
            "XDG_CONFIG_HOME": str(folder / "config"),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert finished.returncode == 0, f"{example.name}:{example.line}\n{finished.stdout}"


def test_blocks_are_found_with_their_lines() -> None:
    document = dedent(
        """\
        # Title

        ```python
        print("first")
        ```

        <!-- no-run -->
        ```python
        import a_model
        ```

        - a list

          ```python
          if True:
              print("indented")
          ```

        ```sh
        make run
        ```
        """
    )
    assert list(examples(document, "a.md")) == [
        Example("a.md", 4, 'print("first")\n', runs=True),
        Example("a.md", 9, "import a_model\n", runs=False),
        Example("a.md", 15, 'if True:\n    print("indented")\n', runs=True),
    ]


def test_a_block_that_is_no_python_is_an_error_at_its_line() -> None:
    with pytest.raises(SyntaxError) as failure:
        compiled(Example("a.md", 4, "def\n", runs=False))
    assert failure.value.lineno == 4
