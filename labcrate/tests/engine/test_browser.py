"""A real browser opens the links that `invoke up` prints, and does what a newcomer would."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clone import ROOT, Lab
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait
from web import wait_for_points

pytestmark = pytest.mark.browser

# The browser must call nobody: it is told to leave out all that it does unasked.
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--window-size=1400,1100 --hide-scrollbars"
)
SHOTS = ROOT / "reports"

EPOCHS = 12
"""Of the first notebook; the page shows what TensorBoard had read when it was opened."""


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


def link(lab: Lab, service: str) -> str:
    printed = lab.invoke("url").stdout.splitlines()
    return next(line.split()[1] for line in printed if line.split()[0] == service)


def find(browser: webdriver.Chrome, css: str, text: str = "", timeout: float = 180) -> WebElement:
    """The first visible element that matches, and contains the text, as soon as there is one."""

    def search(driver: webdriver.Chrome) -> WebElement | None:
        for element in driver.find_elements(By.CSS_SELECTOR, css):
            if element.is_displayed() and text in element.text:
                return element
        return None

    # The page redraws while it is searched: an element that went stale is looked for again.
    waiting = WebDriverWait(browser, timeout, ignored_exceptions=[StaleElementReferenceException])
    try:
        found = waiting.until(search, f"no {css} with {text!r}")
    except TimeoutException:
        shoot(browser, "browser-failed.png")
        print(browser.find_element(By.TAG_NAME, "body").text[-2_000:])
        raise
    assert found
    return found


def shoot(browser: webdriver.Chrome, name: str) -> None:
    SHOTS.mkdir(exist_ok=True)
    assert browser.save_screenshot(str(SHOTS / name))


def until_it_runs(browser: webdriver.Chrome) -> Iterator[None]:
    """Once more, a second apart, until the first cell runs or has run.

    JupyterLab says idle before it is connected to the kernel, and forgets what it is told then.
    """
    while find(browser, ".jp-CodeCell .jp-InputPrompt").text == "[ ]:":
        yield
        time.sleep(1.0)


def test_jupyterlab_runs_a_cell(up_lab: Lab, browser: webdriver.Chrome) -> None:
    """A new notebook by the launcher; a cell that imports torch; its output on the page."""
    browser.get(link(up_lab, "jupyter"))
    find(browser, ".jp-LauncherCard[data-category='Notebook']").click()
    cell = find(browser, ".jp-Notebook .jp-CodeCell .cm-content")
    find(browser, ".jp-Notebook-ExecutionIndicator[data-status='idle']")
    cell.click()
    # JupyterLab closes brackets and quotes itself, and steps over those that are typed.
    code = "import torch; print('two plus two is', int(torch.ones(2, 2).sum()))"
    ActionChains(browser).send_keys(code).perform()
    for _ in until_it_runs(browser):
        find(browser, ".jp-Notebook .jp-CodeCell .cm-content", code).click()
        ActionChains(browser).key_down(Keys.SHIFT).send_keys(Keys.ENTER).perform()
        ActionChains(browser).key_up(Keys.SHIFT).perform()
    output = find(browser, ".jp-OutputArea-output", "two plus two is 4", timeout=180)
    assert "Error" not in output.text


def test_the_quickstart_in_both_pages(up_lab: Lab, browser: webdriver.Chrome) -> None:
    """All cells of the first notebook run in JupyterLab; TensorBoard then draws its loss."""
    address, _, token = link(up_lab, "jupyter").partition("?")
    browser.get(f"{address}/tree/notebooks/01-quickstart.ipynb?reset&{token}")
    find(browser, ".jp-Notebook .jp-CodeCell .cm-content")
    find(browser, ".jp-Notebook-ExecutionIndicator[data-status='idle']")
    for _ in until_it_runs(browser):
        find(browser, ".lm-MenuBar-itemLabel", "Run").click()
        find(browser, ".lm-Menu-itemLabel", "Run All Cells").click()
    find(browser, ".jp-OutputArea-output", "test accuracy", timeout=180)
    time.sleep(1.0)
    shoot(browser, "jupyterlab.png")
    wait_for_points(up_lab, "loss/test", EPOCHS)
    browser.get(link(up_lab, "tensorboard") + "?tagFilter=loss%7Caccuracy%7Cconfusion#timeseries")
    find(browser, "scalar-card", "loss")
    curve = find(browser, "scalar-card line-chart")
    find(browser, ".settings-button", "Settings").click()
    WebDriverWait(browser, 30).until(lambda _: drawn(browser, curve), "the chart stays empty")
    time.sleep(2.0)
    shoot(browser, "tensorboard.png")


def drawn(browser: webdriver.Chrome, chart: WebElement) -> bool:
    """Whether a chart has a line: an SVG path with points, or a canvas that is not blank.

    TensorBoard draws off screen, in a worker; a copy of what is shown can be read all the same.
    """
    script = """
        const chart = arguments[0];
        const long = path => path.getAttribute('d')?.length > 50;
        const shown = canvas => {
            if (!canvas.width || !canvas.height) return false;
            const copy = document.createElement('canvas');
            [copy.width, copy.height] = [canvas.width, canvas.height];
            const context = copy.getContext('2d');
            context.drawImage(canvas, 0, 0);
            const pixels = context.getImageData(0, 0, copy.width, copy.height).data;
            return new Uint32Array(pixels.buffer).some(Boolean);
        };
        return [...chart.querySelectorAll('path')].some(long)
            || [...chart.querySelectorAll('canvas')].some(shown);
    """
    return bool(browser.execute_script(script, chart))
