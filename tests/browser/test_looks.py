"""The looks of the monitor's page: what is drawn stays in its place, every label can be read, and the controls work."""

from __future__ import annotations

import mne
import numpy as np
import pytest
from scipy import signal

from monitored_service import LABELS
from real_lsl import until

pytestmark = pytest.mark.xdist_group("browser")  # one Chromium

CAPS = {n: mne.channels.make_standard_montage(f"biosemi{max(n, 32)}").ch_names[-n:] for n in (1, 28, 64)}
LONG_NAMES = ("EEG Fp1 with a long name of a channel", "EEG Fz-Ref", *LABELS[2:])
SIX_CLASSES = ("the left hand, which moves slowly", "right hand", "both feet", "tongue", "lips", "rest")

# The red pixels of a canvas: the first and the last row of pixels, and how many there are.
RED = """() => {
    const canvas = document.getElementById("traces");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const rows = [];
    for (let i = 0; i < data.length; i += 4) {
        if (data[i + 3] > 60 && data[i] - data[i + 1] > 60) rows.push(Math.floor(i / 4 / canvas.width));
    }
    return { n: rows.length, first: rows[0], last: rows[rows.length - 1], height: canvas.height };
}"""

# The texts of the page that are cut, or that lie outside of the window.
CUT = """() => {
    const cut = [];
    const shown = "header *, .display *, .figures *, #classes *, #legend *, #rows button, #rows span, #events *";
    for (const each of document.querySelectorAll(shown)) {
        const box = each.getBoundingClientRect();
        if (!box.width || each.closest("[hidden]") || ["OPTION", "I"].includes(each.tagName)) continue;
        const isCut = each.clientWidth > 0 && each.scrollWidth > each.clientWidth + 1;
        if (isCut || box.left < -0.5 || box.right > innerWidth + 0.5) cut.push(each.outerHTML.slice(0, 120));
    }
    return cut;
}"""

# The labels of the electrodes that reach out of their circle or out of the map.
OUTSIDE = """() => {
    const map = document.getElementById("head").getBoundingClientRect();
    const outside = [];
    for (const each of document.querySelectorAll("#head g.electrode")) {
        const circle = each.querySelector("circle").getBoundingClientRect();
        const text = each.querySelector("text").getBoundingClientRect();
        if (circle.left < map.left || circle.right > map.right || circle.top < map.top || circle.bottom > map.bottom
            || (text.width && (text.left < circle.left - 1 || text.right > circle.right + 1))) {
            outside.push(each.textContent);
        }
    }
    return outside;
}"""

# Pairs of names of channels that cover each other.
COVERED = """() => {
    const boxes = [...document.querySelectorAll("#rows button")]
        .map((each) => ({ name: each.textContent, box: each.getBoundingClientRect() }))
        .filter(({ box }) => box.width);
    const isOver = (a, b) =>
        a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 2 && b.top < a.bottom - 2;
    return boxes.flatMap((one, k) => boxes.slice(k + 1)
        .filter((other) => isOver(one.box, other.box)).map((other) => [one.name, other.name]));
}"""


def start_page(sent, monitor, open_page, expect, **options):
    """Return the page of a running service."""
    page = open_page(monitor(*sent.arguments), **options)
    sent.start()
    expect(page.locator("#state-name")).to_have_text("RUNNING")
    expect(page.locator("#rows li span").first).not_to_have_text("")
    return page


def size_of(page, name: str) -> float:
    """Return the number that is shown for a channel."""
    row = page.locator("#rows li").filter(has=page.get_by_text(name, exact=True))
    return float(row.locator("span").inner_text())


@pytest.mark.parametrize("n", [1, 28, 64])
def test_a_bad_electrode_stays_in_its_row_and_every_label_can_be_read(service, monitor, open_page, expect, n):
    labels = CAPS[n]
    bad = n // 2
    sent = service(labels=labels)
    sent.gain[bad] = 100
    sent.state = {"state": "RUNNING", "bad": (labels[bad],), "why": f"{labels[bad]}: amplitude"}
    page = start_page(sent, monitor, open_page, expect, width=1400, height=900)
    expect(page.locator("#rows button.bad")).to_have_text(f"× {labels[bad]}")
    until(lambda: page.evaluate(RED)["n"] > 200, "the trace of the bad electrode")
    red = page.evaluate(RED)
    row = red["height"] / n
    assert bad * row - 1 <= red["first"] <= red["last"] <= (bad + 1) * row + 1
    expect(page.locator("#state")).to_have_attribute("data-level", "warn")
    expect(page.locator("#state-sign")).to_have_text("⚠")
    expect(page.locator("#state-why")).to_contain_text("One electrode is bad.")
    assert size_of(page, f"× {labels[bad]}") > 1000
    assert page.evaluate(CUT) == []
    assert page.evaluate(COVERED) == []
    assert page.evaluate(OUTSIDE) == []
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
    events = page.locator("#events").bounding_box()
    assert events["y"] + 40 <= 900
    page.locator("#enlarge").click()
    expect(page.locator("#head text").first).to_be_visible()
    assert page.evaluate(OUTSIDE) == []
    page.keyboard.press("Escape")
    expect(page.locator("#enlarge")).to_have_text("Enlarge")
    assert open_page.said == []


