"""The competition's files: axis order, labels, every refusal, and what resampling does to a window's end."""

from __future__ import annotations

import http.server
import io
import shutil
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import loadmat, savemat
from scipy.signal import resample_poly

from pretap.errors import DataError, UsageError
from pretap.recordings.competition import CHANNELS, LABELS_NAME, find_competition, read_competition
from pretap.recordings.epochs import Epochs
from pretap.recordings.matfile import read_mat
from pretap.recordings.resample import resample_epochs

N_TRIALS, N_TEST, N_SAMPLES = 7, 3, 50
LABELS = np.array([0, 1, 1, 0, 1, 0, 0])


def encoded(n_trials: int, n_samples: int = N_SAMPLES, n_channels: int = 28) -> np.ndarray:
    """(time, channel, trial), each value its own address: 1000 trial + 10 channel + 0.1 time (time < 100)."""
    time, channel, trial = np.meshgrid(np.arange(n_samples), np.arange(n_channels), np.arange(n_trials), indexing="ij")
    return 1000.0 * trial + 10.0 * channel + 0.1 * time


def variables(**changes: object) -> dict[str, object]:
    whole: dict[str, object] = {
        "clab": np.array([list(CHANNELS)], dtype=object),
        "x_train": encoded(N_TRIALS),
        "y_train": LABELS.astype(np.uint8)[None, :],
        "x_test": encoded(N_TEST),
    }
    whole.update(changes)
    return {name: value for name, value in whole.items() if value is not None}


def mat_bytes(*, compressed: bool = True, **changes: object) -> bytes:
    content = io.BytesIO()
    savemat(content, variables(**changes), do_compression=compressed)
    return content.getvalue()


def write_text(directory: Path, *, n_samples: int = N_SAMPLES, suffix: str = "") -> None:
    for part, n in (("train", N_TRIALS), ("test", N_TEST)):
        rows = encoded(n, n_samples).transpose(2, 1, 0).reshape(n, -1)  # channel after channel
        if part == "train":
            rows = np.column_stack([LABELS, rows])
        np.savetxt(directory / f"sp1s_aa_{part}{suffix}.txt", rows, fmt="%.1f")


# -- axis order ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["compressed", "plain", "text"])
def test_every_value_stays_with_its_trial_time_and_channel(tmp_path: Path, form: str) -> None:
    if form == "text":
        write_text(tmp_path)
    else:
        (tmp_path / "sp1s_aa.mat").write_bytes(mat_bytes(compressed=form == "compressed"))
    epochs = read_competition(tmp_path, part="train")
    assert epochs.x_uv.shape == (N_TRIALS, N_SAMPLES, 28)
    assert epochs.x_uv.dtype == np.float32
    for trial, sample, channel in [(0, 0, 0), (6, 49, 27), (3, 17, 13), (5, 1, 2)]:
        expected = np.float32(1000 * trial + 10 * channel + 0.1 * sample)
        assert epochs.x_uv[trial, sample, channel] == expected
    assert np.array_equal(epochs.x_uv, encoded(N_TRIALS).transpose(2, 0, 1).astype(np.float32))


