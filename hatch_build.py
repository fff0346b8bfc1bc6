"""Builds `core/pretap/lanes/lanes.c` into a library for ctypes. Without a C compiler pretap installs all the same."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
import zlib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# No -march: the functions that matter are compiled for several processors, and the right one is chosen when the library
# is loaded. No contraction to fused multiply-adds: the same bits on every machine.
FLAGS = ["-O3", "-std=gnu11", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=default", "-Wno-psabi"]


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Compiles in place; the wheel gets the library and a tag of this platform, or neither."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        folder = Path(self.root, "core", "pretap", "lanes")
        source, library = folder / "lanes.c", folder / "lanes.so"
        library.unlink(missing_ok=True)
        if self.target_name != "wheel":
            return
        compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
        crc = zlib.crc32(source.read_bytes())
        shared = "-dynamiclib" if sys.platform == "darwin" else "-shared"
        built = folder / f"lanes.{os.getpid()}.tmp"
        command = [*compiler, *FLAGS, f"-DSOURCE_CRC={crc}u", shared, "-fPIC", str(source), "-o", str(built), "-lm"]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", "") or str(error)
            self.app.display_warning(f"pretap: no compiled engine, numpy will be used instead ({reason.strip()[:500]})")
            built.unlink(missing_ok=True)
            return
        built.replace(library)  # a process that has the old one loaded keeps it
        build_data["artifacts"].append("core/pretap/lanes/lanes.so")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_platform()}"


def _platform() -> str:
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")
