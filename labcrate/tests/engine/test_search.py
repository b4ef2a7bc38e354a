"""The search page on the real engine: a model of a few kB, the real image, a real browser.

The figures of the real model are in docs/search.md; they need notebooks 02 and 03.
"""

from __future__ import annotations

import json
import shutil
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import Lab, remove_lab, said, small_lab
from selenium import webdriver
from selenium.webdriver.common.by import By
from test_browser import browser, find
from tiny_model import TinyModel
from web import get

from labcrate.errors import Code

__all__ = ["browser"]

LARGEST = 350 * 10**6
"""Bytes of the image: small, because PyTorch is not in it."""

INSIDE = """
import urllib.parse, urllib.request
body = urllib.parse.urlencode({"title": "%s"}).encode()
print(urllib.request.urlopen("http://127.0.0.1:8000/", body, timeout=5).read().decode())
"""


@pytest.fixture(scope="module")
def tiny() -> TinyModel:
    return TinyModel()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, tiny: TinyModel) -> Iterator[Lab]:
    """A lab without PyTorch, in which only the page runs."""
    made = small_lab(tmp_path_factory.mktemp("search") / "lab")
    try:
        refused = made.invoke("serve", check=False)
        assert refused.returncode == Code.NO_MODEL, said(refused)
        assert "fix: run notebook 03" in said(refused)
        tiny.write(made.root / "models" / "search")
        (made.root / "models" / "search").chmod(0o755)
        print(made.invoke("serve").stdout)
        yield made
    finally:
        remove_lab(made)


def address(lab: Lab) -> str:
    return f"http://127.0.0.1:{lab.env['SEARCH_PORT']}/"


def ask(lab: Lab, path: str, **told: str) -> Any:
    body = json.dumps(told).encode()
    wanted = {"content-type": "application/json"}
    asked = urllib.request.Request(address(lab) + path, body, wanted)
    with urllib.request.urlopen(asked, timeout=120) as answer:
        return json.load(answer)


def test_the_verbs_know_it(page: Lab) -> None:
    told = json.loads(page.invoke("status", "--json").stdout)["services"]["search"]
    assert (told["state"], told["health"], told["url"]) == ("running", "healthy", address(page))
    assert f"search       {address(page)}\n" in page.invoke("url").stdout
    logs = page.invoke("logs", "search").stdout
    assert "The search page is running" in logs
    # onnxruntime warns where it cannot keep an id of this machine, for its reports to Microsoft.
    assert "telemetry" not in logs


def test_the_image_is_small_and_has_no_pytorch(page: Lab) -> None:
    size = page.docker("image", "inspect", "--format", "{{.Size}}", f"{page.project}/search").stdout
    print(f"the image of the page: {int(size) / 1e6:.0f} MB")
    assert int(size) < LARGEST
    listed = page.docker("exec", page.container("search"), "python", "-c", "import torch")
    assert "No module named 'torch'" in listed.stderr


def test_it_writes_nothing_and_has_no_right(page: Lab) -> None:
    for path in ("/lab/models/search/x", "/opt/labcrate/x", "/x"):
        done = page.docker("exec", page.container("search"), "touch", path)
        assert "Read-only file system" in done.stderr, said(done)
    shown = page.docker("exec", page.container("search"), "cat", "/proc/1/status").stdout
    assert "CapEff:\t0000000000000000" in shown


def test_a_foreign_name_is_refused(page: Lab) -> None:
    assert get(address(page), Host="evil.example")[0] == 403


def test_a_vector_is_the_one_that_the_index_was_made_with(page: Lab, tiny: TinyModel) -> None:
    one = tiny.articles[3]
    found = ask(page, "api/vector", title=one["title"], text=one["text"])["vector"]
    wanted = tiny.vector(one["title"], one["text"])
    assert max(abs(a - b) for a, b in zip(found, wanted, strict=True)) < 1e-5


def test_fifty_requests_at_once_are_all_answered(page: Lab, tiny: TinyModel) -> None:
    asked = (tiny.articles * 2)[:50]
    with ThreadPoolExecutor(50) as pool:
        found = list(pool.map(lambda one: ask(page, "api/search", **one), asked))
    first = [answer["articles"][0]["title"] for answer in found]
    assert first == [one["title"] for one in asked]


