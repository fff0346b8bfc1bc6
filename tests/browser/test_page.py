"""The monitor's page in a real Chromium, on real streams."""

from __future__ import annotations


def test_x(start, monitor, open_page, picture, competition_dir):
    start("replay", str(competition_dir), "--part", "train", "--sfreq-hz", "1000", "--loop")
    start("serve", "ensemble-1000hz", "--hop-ms", "20")
    page = open_page(monitor())
    from playwright.sync_api import expect

    expect(page.locator("#state-name")).to_have_text("RUNNING", timeout=15000)
    page.wait_for_timeout(12_000)
    page.screenshot(path="/tmp/m-desk.png")
    print(page.evaluate("document.documentElement.dataset.fps"), page.inner_text("#accuracy"), page.inner_text("#rate"))
    page.click("#to-game")
    page.click("#start")
    page.wait_for_timeout(4_000)
    page.screenshot(path="/tmp/m-game.png")
    phone = open_page(page.url.split("#")[0], width=390, height=844, dark=True)
    phone.wait_for_timeout(4000)
    phone.screenshot(path="/tmp/m-phone.png", full_page=True)
    print(open_page.said)
    assert not open_page.said