@pytest.mark.parametrize(("width", "height", "dark"), [(1400, 900, False), (390, 844, True)])
def test_long_names_and_six_classes_are_not_cut(service, monitor, open_page, expect, width, height, dark):
    sent = service(labels=LONG_NAMES, classes=SIX_CLASSES)
    page = start_page(sent, monitor, open_page, expect, width=width, height=height, dark=dark)
    expect(page.locator("#classes li")).to_have_count(6)
    assert page.locator("#classes li > span").all_inner_texts() == list(SIX_CLASSES)
    assert page.locator("#rows button").all_inner_texts() == list(LONG_NAMES)
    assert page.evaluate(CUT) == []
    assert page.evaluate(COVERED) == []
    assert page.evaluate(OUTSIDE) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    colours = page.locator("#classes i").evaluate_all("all => all.map(each => getComputedStyle(each).backgroundColor)")
    assert len(set(colours)) == 6
    assert open_page.said == []


def test_invalid_decisions_are_amber_and_say_why(service, monitor, open_page, expect):
    sent = service()
    page = start_page(sent, monitor, open_page, expect)
    assert page.locator("#classes b").all_inner_texts() == ["0.50", "0.50"]
    sent.valid, sent.why = False, "Fz is flat"
    expect(page.locator("#state")).to_have_attribute("data-level", "warn")
    expect(page.locator("#state-why")).to_contain_text("Decisions are invalid: Fz is flat.")
    expect(page.locator("#invalid")).to_have_text("⚠ No valid window: Fz is flat")
    expect(page.locator("#classes b").first).to_have_text("–")
    sent.valid, sent.why = True, ""
    expect(page.locator("#invalid")).to_have_text("")
    expect(page.locator("#state-why")).not_to_contain_text("invalid")
    sent.state = {"state": "LOST"}
    expect(page.locator("#state")).to_have_attribute("data-level", "fault")
    expect(page.locator("#state-sign")).to_have_text("✕")


def test_a_stream_that_is_bad_as_a_whole_is_not_shown_as_good(service, monitor, open_page, expect):
    sent = service()
    page = start_page(sent, monitor, open_page, expect)
    expect(page.locator("#quality")).to_have_text("100 %")
    expect(page.locator("#state-why")).not_to_contain_text("The signal is bad.")
    expect(page.locator("#head g:has(circle.good) title")).to_have_text(["C3", "C4"])  # those of the decoder
    expect(page.locator("#electrode-words")).to_have_text("All 2 that the decoder uses are good.")
    sent.quality, sent.state = 0.0, {"state": "RUNNING", "why": "swapped cap: left and right are mirrored"}
    expect(page.locator("#quality")).to_have_text("0 %")
    expect(page.locator("#state-why")).to_contain_text("The signal is bad. swapped cap: left and right")
    expect(page.locator("#head circle.good")).to_have_count(0)
    expect(page.locator("#electrode-words")).to_contain_text("The signal as a whole is not good. swapped cap")
    sent.quality, sent.state = 0.5, {"state": "RUNNING", "bad": ("C3",)}
    expect(page.locator("#quality")).to_have_text("50 %")
    expect(page.locator("#head g:has(circle.good) title")).to_have_text(["C4"])
    assert open_page.said == []


