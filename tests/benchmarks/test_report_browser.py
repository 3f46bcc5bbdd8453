"""The page of results in a real browser: sorting, filters, values, sound, and nobody is asked."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from made import made, saved

import svuprobe
from svuprobe.benchmarks.leaderboard import number

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
if CHROMIUM is None or DRIVER is None:
    pytest.skip(
        "no chromium and chromedriver here: apt-get install chromium chromium-driver",
        allow_module_level=True,
    )

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
AXE = ROOT / "tests" / "data" / "axe" / "axe.min.js"
FLAGS = (
    "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
    "disable-background-networking", "disable-component-update", "disable-sync", "mute-audio",
    "disable-dev-shm-usage", "autoplay-policy=no-user-gesture-required",
)  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Real results: recordings that ship, so that there is audio, and songs of two clips."""
    chosen = svuprobe.Selection(tasks=["starter-digits", "songs"])
    out = tmp_path_factory.mktemp("page") / "report"
    return svuprobe.report(RESULTS, out, audio="copies", selection=chosen)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_script_timeout(120)
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser, page):
    """The page, anew, on a wide screen; what it logs and asks for is looked at afterwards."""
    show(browser, page)
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(page.as_uri())
    yield browser
    assert browser.get_log("browser") == []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            address = message["params"]["request"]["url"]
            # (The signs on its own players are Chromium's, within itself.)
            assert address.startswith((page.parent.as_uri(), "data:")), address


def show(browser, page, width=1280, scheme="light"):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    browser.get(page.as_uri())


def result(model, task="starter-digits"):
    return json.loads(next(RESULTS.glob(f"{model}@*/{task}/*.json")).read_text(encoding="utf-8"))


def scores(browser):
    """The table of the task on digits, and its heading's button for a column."""
    return browser.find_element(By.CSS_SELECTOR, "#task-starter-digits-svuprobe table.scores")


def column(table, number):
    rows = table.find_elements(By.CSS_SELECTOR, "tbody tr")
    return [row.find_elements(By.CSS_SELECTOR, "th, td")[number].text for row in rows]


def test_tables_sort_by_each_column(opened):
    table = scores(opened)
    heads = table.find_elements(By.CSS_SELECTOR, "thead th")
    place = [head.text for head in heads].index("accuracy")
    button = heads[place].find_element(By.TAG_NAME, "button")
    for direction, order in (("descending", -1), ("ascending", 1)):
        opened.execute_script("arguments[0].click()", button)
        assert heads[place].get_attribute("aria-sort") == direction
        shown = [float(text.split()[0]) for text in column(table, place)]
        assert shown == sorted(shown, key=lambda value: order * value)
    button = heads[1].find_element(By.TAG_NAME, "button")
    opened.execute_script("arguments[0].focus()", button)
    opened.switch_to.active_element.send_keys(Keys.ENTER)  # by the keyboard, names from a on
    assert heads[1].get_attribute("aria-sort") == "ascending"
    names = [text.lower() for text in column(table, 1)]
    assert names == sorted(names)
    assert heads[place].get_attribute("aria-sort") is None


def test_filters_leave_the_models_and_protocols_that_are_asked_for(opened):
    def shown():
        return [name.split("\n")[0] for name in column(scores(opened), 1) if name]

    everyone = shown()
    field = opened.find_element(By.ID, "by-name")
    field.send_keys("MFCC")
    assert [name.split()[0] for name in shown()] == ["mfcc", "chance"]
    assert "1 of 5" in opened.find_element(By.ID, "shown").text
    field.clear()
    field.send_keys(" ", Keys.BACKSPACE)
    opened.find_element(By.CSS_SELECTOR, "#by-kind option[value=pretrained]").click()
    assert [name.split("@")[0] for name in shown()] == ["svuprobe-small", "chance"]
    opened.find_element(By.CSS_SELECTOR, "#by-kind option[value='']").click()
    assert shown() == everyone
    options = opened.find_elements(By.CSS_SELECTOR, "#by-protocol option")
    next(option for option in options if option.text.startswith("linear")).click()
    assert not opened.find_element(By.ID, "task-starter-digits-svuprobe").is_displayed()
    assert opened.find_element(By.ID, "task-songs-linear").is_displayed()


