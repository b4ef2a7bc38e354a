"""The search page without its model: what it shows, what it refuses, and whom it answers."""

from __future__ import annotations

import json
import runpy
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from clone import ROOT
from guard_script import guard_script
from search_model import write_model
from starlette.testclient import TestClient

from labcrate.lab import search
from labcrate.lab.images import PARTS

Part = dict[str, Any]
ATTACK = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


@pytest.fixture(autouse=True)
def without_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """image/*.py import each other, and what the image alone has."""
    for name in ("numpy", "onnxruntime", "tokenizers"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setattr(sys.modules["tokenizers"], "Tokenizer", None, raising=False)
    monkeypatch.syspath_prepend(str(PARTS))
    monkeypatch.delitem(sys.modules, "search_index", raising=False)


@pytest.fixture
def page() -> Part:
    return runpy.run_path(str(PARTS / "search.py"), run_name="search")


@pytest.fixture
def index() -> Part:
    return runpy.run_path(str(PARTS / "search_index.py"), run_name="search_index")


class FakeIndex:
    """Ten articles of which one is an attack; remembers what it was asked."""

    def __init__(self) -> None:
        texts = ["plain"] * 9 + [ATTACK]
        self.articles = [{"title": t, "text": t, "category": "tech"} for t in texts]
        self.asked: list[tuple[str, str]] = []

    def nearest(self, title: str, text: str) -> list[dict[str, Any]]:
        self.asked.append((title, text))
        return [{**one, "score": 1 - i / 10} for i, one in enumerate(self.articles)]


class Vector(list[float]):
    def tolist(self) -> list[float]:
        return list(self)


@pytest.fixture
def fake() -> FakeIndex:
    return FakeIndex()


@pytest.fixture
def browser(page: Part, fake: FakeIndex) -> TestClient:
    return TestClient(page["make_application"](fake), base_url="http://127.0.0.1:8000")


def test_the_page_has_a_title_and_a_text_to_fill_in(browser: TestClient) -> None:
    shown = browser.get("/")
    assert shown.status_code == 200
    assert 'name="title"' in shown.text
    assert 'name="text"' in shown.text
    assert "10 articles are searched" in shown.text
    assert 'name="viewport"' in shown.text


def test_ten_articles_come_with_their_scores(browser: TestClient, fake: FakeIndex) -> None:
    shown = browser.post("/", data={"title": "A title", "text": "A text"})
    assert shown.status_code == 200
    assert fake.asked == [("A title", "A text")]
    assert shown.text.count("<li>") == 10
    assert "1.000" in shown.text
    assert "0.100" in shown.text


def test_what_was_typed_stays_in_the_form(browser: TestClient) -> None:
    shown = browser.post("/", data={"title": "A title", "text": "A text"}).text
    assert 'value="A title"' in shown
    assert "A text</textarea>" in shown


@pytest.mark.parametrize("field", ["title", "text"])
def test_script_tags_are_shown_as_text(browser: TestClient, field: str) -> None:
    """Those of a query and those of an article."""
    told = {"title": "", "text": "", field: ATTACK}
    shown = browser.post("/", data=told)
    assert "<script" not in shown.text
    assert "<img" not in shown.text
    assert shown.text.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 3
    assert "default-src 'none'" in shown.headers["content-security-policy"]


def test_a_closing_tag_does_not_leave_the_form(browser: TestClient) -> None:
    shown = browser.post("/", data={"text": "</textarea><b>out</b>"}).text
    assert shown.count("</textarea>") == 1


def test_a_dollar_sign_is_no_placeholder(browser: TestClient) -> None:
    assert (
        "$answer $1 ${title}</textarea>"
        in browser.post("/", data={"text": "$answer $1 ${title}"}).text
    )


def test_a_text_of_ten_thousand_characters(browser: TestClient, fake: FakeIndex) -> None:
    text = "ünï 日本語 " * 1000
    assert browser.post("/", data={"text": text}).status_code == 200
    assert fake.asked == [("", text)]


def test_more_than_a_megabyte_is_refused(browser: TestClient, fake: FakeIndex) -> None:
    shown = browser.post("/", data={"text": "x" * (2**20 + 1)})
    assert (shown.status_code, fake.asked) == (413, [])
    assert browser.post("/api/search", json={"text": "x" * 2**20}).status_code == 413


@pytest.mark.parametrize("told", [{}, {"title": "", "text": " \n "}, {"other": "x"}])
def test_nothing_to_search_for(browser: TestClient, fake: FakeIndex, told: dict[str, str]) -> None:
    shown = browser.post("/", data=told)
    assert (shown.status_code, fake.asked) == (400, [])
    assert "Type a title or a text first." in shown.text


@pytest.mark.parametrize("body", [b"\xff\xfe", b"&".join([b"a=1"] * 9)])
def test_a_form_that_cannot_be_read(browser: TestClient, body: bytes) -> None:
    assert browser.post("/", content=body).status_code == 400


def test_programs_get_json(browser: TestClient, fake: FakeIndex) -> None:
    found = browser.post("/api/search", json={"title": "A", "text": "B"}).json()["articles"]
    assert [one["score"] for one in found][:2] == [1.0, 0.9]
    assert found[9]["title"] == ATTACK
    assert fake.asked == [("A", "B")]


def test_programs_get_a_vector(page: Part) -> None:
    encoder = types.SimpleNamespace(
        encode=lambda title, text: Vector([0.6, 0.8, len(title + text)])
    )
    client = TestClient(page["make_application"](encoder), base_url="http://localhost")
    assert client.post("/api/vector", json={"title": "ab"}).json() == {"vector": [0.6, 0.8, 2]}


@pytest.mark.parametrize("body", [b"[]", b"{", b'"text"'])
def test_json_that_is_no_object(browser: TestClient, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    assert browser.post("/api/search", content=body, headers=headers).status_code == 400


def test_the_health_check_has_an_answer(browser: TestClient) -> None:
    assert browser.get("/health").text == "ok\n"
    assert browser.get("/other").status_code == 404


HOSTS = {
    "localhost": True,
    "LOCALHOST:8000": True,
    "127.0.0.1:8000": True,
    "192.168.1.7": True,
    "[::1]:8000": True,
    "evil.example": False,
    "evil.example:8000": False,
    "127.0.0.1.evil.example": False,
    "localhost.evil.example": False,
    "": False,
}


@pytest.mark.parametrize(("host", "own"), HOSTS.items())
def test_the_page_answers_to_this_machines_names_alone(
    browser: TestClient, fake: FakeIndex, host: str, own: bool
) -> None:
    shown = browser.post("/", data={"text": "x"}, headers={"host": host})
    assert shown.status_code == (200 if own else 403)
    assert bool(fake.asked) is own


def test_both_guards_know_the_same_names(page: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    guard = guard_script(monkeypatch)
    for host, own in HOSTS.items():
        assert (page["is_own"](host), guard["is_own"](host)) == (own, own)


# The model


def test_a_whole_model_is_taken(index: Part, tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    assert index["read_meta"](folder)["dimensions"] == 4
    assert search.model_problem(folder) == ""


@pytest.mark.parametrize("name", search.FILES)
def test_another_digest_is_refused(index: Part, tmp_path: Path, name: str) -> None:
    folder = write_model(tmp_path)
    (folder / name).write_text("another one")
    refusal = f"{name} has another digest than meta.json says"
    assert search.model_problem(folder) == refusal
    with pytest.raises(index["Refused"], match=refusal):
        index["read_meta"](folder)


@pytest.mark.parametrize("name", [*search.FILES, "meta.json"])
def test_a_missing_file_is_refused(index: Part, tmp_path: Path, name: str) -> None:
    folder = write_model(tmp_path)
    (folder / name).unlink()
    assert name in search.model_problem(folder)
    with pytest.raises(index["Refused"], match=name):
        index["read_meta"](folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, "meta.json has format 2"),
        ({"sha256": {}}, "encoder.onnx has another digest"),
        ({"sha256": None}, "cannot be read"),
        ({"sha256": "x"}, "cannot be read"),
    ],
)
def test_another_meta_file_is_refused(
    index: Part, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    folder = write_model(tmp_path, **changes)
    assert words in search.model_problem(folder)
    with pytest.raises(index["Refused"], match=words):
        index["read_meta"](folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", "{"])
def test_a_meta_file_that_says_nothing(index: Part, tmp_path: Path, text: str) -> None:
    folder = write_model(tmp_path)
    (folder / "meta.json").write_text(text)
    assert "cannot be read" in search.model_problem(folder)
    with pytest.raises(index["Refused"]):
        index["read_meta"](folder)


def test_a_refused_model_is_one_line_and_an_exit_code(
    page: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_model(tmp_path)
    (folder / "encoder.onnx").write_text("another one")
    monkeypatch.setattr(sys, "argv", ["search.py", str(folder), "8000"])
    monkeypatch.setitem(sys.modules, "uvicorn", types.ModuleType("uvicorn"))
    with pytest.raises(SystemExit) as caught:
        page["main"]()
    said = str(caught.value.code)
    assert said.startswith(f"error: the model in {folder} is refused: encoder.onnx has another")
    assert said.endswith("Fix: run notebook 03 again, then: invoke serve")
    assert "\n" not in said


def test_the_task_and_the_page_know_the_same_folder(index: Part) -> None:
    assert (index["FORMAT"], index["META"], index["FILES"]) == (
        search.FORMAT,
        search.META,
        search.FILES,
    )


def test_the_notebook_writes_what_the_page_reads(index: Part) -> None:
    cells = json.loads((ROOT / search.NOTEBOOK).read_text(encoding="utf-8"))["cells"]
    text = "".join("".join(cell["source"]) for cell in cells)
    names = ", ".join(f'"{name}"' for name in search.FILES)
    assert f"files = ({names})" in text
    assert f'"format": {search.FORMAT},' in text
    assert f'output_names=["{index["OUTPUT"]}"]' in text


def test_onnxruntime_reports_to_nobody() -> None:
    """It does so by default, and reads the variable as it is imported."""
    notebook = json.loads((ROOT / search.NOTEBOOK).read_text(encoding="utf-8"))
    text = "".join("".join(cell["source"]) for cell in notebook["cells"])
    for source in (text, (PARTS / "search_index.py").read_text(encoding="utf-8")):
        off = source.index('os.environ["ORT_DISABLE_TELEMETRY"] = "1"')
        assert off < source.index("import onnxruntime")
    stage = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    assert "ORT_DISABLE_TELEMETRY=1\n" in stage.partition("AS search\n")[2].partition("\nFROM")[0]