def test_the_controls_change_what_is_shown(service, monitor, open_page, expect):
    sent = service()
    page = start_page(sent, monitor, open_page, expect)
    traces, names = page.locator("#traces"), page.locator("#rows button")
    assert 17 < size_of(page, "C3") < 23
    page.locator("#band").select_option("8-30")
    until(lambda: size_of(page, "C3") < 12, "noise of 20 µV between 8 and 30 Hz: 8.4 µV")
    page.locator("#seconds").select_option("2")
    page.locator("#scale").select_option("100")
    expect(traces).to_have_attribute("aria-label", "Traces of 8 channels, 2 seconds, 100 µV a row")
    page.locator("#larger").click()
    expect(traces).to_have_attribute("aria-label", "Traces of 8 channels, 2 seconds, 75 µV a row")
    page.locator("#which").select_option("decoder")
    assert names.all_inner_texts() == ["C3", "C4"]
    page.locator("#which").select_option("chosen")
    page.locator("#chosen").fill("c3, Cz Q9")
    assert names.all_inner_texts() == ["C3", "Cz"]
    expect(page.locator("#chosen-words")).to_have_text("No channel is called Q9.")
    expect(traces).to_have_attribute("aria-label", "Traces of 2 channels, 2 seconds, 75 µV a row")
    bar, unit = page.locator("#amplitude-bar").bounding_box(), page.locator("#amplitude-words").inner_text()
    row_px = page.locator("#traces").bounding_box()["height"] / 2
    assert bar["height"] == pytest.approx(row_px * float(unit.removesuffix(" µV")) / 75, abs=1.5)
    page.locator("#which").select_option("all")
    expect(names).to_have_count(8)
    begins, ends = until(lambda: seconds_of(page), "the time axis")
    assert 1 <= ends - begins <= 2
    page.locator("#seconds").select_option("30")
    until(lambda: np.diff(seconds_of(page)) >= 29, "half a minute on the time axis")
    assert open_page.said == []


def seconds_of(page) -> tuple[int, int] | None:
    """Return the first and last second on the time axis."""
    words = page.locator("#time").get_attribute("aria-label").split()
    return (int(words[1]), int(words[3])) if words[2] == "to" else None


def test_a_frozen_picture_can_still_be_looked_at(service, monitor, open_page, expect):
    sent = service()
    page = start_page(sent, monitor, open_page, expect)
    until(lambda: seconds_of(page), "the time axis")
    page.locator("#freeze").click()
    picture, shown = page.locator("#traces").screenshot(), page.locator("#time").get_attribute("aria-label")
    for _ in range(2):
        sizes = page.locator("#rows li span").all_inner_texts()
        until(lambda: page.locator("#rows li span").all_inner_texts() != sizes, "sizes of a later second")  # noqa: B023
    assert page.locator("#traces").screenshot() == picture
    page.locator("#band").select_option("8-30")
    until(lambda: page.locator("#traces").screenshot() != picture, "the filtered traces")
    assert page.locator("#time").get_attribute("aria-label") == shown
    page.locator("#freeze").click()
    until(lambda: page.locator("#time").get_attribute("aria-label") != shown, "the next second")
    assert open_page.said == []


def test_a_click_on_a_channel_shows_its_spectrum(service, monitor, open_page, expect):
    sent = service()
    page = start_page(sent, monitor, open_page, expect, width=1400, height=900)
    page.locator("#rows button").filter(has_text="Cz").click()
    expect(page.locator("#spectrum-name")).to_contain_text("Cz: ")
    expect(page.locator("#spectrum-name")).to_contain_text("µV peak to peak")
    expect(page.locator("#spectrum-plot .line")).to_have_count(1)
    texts = page.locator("#spectrum-plot text").all_text_contents()
    assert texts[:7] == ["0", "10", "20", "30", "40", "50", "60"]
    assert {"frequency, Hz", "dB re 1 µV²/Hz"} <= set(texts)
    page.locator("#spectrum-hide").click()
    expect(page.locator("#rows button")).to_have_count(7)
    expect(page.locator("#which")).to_have_value("chosen")
    page.locator("#spectrum-close").click()
    expect(page.locator("#spectrum")).to_be_hidden()
    page.locator("#head g.electrode").filter(has_text="O1").click()
    expect(page.locator("#spectrum-name")).to_contain_text("O1: ")
    assert open_page.said == []


def test_a_page_without_streams_says_which_commands_to_start(monitor, open_page, expect):
    page = open_page(monitor("--service", "nobody", "--query", "none-at-all"))
    expect(page.locator("#state-name")).to_have_text("WAITING")
    expect(page.locator("#no-eeg code")).to_have_text("pretap replay synthetic")
    expect(page.locator("#no-service code")).to_have_text("pretap serve BUNDLE")
    assert page.evaluate(CUT) == []


# -- calculations of the page, against SciPy -------------------------------------------------------------------------


@pytest.fixture
def blank(monitor, open_page):
    """A page that receives no signal, whose modules a test can call."""
    return open_page(monitor("--service", "nobody", "--query", "none-at-all"))