def test_a_reshape_instead_of_a_transpose_would_mix_the_trials() -> None:
    """The first famous mistake, kept here as what must not happen: hardly any value stays in its trial."""
    reshaped = encoded(316, 500).reshape(316, 500, 28)
    mine = (reshaped // 1000).astype(int) == np.arange(316)[:, None, None]
    assert mine.mean() == pytest.approx(1 / 316, rel=0.2)


def test_labels_are_indices_that_wrap_nowhere(tmp_path: Path) -> None:
    """The second famous mistake: labels 1 and -1 as indices of two classes, where -1 wraps round to class 1."""
    (tmp_path / "sp1s_aa.mat").write_bytes(mat_bytes())
    epochs = read_competition(tmp_path, part="train")
    assert epochs.labels is not None
    assert epochs.labels.tolist() == LABELS.tolist()
    assert np.eye(2)[epochs.labels].sum(axis=0).tolist() == [4.0, 3.0]
    assert [epochs.classes[i] for i in epochs.labels[:3]] == ["left", "right", "right"]
    (tmp_path / "sp1s_aa.mat").write_bytes(mat_bytes(y_train=np.where(LABELS == 0, 1, -1)[None, :]))
    with pytest.raises(DataError, match=r"labels 0 \(left\) and 1 \(right\), got \[-1\.0\]"):
        read_competition(tmp_path, part="train")


def test_mat_and_text_give_the_same_trials_with_the_same_ids(tmp_path: Path) -> None:
    (tmp_path / "sp1s_aa.mat").write_bytes(mat_bytes())
    write_text(tmp_path)
    from_mat = read_competition(tmp_path, part="train")
    from_text = read_competition(tmp_path / "sp1s_aa_train.txt", part="train")
    assert np.array_equal(from_mat.x_uv, from_text.x_uv)
    assert from_mat.trial_ids == from_text.trial_ids
    assert from_mat.channels == from_text.channels == CHANNELS
    assert (from_mat.sfreq_hz, from_mat.window_end_ms) == (from_text.sfreq_hz, from_text.window_end_ms) == (100, -130)


def test_the_real_set_reads_as_described(competition_dir: Path) -> None:
    train = read_competition(competition_dir, part="train")
    test = read_competition(competition_dir, part="test")
    assert train.channels == test.channels == CHANNELS
    assert (len(train), len(test)) == (316, 100)
    assert train.subject == test.subject == "bci2-iv-aa"
    if (competition_dir / "sp1s_aa.mat").is_file():
        reference = loadmat(competition_dir / "sp1s_aa.mat")  # SciPy's reader against ours
        mine = read_competition(competition_dir / "sp1s_aa.mat", part="train")
        assert np.array_equal(mine.x_uv, reference["x_train"].transpose(2, 0, 1).astype(np.float32))
        assert np.array_equal(mine.labels, reference["y_train"][0])


# -- which file ----------------------------------------------------------------------------------------------------


def test_the_1000_hz_mat_comes_first_and_the_source_says_so(tmp_path: Path) -> None:
    write_text(tmp_path)
    assert find_competition(tmp_path, part="test").name == "sp1s_aa_test.txt"
    write_text(tmp_path, n_samples=500, suffix="_1000Hz")
    assert find_competition(tmp_path, part="train").name == "sp1s_aa_train_1000Hz.txt"
    assert read_competition(tmp_path, part="train").sfreq_hz == 1000
    (tmp_path / "sp1s_aa.mat").write_bytes(mat_bytes())
    assert find_competition(tmp_path, part="train").name == "sp1s_aa.mat"
    (tmp_path / "sp1s_aa_1000Hz.mat").write_bytes(mat_bytes(x_train=encoded(N_TRIALS, 500), x_test=encoded(3, 500)))
    epochs = read_competition(tmp_path, part="train")
    assert epochs.sfreq_hz == 1000
    assert epochs.n_samples == 500
    assert epochs.source == "BCI Competition II data set IV, training part at 1000 Hz (sp1s_aa_1000Hz.mat)"


def test_a_file_of_pretap_may_have_any_rate_and_channels(tmp_path: Path) -> None:
    path = tmp_path / "mine.mat"
    names = np.array([["C3", "C4"]], dtype=object)
    x = encoded(N_TRIALS, 64, 2)
    path.write_bytes(mat_bytes(clab=names, x_train=x, sfreq=128.0, source="a test"))
    epochs = read_competition(path, part="train")
    assert (epochs.sfreq_hz, epochs.channels, epochs.x_uv.shape) == (128.0, ("C3", "C4"), (N_TRIALS, 64, 2))
    assert epochs.source == "a test, training part at 128 Hz (mine.mat)"


def test_test_labels_come_from_the_file_next_to_it_and_must_match_in_number(tmp_path: Path) -> None:
    (tmp_path / "sp1s_aa.mat").write_bytes(mat_bytes())
    assert read_competition(tmp_path, part="test").labels is None
    (tmp_path / LABELS_NAME).write_text("1\n0\n1\n")
    labels = read_competition(tmp_path, part="test").labels
    assert labels is not None
    assert labels.tolist() == [1, 0, 1]
    (tmp_path / LABELS_NAME).write_text("1\n0\n")
    with pytest.raises(DataError, match=r"expected 3 labels, .* got 2"):
        read_competition(tmp_path, part="test")


# -- refusals ------------------------------------------------------------------------------------------------------


def test_a_missing_data_set_is_refused_with_the_names_tried_and_where_to_get_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("PRETAP_DATA_URL", raising=False)
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError) as caught:
            find_competition(path, part="train")
        sentence = str(caught.value)
        for what in (
            "sp1s_aa_1000Hz.mat",
            "sp1s_aa_train.txt",
            "bbci.de",
            "PRETAP_DATA",
            "--data synthetic",
            str(path),
        ):
            assert what in sentence
        assert caught.value.exit_code == 7
    with pytest.raises(DataError, match=r"other\.mat does not exist"):
        find_competition(tmp_path / "other.mat", part="train")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"x_train": None}, "x_train is missing"),
        ({"clab": None}, "clab is missing"),
        ({"x_train": encoded(N_TRIALS)[:, :27]}, r"shape \(time, 28 channels of clab, trial\), got \(50, 27, 7\)"),
        ({"x_train": encoded(N_TRIALS - 1)}, "7 labels for 6 trials"),
        ({"x_train": np.where(encoded(N_TRIALS) == 0, np.nan, encoded(N_TRIALS))}, "NaN or infinite"),
        ({"x_train": encoded(N_TRIALS) * 1e9}, "expected microvolts"),
        ({"x_train": "text"}, "expected x_train to be an array of numbers, got text"),
        ({"y_train": LABELS[None, :] + 1}, r"labels 0 \(left\)"),
        ({"clab": np.array([["C3"] * 28], dtype=object)}, "one distinct name per channel"),
        ({"sfreq": -5.0}, "one positive rate"),
        ({"x_train": encoded(N_TRIALS) + 1j}, "neither numbers, text nor cells"),
    ],
)
def test_a_mat_of_another_form_is_refused(tmp_path: Path, changes: dict[str, object], sentence: str) -> None:
    path = tmp_path / "x.mat"
    path.write_bytes(mat_bytes(**changes))
    with pytest.raises(DataError, match=sentence):
        read_competition(path, part="train")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "expected one trial per line"),
        ("0 1 2 3\n", "expected one trial per line"),
        ("0 " + "1 " * 56 + "\n1 " + "1 " * 55 + "\n", "line 2 has 56 values, line 1 has 57"),
        ("0 " + "1 " * 55 + "x\n", "line 1 has a value that is not a number"),
        ("0 " + "1 " * 55 + "nan\n", "NaN or infinite"),
        ("2 " + "1 " * 56 + "\n", "labels 0"),
        ("\xff\xfe", "not a text file of numbers"),
    ],
)
def test_a_text_of_another_form_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "sp1s_aa_train.txt"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=sentence):
        read_competition(path, part="train")
    with pytest.raises(DataError, match="has the training part, but the test part is needed"):
        read_competition(path, part="test")