@pytest.mark.browser
def test_a_browser_finds_similar_articles(
    page: Lab,
    tiny: TinyModel,
    browser: webdriver.Chrome,
) -> None:
    """A phone's width; the article itself comes first, and its category after it."""
    browser.set_window_size(400, 800)
    browser.get(address(page))
    one = tiny.articles[12]
    find(browser, "#title").send_keys(one["title"])
    find(browser, "#text").send_keys(one["text"])
    find(browser, "button").click()
    find(browser, "h2", "Similar articles")
    rows = browser.find_elements(By.CSS_SELECTOR, "ol li summary")
    assert len(rows) == 10
    assert rows[0].text.split() == [*one["title"].split(), one["category"], "1.000"]
    assert sum(one["category"] in row.text for row in rows) >= 9
    wide = "return [document.documentElement.scrollWidth, window.innerWidth]"
    width, window = browser.execute_script(wide)
    assert width <= window


@pytest.mark.browser
def test_script_tags_are_text_in_a_browser(page: Lab, browser: webdriver.Chrome) -> None:
    attack = "<script>document.title='in'</script><img src=x onerror=\"document.title='in'\">"
    browser.get(address(page))
    find(browser, "#title").send_keys(f"\"'>{attack}")
    browser.execute_script(
        "document.getElementById('text').value = arguments[0]",
        f"</textarea>{attack}" + "game " * 2000,
    )
    find(browser, "button").click()
    find(browser, "h2", "Similar articles")
    assert browser.title == "Similar news"
    assert browser.find_elements(By.CSS_SELECTOR, "img, script") == []
    assert attack in str(find(browser, "#text").get_attribute("value"))


def started(lab: Lab, models: Path, *options: str) -> str:
    """The id of the page's image as a container without any network."""
    bare = ("--network", "none", "--read-only", "--tmpfs", "/tmp")
    mount = ("--volume", f"{models}:/lab/models:ro")
    done = lab.docker("run", "--detach", *bare, *mount, *options, f"{lab.project}/search")
    assert done.returncode == 0, said(done)
    return done.stdout.strip()


def test_it_answers_without_a_network(page: Lab, tiny: TinyModel) -> None:
    title = tiny.articles[0]["title"]
    made = started(page, page.root / "models")
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            done = page.docker("exec", made, "python3", "-c", INSIDE % title)
            if done.returncode == 0:
                break
            time.sleep(0.3)
        assert done.stdout.count("<li>") == 10, said(done)
        assert "<i>tech</i>" in done.stdout
    finally:
        page.docker("rm", "--force", made)


def test_a_model_of_another_digest_is_refused(page: Lab, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(page.root / "models" / "search", models / "search")
    (models / "search" / "vectors.npy").write_bytes(b"of another model")
    tmp_path.chmod(0o755)
    made = started(page, models, "--user", "0:0")
    try:
        assert page.docker("wait", made).stdout.strip() == "1"
        line = page.docker("logs", made).stderr
    finally:
        page.docker("rm", "--force", made)
    assert "is refused: vectors.npy has another digest than meta.json says. Fix: run" in line
    assert line.count("\n") == 1, line
    before = page.container("search")
    own = page.root / "models" / "search" / "vectors.npy"
    whole = own.read_bytes()
    own.write_bytes(b"of another model")
    try:
        refused = page.invoke("serve", check=False)
    finally:
        own.write_bytes(whole)
    assert refused.returncode == Code.NO_MODEL, said(refused)
    # The page that runs has the model that it was started with.
    assert page.container("search") == before
    assert get(address(page))[0] == 200


def test_the_end_down_stops_it_and_clean_leaves_nothing(page: Lab) -> None:
    page.invoke("down")
    assert not page.docker("ps", "--all", "--quiet", "--filter", f"name={page.project}").stdout
    assert "search" not in page.invoke("status").stdout
    page.invoke("clean", "--all", "--yes")
    assert page.left_over() == {}
    assert (page.root / "models" / "search" / "encoder.onnx").exists()
