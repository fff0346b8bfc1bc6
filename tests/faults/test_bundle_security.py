"""Malicious bundles: files that are not bundles, or not the expected one."""

from __future__ import annotations

import json
import os
import pickle
import re
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest


class _Evil:
    def __reduce__(self):
        return exec, ("import pathlib; pathlib.Path('owned').touch()",)


def _malicious(folder: Path, good: bytes) -> dict[str, Path]:
    n_header = int.from_bytes(good[:8], "little")
    header, body = json.loads(good[8 : 8 + n_header]), good[8 + n_header :]

    def written(name: str, data: bytes) -> Path:
        path = folder / name
        path.write_bytes(data)
        return path

    def with_offsets(name: str, change) -> Path:
        changed = json.loads(json.dumps(header))
        for entry in [entry for key, entry in changed.items() if key != "__metadata__"][:2]:
            entry["data_offsets"] = change(entry["data_offsets"])
        raw = json.dumps(changed).encode()
        return written(name, len(raw).to_bytes(8, "little") + raw + body)

    archive = folder / "model.pt"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(_Evil()))
    os.mkfifo(folder / "pipe.safetensors")
    (folder / "zero.safetensors").symlink_to("/dev/zero")
    return {
        "a .pt with a pickle that runs code": archive,
        "the same, renamed": written("renamed.safetensors", archive.read_bytes()),
        "a bare pickle": written("bare.safetensors", pickle.dumps(_Evil())),
        "an .onnx": written("model.onnx", b"\x08\x08\x12\x07pytorch:\xa3\x01\n\x15\n\x01x\x12\x01y" + bytes(200)),
        "tensors that overlap": with_offsets("overlap.safetensors", lambda _: [0, 8]),
        "offsets out of range": with_offsets("range.safetensors", lambda o: [o[0], 2**62]),
        "negative offsets": with_offsets("negative.safetensors", lambda o: [-8, o[1]]),
        "a header of 2^63 bytes": written("huge.safetensors", (2**63).to_bytes(8, "little") + good[8:]),
        "a named pipe": folder / "pipe.safetensors",
        "a link to /dev/zero": folder / "zero.safetensors",
        "a directory": folder,
    }


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_malicious_bundles_are_refused_and_run_nothing(start, bundle, tmp_path, measured):
    folder = tmp_path / "malicious"
    folder.mkdir()
    files = _malicious(folder, bundle.read_bytes())
    children = {what: start("inspect", str(path), cwd=tmp_path) for what, path in files.items()}
    codes = {what: child.wait() for what, child in children.items()}
    assert codes == dict.fromkeys(files, 6), {what: child.said for what, child in children.items()}
    assert not (tmp_path / "owned").exists()
    measured(
        f"{len(files)} malicious files as bundles: {', '.join(files)}", "exit 6 each, and no code of theirs runs",
        f"{len(files)} of {len(files)}",
    )  # fmt: skip


def test_another_bundle_than_the_pinned_one_is_refused(serve, start, bundle, amplifier, measured):
    right = sha256(bundle.read_bytes()).hexdigest()
    wrong = serve("name=nobody", "--set", f"decode.bundle_sha256={'0' * 64}", "--wait-s", "1")
    assert wrong.wait() == 6
    assert f"expected the bundle with sha256 {'0' * 64} (decode.bundle_sha256), found {right}" in wrong.said
    shown = start("inspect", str(bundle))
    assert shown.wait() == 0
    pin = re.search(r'bundle_sha256 = "(\w+)"', shown.said)[1]
    amp = amplifier()
    service = serve(amp, "--set", f"decode.bundle_sha256={pin}")
    service.wait_for("-> RUNNING")
    assert service.interrupt() == 0
    measured("a bundle with another sha256 than pinned", "exit 6, with both hashes", "exit 6; the pinned one runs")
