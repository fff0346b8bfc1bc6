"""The architecture page: every name and path in backticks exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = [ROOT / "core" / "pretap", ROOT / "offline" / "pretap_offline", ROOT / "realtime" / "pretap_realtime"]
FOLDERS = [ROOT, *PACKAGES, ROOT / "core", ROOT / "offline", ROOT / "realtime", ROOT / "core" / "pretap" / "recordings"]


def names() -> set[str]:
    """Modules, classes, functions, methods, arguments and attributes of the three packages, and our commands."""
    found = {"pretap", "pretap_offline", "pretap_realtime"}
    for package in PACKAGES:
        for file in package.rglob("*.py"):
            found |= {file.stem, *file.relative_to(package).parts[:-1]}
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                match node:
                    case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                        found.add(node.name)
                    case ast.arg() | ast.keyword():
                        found.add(node.arg or "")
                    case ast.Name():
                        found.add(node.id)
                    case ast.Attribute():
                        found.add(node.attr)
    return found


def quoted() -> list[str]:
    return sorted(set(re.findall(r"`([^`]+)`", PAGE.read_text(encoding="utf-8"))))


def exists(text: str, known: set[str]) -> bool:
    command, _, argument = text.partition(" ")
    if text.startswith("--"):
        return text[2:].replace("-", "_") in known
    if command == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        return re.search(rf"^[a-z ]*\b{argument}\b[a-z ]*:", makefile, re.MULTILINE) is not None
    if text == "import pretap" or command == "pretap":
        return not argument or argument in known
    if "/" in text or re.search(r"\.(py|c|toml)$", text):
        return any((folder / text).exists() for folder in FOLDERS)
    return all(part in known for part in re.findall(r"[A-Za-z_]+", text.split("=", maxsplit=1)[0]))


@pytest.fixture(scope="module")
def known() -> set[str]:
    return names()


@pytest.mark.parametrize("text", quoted())
def test_a_name_or_path_in_the_architecture_page_exists(text, known):
    assert exists(text, known)


def test_a_name_that_does_not_exist_is_found(known):
    assert not any(
        exists(text, known) for text in ("NoSuchClass", "signal/nothing.py", "make nonsense", "--no-such-flag")
    )