def test_the_pointer_and_the_arrow_keys_tell_the_value_of_the_json(opened):
    of_layer = result("svuprobe-small")["layer_curve"]
    box = opened.find_element(By.CSS_SELECTOR, "#task-starter-digits-svuprobe .panels .walk")
    opened.execute_script(
        "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", box
    )
    told = opened.find_element(By.ID, "told")
    point = box.find_elements(By.CSS_SELECTOR, ".pt")[2]
    webdriver.ActionChains(opened).move_to_element(point).perform()
    WebDriverWait(opened, 5).until(lambda _: told.is_displayed())
    layer = list(of_layer)[2]
    mean = float(np.mean(of_layer[layer]))
    assert told.text.startswith(f"{layer}: {number('accuracy', mean)} ")
    assert told.text.endswith(f"({mean:.6g})")
    webdriver.ActionChains(opened).move_by_offset(0, -200).perform()
    opened.execute_script("arguments[0].focus()", box)
    for layer, per_seed in list(of_layer.items())[:2]:
        opened.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
        assert told.text.startswith(layer)
        assert told.text.endswith(f"({float(np.mean(per_seed)):.6g})")
    opened.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not told.is_displayed()


def test_a_clip_plays(opened):
    player = opened.find_element(By.CSS_SELECTOR, "#task-starter-digits-svuprobe audio")
    opened.execute_script("arguments[0].play()", player)
    WebDriverWait(opened, 20).until(
        lambda driver: driver.execute_script("return arguments[0].currentTime > 0", player)
    )
    assert opened.execute_script("return arguments[0].error", player) is None


def test_the_button_turns_light_to_dark(opened):
    colour = "return getComputedStyle(document.body).backgroundColor"
    before = opened.execute_script(colour)
    opened.find_element(By.ID, "scheme").click()
    assert opened.execute_script(colour) != before


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_and_the_page_never_scrolls_sideways(opened, page, width, scheme):
    show(opened, page, width, scheme)
    inside = "return document.documentElement.scrollWidth <= innerWidth"
    assert opened.execute_script(inside)
    opened.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    opened.execute_script(AXE.read_text(encoding="utf-8"))
    found = opened.execute_async_script(
        "const done = arguments[0];"
        "axe.run().then(r => done(r.violations.map(v => [v.id, v.nodes[0].html.slice(0, 200)])));"
    )
    assert found == []


NINE = (
    "melody-medleydb", "mtg-moodtheme", "singer-artist20", "singer-cross-technique",
    "starter-pitch-height", "structure", "technique", "technique-detection", "transcription",
)  # fmt: skip


def test_nine_tasks_fit_on_a_screen_of_1280_pixels(browser, tmp_path):
    models = ("svuprobe-small", "wavlm-base-plus", "mert-v1-95m", "random:svuprobe-small#0")
    several = [
        made(model, 0.5 + 0.03 * m + 0.01 * t, task=task)
        for t, task in enumerate(NINE)
        for m, model in enumerate(models)
    ]
    saved(tmp_path / "results", *several)
    page = svuprobe.report(tmp_path / "results", tmp_path / "report")
    show(browser, page)
    browser.get(page.as_uri())
    hidden = (
        "const box = document.querySelector('table.across').closest('.scroll');"
        "return box.scrollWidth - box.clientWidth"
    )
    assert browser.execute_script(hidden) == 0
    show(browser, page, 390)
    browser.get(page.as_uri())
    assert browser.execute_script(hidden) < 650  # of deviations beside the scores: 820
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def test_on_paper_nothing_is_cut_and_the_scheme_is_light(browser, page):
    show(browser, page, 1032, "dark")  # the pixels of A4 across, less its margins
    media = {
        "media": "print",
        "features": [{"name": "prefers-color-scheme", "value": "dark"}],
    }
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    told = browser.execute_script("""
        const all = (what) => [...document.querySelectorAll(what)];
        const hidden = (what) => all(what).every((one) => one.getClientRects().length === 0);
        return {
          paper: getComputedStyle(document.body).backgroundColor,
          blue: getComputedStyle(document.querySelector("svg.c0")).color,
          wide: all("table, svg.panel").filter(
            (one) => one.getBoundingClientRect().right > innerWidth + 1).length,
          cut: all(".scroll").filter((one) => getComputedStyle(one).overflowX !== "visible").length,
          hidden: hidden("audio") && hidden("#filters") && hidden("nav") && hidden("th.player"),
          players: all("audio").length,
        }""")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    players = told.pop("players")
    white, blue = "rgb(255, 255, 255)", "rgb(0, 114, 178)"
    assert told == {"paper": white, "blue": blue, "wide": 0, "cut": 0, "hidden": True}
    assert players


def test_without_scripts_the_page_is_its_tables_and_drawings(browser, page):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(page.as_uri())
        assert not browser.find_elements(By.CSS_SELECTOR, "th button")
        assert not browser.find_element(By.ID, "filters").is_displayed()
        assert len(column(scores(browser), 1)) == 6
        assert browser.find_elements(By.CSS_SELECTOR, "svg .pt title")
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
