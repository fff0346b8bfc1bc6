"""The wheel: with the compiled engine where there is a compiler, and without it a wheel that works all the same."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = "pretap/decoder/lanes.so"
BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
REPORT = (
    "import pretap, pretap.decoder.compiled as c; d = pretap.load('ensemble-1000hz', engine='auto');"
    "print(pretap.__file__, d.engine, c.active_variant() or '-', c.why_not_compiled() or '-', sep='\\n')"
)

needs_hatchling = pytest.mark.skipif(
    importlib.util.find_spec("hatchling") is None, reason="hatchling is not installed: pip install hatchling"
)


@pytest.fixture
def build(tmp_path):
    """Build a wheel from a copy of the tree; gives its name, and the folder that it was unpacked into."""

    def build(**environment: str) -> tuple[str, Path]:
        tree, out, site = tmp_path / "tree", tmp_path / "out", tmp_path / "site"
        skip = shutil.ignore_patterns("__pycache__", "lanes.so")
        for name in ("core", "offline", "realtime", "configs"):
            shutil.copytree(ROOT / name, tree / name, ignore=skip)
        for path in ROOT.iterdir():
            if path.is_file() and not path.name.startswith("."):
                shutil.copy(path, tree)
        (tree / "core" / LIBRARY).write_bytes(b"left by an earlier build")
        out.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", BUILD, str(out)],
            cwd=tree,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        (wheel,) = out.iterdir()
        assert wheel.name == done.stdout.split()[-1]
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
        return wheel.name, site

    return build


def report(site: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", REPORT],
        cwd=site,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    file, *rest = done.stdout.splitlines()
    assert Path(file).is_relative_to(site)
    return rest


@needs_hatchling
@pytest.mark.parametrize("compiler", ["/bin/false", "no-such-compiler"])
def test_without_a_compiler_the_wheel_is_pure_and_decodes_in_numpy(build, compiler):
    wheel, site = build(CC=compiler)
    assert wheel.endswith("-py3-none-any.whl")
    assert not (site / LIBRARY).exists()
    assert "Root-Is-Purelib: true" in next(site.glob("*.dist-info/WHEEL")).read_text(encoding="utf-8")
    assert report(site) == ["numpy", "-", "pretap was built without a C compiler"]


@needs_hatchling
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
def test_with_a_compiler_the_wheel_names_its_platform_and_holds_the_library_which_counts_for_its_source_alone(build):
    wheel, site = build()
    assert "-py3-none-" in wheel
    assert not wheel.endswith("-any.whl")
    assert (site / LIBRARY).exists()
    assert "Root-Is-Purelib: false" in next(site.glob("*.dist-info/WHEEL")).read_text(encoding="utf-8")
    engine, variant, why_not = report(site)
    assert (engine, why_not) == ("compiled", "-")
    assert variant in ("plain", "avx2", "avx512")
    with (site / "pretap/decoder/lanes.c").open("a", encoding="utf-8") as source:
        source.write("/* changed since */\n")
    assert report(site) == ["numpy", "-", "lanes.c was changed since it was built; run: pip install -e ."]
