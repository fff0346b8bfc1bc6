"""Which source files a module depends on, found by reading imports: a result is as old as the code that made it."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from pathlib import Path

__all__ = ["source_sha256"]

_OURS = frozenset({"pretap", "pretap_offline"})


def source_sha256(module: str, *, packages: frozenset[str] = _OURS) -> str:
    """Identify the source of `module` and of all modules of `packages` that it imports, directly or not."""
    found: dict[str, bytes] = {}
    to_read = [module]
    while to_read:
        name = to_read.pop()
        if name in found:
            continue
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        found[name] = Path(spec.origin).read_bytes()
        to_read += _imported(found[name], packages)
    digest = hashlib.sha256()
    for name, source in sorted(found.items()):
        digest.update(f"{name}\0{len(source)}\0".encode() + source)
    return digest.hexdigest()


def _imported(source: bytes, packages: frozenset[str]) -> list[str]:
    """Name the modules of `packages` that `source` imports, also inside functions."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and _package(node.module) in packages:
            names.append(node.module)
            names += [f"{node.module}.{each.name}" for each in node.names if _is_module(node.module, each.name)]
    return [name for name in names if _package(name) in packages]


def _package(name: str) -> str:
    return name.partition(".")[0]


def _is_module(package: str, name: str) -> bool:
    spec = importlib.util.find_spec(package)
    homes = [] if spec is None else spec.submodule_search_locations or []
    return any((Path(home) / f"{name}.py").exists() or (Path(home) / name).is_dir() for home in homes)