@settings(max_examples=150, deadline=None)
@given(data=st.data(), compressed=st.booleans())
def test_a_damaged_mat_file_is_a_data_error(tmp_path_factory, data, compressed: bool) -> None:
    small = {"x_train": encoded(N_TRIALS, 4), "x_test": encoded(1, 4)}
    content = bytearray(mat_bytes(compressed=compressed, **small))
    if data.draw(st.booleans(), "truncate"):
        content = content[: data.draw(st.integers(0, len(content) - 1), "length")]
    for place in data.draw(st.lists(st.integers(0, max(0, len(content) - 1)), max_size=6), "flips"):
        if content:
            content[place] = data.draw(st.integers(0, 255), "byte")
    path = tmp_path_factory.getbasetemp() / "damaged.mat"
    path.write_bytes(content)
    for part in ("train", "test"):
        try:
            assert np.isfinite(read_competition(path, part=part).x_uv).all()
        except DataError as error:
            assert str(path) in str(error)  # noqa: PT017 - either outcome is right


def test_the_real_file_truncated_anywhere_is_refused(competition_dir: Path, tmp_path: Path) -> None:
    content = find_competition(competition_dir, part="train").read_bytes()
    path = tmp_path / "sp1s_aa.mat"
    for n_bytes in (0, 1, 127, 128, 135, 200, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:n_bytes])
        with pytest.raises(DataError):
            read_competition(path, part="test")
    path.write_bytes(b"MATLAB 7.3 MAT-file" + content[19:])
    with pytest.raises(DataError, match="save it with -v7"):
        read_competition(path, part="train")


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]),
    shape=st.lists(st.integers(1, 4), min_size=2, max_size=4),
    text=st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), min_size=1, max_size=9),
    compressed=st.booleans(),
)
def test_our_reader_of_mat_files_agrees_with_scipys(tmp_path_factory, dtype, shape, text, compressed) -> None:
    values = (np.arange(np.prod(shape)).reshape(shape) % 100).astype(dtype)
    path = tmp_path_factory.getbasetemp() / "agree.mat"
    savemat(path, {"n": values, "t": text, "c": np.array([["ab", text]], dtype=object)}, do_compression=compressed)
    mine = read_mat(path, names=("n", "t", "c"))
    assert np.array_equal(mine["n"], loadmat(path)["n"])
    assert mine["t"] == text
    assert mine["c"] == ["ab", text]


