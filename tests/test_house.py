"""House rules that neither the linters nor the type checker hold."""

import ast
import logging
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PRODUCT = sorted(path for name in ("runtime", "actors") for path in (ROOT / name).rglob("*.py"))
EVERYTHING = PRODUCT + sorted(
    path for name in ("tests", "bench") for path in (ROOT / name).rglob("*.py")
)
LOCKS = ("requirements.lock", "requirements-dev.lock")
LINES = 420

# What of ours a package may import besides itself. The contracts of import-linter know the layers;
# this also holds for packages that no layer names.
MAY_IMPORT: dict[str, set[str]] = {
    "kernel": set(),
    "sessions": set(),
    "processes": set(),
    "storage": {"sessions"},
    "protocol": {"sessions"},
    "ports": {"sessions", "processes"},
}

PINNED = re.compile(r"^(?P<name>[a-z0-9-]+)(?:\[[^]]*\])?==(?P<version>[^ ;]+)", re.MULTILINE)
MACHINE_PATH = re.compile(r"(?<![\w.:/~])/(?:home|root|tmp|work|Users|private|mnt)/")
# What a log record has already: `logging` raises a KeyError for a value of such a name.
OF_RECORDS = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "event"}
MEANT_FOR_LOGGING = {"exc_info", "stack_info"}
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log_context"}
PRIVATE_TRIO = re.compile(r"\btrio(?:\.\w+)*\._\w|\bfrom trio\b[^\n]*\bimport\b[^\n]*\b_\w")


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def defined_classes(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ClassDef):
            yield node.name


def pins(lock: str) -> dict[str, str]:
    text = (ROOT / lock).read_text(encoding="utf-8")
    return {match["name"]: match["version"] for match in PINNED.finditer(text)}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", EVERYTHING, ids=relative)
def test_a_file_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES


@pytest.mark.parametrize("path", EVERYTHING, ids=relative)
def test_no_class_is_called_manager(path: Path) -> None:
    assert [name for name in defined_classes(path) if name.endswith("Manager")] == []


@pytest.mark.parametrize("path", PRODUCT, ids=relative)
def test_everything_runs_on_trio(path: Path) -> None:
    roots = {name.partition(".")[0] for name in imported(path)}
    assert roots.isdisjoint({"anyio", "asyncio", "sniffio", "trio_asyncio"})


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_the_foundations_know_nothing_above_them(package: str) -> None:
    allowed = {package, *MAY_IMPORT[package]}
    ours = {
        (relative(path), f"{name}.")
        for path in (ROOT / "runtime" / package).rglob("*.py")
        for name in imported(path)
        if name.split(".")[0] in ("runtime", "actors")
    }
    assert {(path, name) for path, name in ours if name.split(".")[1] not in allowed} == set()


@pytest.mark.parametrize("path", PRODUCT, ids=relative)
def test_only_the_public_interface_of_trio_is_used(path: Path) -> None:
    assert PRIVATE_TRIO.findall(path.read_text(encoding="utf-8")) == []


def names_that_records_have(source: bytes | str) -> list[str]:
    """Values of log lines that `logging` has no place for."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    logged = (
        call
        for call in calls
        if (isinstance(call.func, ast.Attribute) and call.func.attr in LEVELS)
        or (isinstance(call.func, ast.Name) and call.func.id in LEVELS)
    )
    names = (keyword.arg for call in logged for keyword in call.keywords)
    return [name for name in names if name in OF_RECORDS - MEANT_FOR_LOGGING]


@pytest.mark.parametrize("path", PRODUCT, ids=relative)
def test_what_is_logged_can_be_logged(path: Path) -> None:
    assert names_that_records_have(path.read_bytes()) == []


@pytest.mark.parametrize("path", PRODUCT, ids=relative)
def test_no_path_of_one_machine_is_written_down(path: Path) -> None:
    assert MACHINE_PATH.findall(path.read_text(encoding="utf-8")) == []


def test_the_checks_of_this_file_can_fail() -> None:
    assert MACHINE_PATH.search('open("/home/ada/notes")')
    assert not MACHINE_PATH.search("GET http://host/home/ada or ~/work/ada")
    assert names_that_records_have('log.info("kept", name=name, reason="none")') == ["name"]
    assert names_that_records_have('log_context(message="m", turn="t")') == ["message"]
    assert PRIVATE_TRIO.search("trio._core.run()")
    assert PRIVATE_TRIO.search("trio.lowlevel._private")
    assert PRIVATE_TRIO.search("from trio._core import run")
    assert PRIVATE_TRIO.search("from trio.lowlevel import _private")
    assert not PRIVATE_TRIO.search("from trio.lowlevel import current_task")


@pytest.mark.parametrize("package", ["runtime", "actors"])
def test_types_are_published(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes_and_no_index(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(entries) == len(pins(lock))
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in text
    assert re.search(r"^-", text, flags=re.MULTILINE) is None


def test_the_locks_are_in_step_with_the_project(project: dict[str, Any]) -> None:
    runtime = project["project"]["dependencies"]
    development = project["dependency-groups"]["dev"]
    for lock, lines in zip(LOCKS, (runtime, runtime + development), strict=True):
        versions = pins(lock)
        stale = [
            str(requirement)
            for requirement in map(Requirement, lines)
            if versions.get(canonicalize_name(requirement.name), "") not in requirement.specifier
        ]
        assert stale == [], f"{lock}: run `make lock`"


def test_the_locks_agree() -> None:
    runtime, development = map(pins, LOCKS)
    assert runtime.items() <= development.items()