def sections_of(page, band, mains_hz, sfreq_hz):
    """Return the second-order sections of a filter of the page, as SciPy has them."""
    rows = page.evaluate(
        "async ([band, mains_hz, sfreq_hz]) => (await import('/filters.js')).design({ band, mains_hz }, sfreq_hz)",
        [band, mains_hz, sfreq_hz],
    )
    return np.array([[*row[:3], 1.0, *row[3:]] for row in rows])


@pytest.mark.parametrize("sfreq_hz", [125.0, 250.0, 1000.0])
def test_the_filters_have_the_responses_of_scipy_s(blank, sfreq_hz):
    f_hz = np.linspace(0.05, 0.49 * sfreq_hz, 500)

    def response(sos):
        return signal.sosfreqz(sos, f_hz, fs=sfreq_hz)[1]

    def butter(order, f, kind):
        return response(signal.butter(order, f, kind, fs=sfreq_hz, output="sos"))

    none = sections_of(blank, [0, 0], 0, sfreq_hz)
    np.testing.assert_allclose(response(none), butter(1, 0.16, "highpass"), atol=1e-9)
    for band in ([1, 40], [8, 30]):
        expected = butter(4, band[0], "highpass") * butter(4, band[1], "lowpass")
        np.testing.assert_allclose(response(sections_of(blank, band, 0, sfreq_hz)), expected, atol=1e-9)
    high = sections_of(blank, [1, 0], 0, sfreq_hz)
    np.testing.assert_allclose(response(high), butter(4, 1, "highpass"), atol=1e-9)
    notch = sections_of(blank, [1, 0], 50, sfreq_hz)
    expected = signal.tf2sos(*signal.iirnotch(50, 30, fs=sfreq_hz))
    np.testing.assert_allclose(response(notch), response(high) * response(expected), atol=1e-9)
    assert abs(signal.sosfreqz(notch, [50.0], fs=sfreq_hz)[1][0]) < 1e-9


def test_a_filtered_channel_starts_settled_and_continues_after_a_nan(blank):
    x = np.random.default_rng(0).normal(3000, 20, 400)
    x[200] = np.nan
    y = blank.evaluate(
        """async (x) => {
            const { Chain, design } = await import("/filters.js");
            const chain = new Chain(design({ band: [1, 40], mains_hz: 50 }, 250), 1);
            return x.map((each) => chain.step(0, each ?? NaN)).map((each) => (Number.isNaN(each) ? null : each));
        }""",
        [None if np.isnan(each) else each for each in x.tolist()],
    )
    sos = sections_of(blank, [1, 40], 50, 250.0)
    for part in (slice(0, 200), slice(201, 400)):
        expected, _ = signal.sosfilt(sos, x[part], zi=signal.sosfilt_zi(sos) * x[part][0])
        np.testing.assert_allclose(y[part], expected, atol=1e-6)
    assert y[200] is None


@pytest.mark.parametrize("sfreq_hz", [125.0, 250.0])
def test_the_spectrum_is_welch_s(blank, sfreq_hz):
    t_s = np.arange(int(8 * sfreq_hz)) / sfreq_hz
    x = 100 + np.random.default_rng(0).normal(0, 5, len(t_s)) + 30 * np.sin(2 * np.pi * 10 * t_s)
    found = blank.evaluate(
        """async ([x, sfreq_hz]) => {
            const { f_hz, power } = (await import("/spectrum.js")).welch(x, sfreq_hz);
            return { f_hz: [...f_hz], power: [...power] };
        }""",
        [x.tolist(), sfreq_hz],
    )
    f_hz, power = signal.welch(x, sfreq_hz, nperseg=int(2 * sfreq_hz))
    np.testing.assert_allclose(found["f_hz"], f_hz[:121])
    np.testing.assert_allclose(found["power"], power[:121], rtol=1e-6)
    assert f_hz[np.argmax(found["power"])] == 10


def test_a_stream_too_fast_for_the_page_shows_its_extremes_without_the_offset(blank):
    columns = blank.evaluate(
        """async () => {
            const { Signal } = await import("/signal.js");
            const signal = new Signal();
            signal.reset(1, 1000000, 100);
            const buffer = new ArrayBuffer(16 + 3 * 16);
            new Uint32Array(buffer, 0, 4).set([3, 1, 0, 2]);
            new Float64Array(buffer, 16, 3).set([0.01, 0.02, 0.03]);
            new Float32Array(buffer, 40, 6).set([990, 1010, 980, 1020, 990, 1010]);
            signal.append(buffer);
            signal.setFilter({ band: [8, 30], mains_hz: 50 }); // is not applied
            return [...signal.columns.slice(0, 6)];
        }"""
    )
    np.testing.assert_allclose(columns, [-10, 10, -20, 20, -10, 10], atol=1e-3)