# -- the mirror ----------------------------------------------------------------------------------------------------


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path):
    """Serve a directory on loopback: (its URL, the directory)."""
    served = tmp_path / "served"
    served.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(served)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", served
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_mirror_is_asked_only_when_it_is_named(mirror, competition_dir: Path, tmp_path: Path, monkeypatch) -> None:
    url, served = mirror
    if not (competition_dir / "sp1s_aa.mat").is_file():
        pytest.skip("needs sp1s_aa.mat, the 100 Hz release of the competition's data")
    shutil.copyfile(competition_dir / "sp1s_aa.mat", served / "sp1s_aa.mat")
    home = tmp_path / "home"
    monkeypatch.delenv("PRETAP_DATA_URL", raising=False)
    with pytest.raises(DataError, match="does not exist"):
        find_competition(home, part="train")
    monkeypatch.setenv("PRETAP_DATA_URL", url)
    assert find_competition(home, part="train") == home / "sp1s_aa.mat"
    assert len(read_competition(home, part="train")) == 316


def test_a_mirror_with_another_file_is_refused(mirror, tmp_path: Path, monkeypatch) -> None:
    url, served = mirror
    monkeypatch.setenv("PRETAP_DATA_URL", url + "/")
    with pytest.raises(DataError, match="could not be fetched"):
        find_competition(tmp_path / "home", part="train")
    (served / "sp1s_aa.mat").write_bytes(mat_bytes())
    with pytest.raises(DataError, match="could not be fetched"):
        find_competition(tmp_path / "home", part="train")
    assert not (tmp_path / "home" / "sp1s_aa.mat").exists()


# -- resampling ----------------------------------------------------------------------------------------------------


def _trials(x_uv: np.ndarray, sfreq_hz: float) -> Epochs:
    return Epochs(
        x_uv=x_uv.astype(np.float32),
        labels=np.arange(len(x_uv)) % 2,
        classes=("left", "right"),
        channels=tuple(f"c{i}" for i in range(x_uv.shape[2])),
        sfreq_hz=sfreq_hz,
        window_end_ms=-130.0,
        source="test",
    )


def _gain(end_uv: np.ndarray, last_uv: np.ndarray) -> float:
    """The least-squares gain of the last ten samples' mean over the last sample of the file."""
    return float(np.sum(end_uv * last_uv) / np.sum(last_uv**2))


def test_resampling_keeps_the_end_of_the_window_which_the_obvious_way_halves(competition_dir: Path) -> None:
    epochs = read_competition(competition_dir, part="train")
    if epochs.sfreq_hz != 100:
        pytest.skip("needs the 100 Hz release of the competition's data")
    up = resample_epochs(epochs, sfreq_hz=1000.0)
    last_uv = epochs.x_uv[:, -1]
    assert _gain(up.x_uv[:, -10:].mean(axis=1), last_uv) == pytest.approx(1.0, abs=0.05)
    obvious = resample_poly(epochs.x_uv, 10, 1, axis=1)
    assert _gain(obvious[:, -10:].mean(axis=1), last_uv) == pytest.approx(0.56, abs=0.02)
    assert np.max(np.abs(up.x_uv[:, 9::10] - epochs.x_uv)) < 0.2  # of values up to 205


def test_sample_k_lies_at_10_k_plus_9_and_everything_else_is_kept() -> None:
    epochs = _trials(np.random.default_rng(0).normal(0, 10, (4, 50, 3)), 100.0)
    up = resample_epochs(epochs, sfreq_hz=1000.0)
    assert up.x_uv.shape == (4, 500, 3)
    assert up.x_uv.dtype == np.float32
    assert np.max(np.abs(up.x_uv[:, 9::10] - epochs.x_uv)) < 0.05
    assert up.trial_ids == epochs.trial_ids
    assert np.array_equal(up.labels, epochs.labels)
    assert (up.sfreq_hz, up.resampled_from_hz, up.window_end_ms) == (1000.0, 100.0, -130.0)
    assert resample_epochs(epochs, sfreq_hz=100.0) is epochs


def test_a_straight_line_stays_straight_at_any_rate_and_ends_on_its_last_value() -> None:
    line = np.linspace(-50, 30, 500)[None, :, None].repeat(2, axis=2)
    for sfreq_hz, n_samples in ((100.0, 50), (250.0, 125), (512.0, 256), (2000.0, 1000)):
        out = resample_epochs(_trials(line, 1000.0), sfreq_hz=sfreq_hz)
        assert out.n_samples == n_samples
        assert np.max(np.abs(out.x_uv[0, -1] - 30)) < 0.1
        slope_uv_per_s = (out.x_uv[0, -1, 0] - out.x_uv[0, 10, 0]) / (n_samples - 11) * sfreq_hz
        assert slope_uv_per_s == pytest.approx(80 / 0.499, rel=0.01)


@pytest.mark.parametrize("sfreq_hz", [0.0, -100.0, float("nan"), float("inf"), 1e-9])
def test_a_rate_that_cannot_be_is_refused(sfreq_hz: float) -> None:
    with pytest.raises(UsageError):
        resample_epochs(_trials(np.zeros((1, 50, 1)), 100.0), sfreq_hz=sfreq_hz)
