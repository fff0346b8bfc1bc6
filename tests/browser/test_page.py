"""The monitor's page in a real Chromium, on real streams, in under 90 s.

`pytest tests/browser --pictures` updates the screenshots in docs/figures/.
"""

from __future__ import annotations

import json

import pytest

from monitored_service import LABELS
from real_lsl import until

pytestmark = pytest.mark.xdist_group("browser")  # one Chromium

SUBJECT = {"subject/id": "anna"}
MARKUP = "<img src=x onerror=alert(1)><b>bold</b>"


def has_ink(page, canvas: str) -> bool:
    """Return whether something besides the grid is drawn in the right half of a canvas."""
    return page.evaluate(
        """(name) => {
            const canvas = document.getElementById(name);
            const x = canvas.width >> 1;
            const data = canvas.getContext("2d").getImageData(x, 0, canvas.width - x, canvas.height).data;
            let n = 0;
            for (let i = 3; i < data.length; i += 4) n += data[i] > 0;
            return n > 0.01 * data.length / 4;
        }""",
        canvas,
    )


def wide(page) -> int:
    """Return by how many pixels the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def test_the_page_follows_a_real_replay_through_a_loss_and_its_return(start, monitor, open_page, expect):
    replay = ["replay", "synthetic", "--name", "real", "--wait", "--disconnect", "@20:5000"]
    start(*replay).wait_for("markers on real-markers")
    start("serve", "ensemble-1000hz", "--query", "name=real", "--set", 'markers.name="real"', "--hop-ms", "20")
    page = open_page(monitor("--service", "real", "--query", "real", "--cue-query", "real-markers"))
    expect(page.locator("#state-name")).to_have_text("RUNNING")
    expect(page.locator("#stream")).to_have_text("real · 28 channels at 1000 Hz · markers: real-markers")
    expect(page.locator("#state")).to_have_attribute("data-level", "good")
    expect(page.locator("#state-sign")).to_have_text("✓")
    expect(page.locator("#head circle.good")).to_have_count(28)
    expect(page.locator("#p50")).to_contain_text("ms")
    page.locator("#which").select_option("decoder")
    expect(page.locator("#rows button")).to_have_count(28)
    until(lambda: has_ink(page, "traces") and has_ink(page, "history"), "traces and probabilities")
    expect(page.locator("#accuracy")).to_contain_text("correct")
    expect(page.locator("#bar span")).to_have_count(2)
    expect(page.locator("#state-name")).to_have_text("LOST")
    expect(page.locator("#electrode-words")).to_contain_text("Not known")
    expect(page.locator("#state-name")).to_have_text("RUNNING")
    expect(page.locator("#events .state b").first).to_have_text("RUNNING")
    assert page.locator("#events .state b").all_inner_texts().count("LOST") == 1
    assert page.locator("#scale option").first.inner_text().endswith(" µV")
    assert float(page.evaluate("document.documentElement.dataset.fps")) > 0
    assert open_page.said == []


def test_states_and_bad_electrodes_are_shown_as_text(service, monitor, open_page, expect):
    sent = service()
    page = open_page(monitor(*sent.arguments), dark=True)
    expect(page.locator("#state-name")).to_have_text("WAITING")
    sent.start()
    expect(page.locator("#state-name")).to_have_text("RUNNING")
    expect(page.locator("#electrode-words")).to_have_text("All 2 that the decoder uses are good.")
    sent.state = {"state": "RUNNING", "bad": ("C3",), "why": "C3: railed", "lost": 12}
    expect(page.locator("#electrode-words")).to_have_text("Not good: C3. C3: railed.")
    expect(page.locator("#head g:has(circle.bad) title")).to_have_text("C3")
    expect(page.locator("#lost")).to_have_text("12")
    sent.state = {"state": "STALE"}
    expect(page.locator("#state")).to_have_attribute("data-state", "STALE")
    expect(page.locator("#size-unit")).to_have_text("lost")
    expect(page.locator("#main")).to_have_class("lost")
    sent.state = {"state": "RUNNING"}
    expect(page.locator("#size-unit")).to_have_text("µV RMS")
    expect(page.locator("#main")).not_to_have_class("lost")
    sent.end()
    expect(page.locator("#state-name")).to_have_text("SILENT")
    assert page.locator("#state").get_attribute("aria-live") == "polite"
    assert open_page.said == []


def phase(page, expect, name: str) -> None:
    """Wait for a phase of the game."""
    expect(page.locator("#game")).to_have_attribute("data-phase", name)


def saved(page) -> dict:
    """Save the result of the game, and return what was saved."""
    with page.expect_download() as download:
        page.locator("#save").click()
    return json.loads(download.value.path().read_text())


def test_the_game_scores_the_verdicts_at_the_true_markers(service, monitor, open_page, expect):
    sent = service()
    page = open_page(monitor(*sent.arguments))
    sent.start()
    expect(page.locator("#state-name")).to_have_text("RUNNING")
    page.keyboard.press("Tab")  # the link that skips the header
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#instruction")).to_contain_text("left or right")
    expect(page.locator("#instruction")).to_contain_text("tap at your own pace")
    page.locator("#length").select_option("15")
    page.locator("#start").press("Enter")
    phase(page, expect, "countdown")
    expect(page.locator("#instruction")).to_be_hidden()
    phase(page, expect, "playing")
    rounds = [(0.95, "right", "right", 1), (0.5, "in the middle", "right", 1), (0.05, "left", "left", 2)]
    for n, (p_right, said, truth, hits) in enumerate(rounds, start=1):
        sent.p = [1 - p_right, p_right]
        expect(page.locator("#field")).to_have_attribute("aria-label", f"The ball is {said}")
        sent.mark(f"tap/{truth}")
        expect(page.locator("#of")).to_have_text(f" of {n}")
        expect(page.locator("#hits")).to_have_text(str(hits))
    expect(page.locator("#accuracy")).to_have_text("2 of 3 correct")
    sent.state = {"state": "LOST", "why": "gone"}
    expect(page.locator("#start")).to_have_text("Continue")
    expect(page.locator("#game-words")).to_contain_text("Paused: lost")
    sent.state = {"state": "RUNNING"}
    page.locator("#leave").click()
    expect(page.locator("#game")).to_be_hidden()
    expect(page.locator("#state-name")).to_have_text("RUNNING")
    page.locator("#to-game").click()
    page.locator("#start").click()
    expect(page.locator("#results")).to_be_visible(timeout=60_000)
    assert page.locator("#result-big").inner_text() == "2 of 3 correct"
    assert "67 %" in page.locator("#result-figures").inner_text()
    expect(page.locator("#start")).to_have_text("Play again")
    result = saved(page)
    assert (result["bundle"], result["subject"], result["bundle_trained_on"]) == ("mine", "anna", "ben")
    assert (result["scored_by"], result["n"], result["n_correct"], result["guessing"]) == ("true markers", 3, 2, 0.5)
    assert [(each["truth"], each["label"]) for each in result["rounds"]] == [
        ("right", "right"), ("right", "left"), ("left", "left"),
    ]  # fmt: skip
    assert open_page.said == []


@pytest.mark.parametrize(
    "classes", [("left", "right"), ("right", "left"), ("right", "left", "feet"), ("feet", "right", "left")]
)
def test_the_gate_called_left_is_on_the_left_whatever_the_order_of_the_classes(monitor, open_page, classes):
    page = open_page(monitor("--service", "nobody", "--query", "nothing"))
    left, right = page.evaluate(
        """async (classes) => {
            const { Field } = await import("/field.js");
            const field = new Field(document.createElement("canvas"));
            field.reset(classes);
            return ["left", "right"].map((name) => field.position(classes.map((each) => Number(each === name)))[0]);
        }""",
        list(classes),
    )
    assert left < right


def test_without_markers_the_game_opens_gates_for_three_classes(service, monitor, open_page, expect):
    classes = ("left", "right", "feet")
    sent = service(classes=classes)
    page = open_page(monitor("--service", sent.name, "--query", f"{sent.name}-eeg", "--cue-query", "nothing"))
    sent.start(n_unread=1)
    expect(page.locator("#state-name")).to_have_text("RUNNING")
    expect(page.locator("#accuracy-words")).to_contain_text("No marker stream")
    page.locator("#to-game").click()
    expect(page.locator("#instruction")).to_contain_text("left, right or feet")
    expect(page.locator("#instruction")).to_contain_text("a gate lights up")
    page.locator("#length").select_option("15")
    page.locator("#start").click()
    expect(page.locator("#game-words")).to_contain_text("Go to ")
    truth = page.locator("#game-words").inner_text().removeprefix("Go to ").removesuffix(".")
    sent.p = [0.9 if name == truth else 0.05 for name in classes]
    expect(page.locator("#field")).to_have_attribute("aria-label", f"The ball is {truth}")
    expect(page.locator("#hits")).to_have_text("1")
    sent.p = [1 / 3] * 3
    expect(page.locator("#results")).to_be_visible(timeout=60_000)
    expect(page.locator("#result-big")).to_contain_text("gates reached")
    result = saved(page)
    assert result["rounds"][0] == {"truth": truth, "label": truth, "correct": True}
    assert [each["label"] for each in result["rounds"][1:]] == ["none"] * (result["n"] - 1)
    assert (result["scored_by"], result["n_correct"]) == ("gates of the game", 1)
    assert result["guessing"] == pytest.approx(1 / 3)
    assert open_page.said == []


def test_a_gate_of_the_game_scores_a_ball_that_was_held_for_the_last_second(monitor, open_page):
    page = open_page(monitor("--service", "nobody", "--query", "nothing"))
    rounds = page.evaluate(
        """async () => {
            const { Game } = await import("/game.js");
            const game = new Game();
            game.describe({ classes: ["left", "right"], markers: [] }, false);
            game.reset();
            Object.assign(game, { phase: "playing", left_s: 60, next_s: 0 });
            for (const held_s of [0, 0.5, 1.5]) {
                game.p = [0.5, 0.5];
                while (!game.target) game.play(0.05);
                const { k, closes_s } = game.target;
                while (closes_s - game.played_s > held_s + 0.025 && game.target) game.play(0.05);
                game.p = [0, 1].map((each) => Number(each === k));
                while (game.target) game.play(0.05);
            }
            return game.rounds.map(({ truth, label, correct }) => [correct, label === truth ? "its class" : label]);
        }"""
    )
    assert rounds == [[False, "none"], [False, "none"], [True, "its class"]]


@pytest.mark.parametrize("cued, label, opens", [(False, "", True), (False, "left", False), (True, "", False)])
def test_the_game_opens_gates_itself_if_no_marker_names_a_class(monitor, open_page, cued, label, opens):
    page = open_page(monitor("--service", "nobody", "--query", "nothing"))
    targets = page.evaluate(
        """async ([cued, label]) => {
            const { Game } = await import("/game.js");
            const game = new Game();
            game.describe({ classes: ["left", "right"], markers: ["task"], cued }, true);
            game.reset();
            Object.assign(game, { phase: "playing", left_s: 60, next_s: 0 });
            game.marker({ label, start: false });
            return [9, 2].map((seconds) => {
                for (let s = 0; s < seconds; s += 0.5) game.play(0.5);
                return Boolean(game.target);
            });
        }""",
        [cued, label],
    )
    assert targets == [False, opens]


def test_no_name_of_a_class_is_cut(monitor, open_page):
    names = ["imagined movement of the left hand", "imagined movement of the right hand"]
    page = open_page(monitor("--service", "nobody", "--query", "nothing"))
    drawn, told = page.evaluate(
        """async (names) => {
            const [{ History }, { Game }] = await Promise.all([import("/history.js"), import("/game.js")]);
            const history = new History(document.createElement("canvas"));
            history.reset(names);
            const drawn = [];
            history.strip.context.fillText = (text, x, y, width) => drawn.push([text, width < history.strip.left]);
            history.names();
            new Game().describe({ classes: names, markers: [] }, false);
            return [drawn.slice(2), document.getElementById("instruction-what").textContent];
        }""",
        names,
    )
    assert drawn == [[names[1], True], [names[0], True]]
    assert f"{names[0]} or {names[1]}" in told


@pytest.mark.parametrize("dark", [False, True])
def test_the_layout_holds_on_a_phone(service, monitor, open_page, expect, dark):
    sent = service()
    page = open_page(monitor(*sent.arguments), width=390, height=844, dark=dark)
    sent.start()
    expect(page.locator("#state-name")).to_have_text("RUNNING")
    sent.mark("a-marker-without-a-place-to-break-it-" * 3)
    sent.say(type="state", bad=LABELS, why="w" * 300)
    expect(page.locator("#events li")).not_to_have_count(0)
    assert wide(page) == 0
    for name in ("traces", "history", "head", "bar", "events"):
        box = page.locator(f"#{name}").bounding_box()
        assert 0 <= box["x"] <= box["x"] + box["width"] <= 390, name
    page.locator("#to-game").click()
    for name in ("start", "full", "leave", "length"):
        box = page.locator(f"#{name}").bounding_box()
        assert 0 <= box["x"] <= box["x"] + box["width"] <= 390, name
        assert box["y"] + box["height"] <= 844, name
    assert wide(page) == 0
    assert open_page.said == []


def test_markup_in_names_labels_and_markers_stays_text(service, monitor, open_page, expect):
    sent = service(classes=("<b>left</b>", "<i>right</i>"), labels=("<u>C3</u>", "Cz", "<script>", "C4"))
    page = open_page(monitor(*sent.arguments))
    sent.start()
    expect(page.locator("#state-name")).to_have_text("RUNNING")
    sent.say(type="state", state="RUNNING", why=MARKUP, bad=(MARKUP,))
    sent.mark(MARKUP)
    expect(page.locator("#events .marker")).to_have_text(MARKUP)
    expect(page.locator("#events .state").first).to_contain_text("<img")
    expect(page.locator("#legend li").first).to_have_text("<b>left</b>")
    for tag in ("img", "script:not([src])", "i:not(.class-0, .class-1)", "u", "b b", "iframe"):
        assert page.locator(tag).count() == 0, tag
    assert open_page.said == []


def test_the_page_reconnects_to_its_server(start, open_page, expect):
    child = start("monitor", "--port", "0", "--service", "nobody")
    url = child.wait_for(r"http://127\.0\.0\.1:\d+/")
    page = open_page(url)
    expect(page.locator("#state-name")).to_have_text("WAITING")
    assert child.interrupt() == 0
    expect(page.locator("#state-name")).to_have_text("OFFLINE")
    start("monitor", "--port", url.split(":")[-1].strip("/"), "--service", "nobody").wait_for("http")
    expect(page.locator("#state-name")).to_have_text("WAITING")


def test_from_one_command_to_the_ball(start, open_page, expect, picture):
    demo = start("demo", "--web", "--no-browser", "--port", "0", "--n-trials", "100" if picture.asked else "4")
    url = demo.wait_for(r"http://127\.0\.0\.1:\d+/", within_s=100)
    page = open_page(url, width=1400, height=900)
    expect(page.locator("#state-name")).to_have_text("RUNNING")
    if picture.asked:
        expect(page.locator("#accuracy")).to_contain_text("of 12", timeout=60_000)
        picture(page, "monitor.png")
        phone = open_page(url, width=390, height=844, dark=True)
        until(lambda: has_ink(phone, "traces") and has_ink(phone, "history"), "traces and probabilities")
        picture(phone, "monitor-phone.png")
    page.locator("#to-game").click()

    def is_scored():
        if page.locator("#start").inner_text() in ("Start", "Continue"):  # a busy machine may make the stream stale
            page.locator("#start").click()
        page.wait_for_timeout(500)
        return page.locator("#of").inner_text()

    until(is_scored, "a round of the game")
    if picture.asked:
        expect(page.locator("#of")).to_have_text(" of 9", timeout=60_000)
    picture(page, "game.png")
    page.locator("#leave").click()
    assert demo.interrupt() == 0
    assert [line for line in open_page.said if "ERR_CONNECTION_REFUSED" not in line] == []
