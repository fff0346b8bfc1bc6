"""Builds pretap's C code into libraries for ctypes. Without a C compiler pretap installs all the same."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import sysconfig
import tempfile
import zlib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FLAGS = ["-O3", "-std=gnu11", "-ffp-contract=fast", "-fno-math-errno", "-Wno-psabi", "-fPIC"]
# lanes.c is compiled once for each, and the right one is chosen when the library is loaded: no -march=native.
VARIANTS = {
    "plain": ["-DVECTOR=16", "-DSELECTS"],
    "avx2": ["-DVECTOR=32", "-mavx2", "-mfma"],
    "avx512": ["-DVECTOR=64", "-mavx512f", "-mavx512vl", "-mavx512dq", "-mfma"],
}


# What receives is compiled once, and without fused multiply-adds: it judges stamps to the bit as Python does.
EXACT_FLAGS = ["-ffp-contract=off"]
LIBRARIES = [  # source, library, whether it has variants
    ("core/pretap/decoder/lanes.c", "core/pretap/decoder/lanes.so", True),
    ("realtime/pretap_realtime/native/receive.c", "realtime/pretap_realtime/native/receive.so", False),
]


def build_library(source: Path, library: Path, *, has_variants: bool = True) -> None:
    """Compile `source` into `library`; raises OSError or subprocess.CalledProcessError where that fails."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    with tempfile.TemporaryDirectory(dir=library.parent, prefix=".lanes-") as folder:
        objects = []
        for variant in VARIANTS if is_x86 and has_variants else ["plain"]:
            objects.append(f"{folder}/{variant}.o")
            command = [*compiler, *FLAGS, *VARIANTS[variant], f"-DVARIANT={variant}", *["-DWITH_X86"] * is_x86]
            command += [] if has_variants else EXACT_FLAGS
            command += [f"-DSOURCE_CRC={zlib.crc32(source.read_bytes())}u", "-c", str(source), "-o", objects[-1]]
            subprocess.run(command, check=True, capture_output=True, text=True)
        shared = "-dynamiclib" if sys.platform == "darwin" else "-shared"
        built = Path(folder, library.name)
        subprocess.run(
            [*compiler, shared, *objects, "-o", str(built), "-lm"], check=True, capture_output=True, text=True
        )
        built.replace(library)  # a process that has the old one loaded keeps it


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Compiles in place; the wheel gets the library and a tag of this platform, or neither."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        if self.target_name != "wheel":
            return
        for _, library, _ in LIBRARIES:
            Path(self.root, library).unlink(missing_ok=True)
        try:
            for source, library, has_variants in LIBRARIES:
                build_library(Path(self.root, source), Path(self.root, library), has_variants=has_variants)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", "") or str(error)
            self.app.display_warning(f"pretap: no compiled engine, numpy will be used instead ({reason.strip()[:500]})")
            return
        build_data["artifacts"] += [library for _, library, _ in LIBRARIES]
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_platform()}"


def _platform() -> str:
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")
