"""The whole series, as a user goes through it: `nox -s series`. CI does not collect this file.

Notebook 02 on two seeds, notebook 03, and the search page with the encoder that was trained: some
forty minutes on two cores. What it measures goes into docs/series.md and docs/search.md, and the
picture of TensorBoard's HPARAMS tab beside them.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import test_browser
from clone import ROOT, Lab
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from test_browser import find, link
from test_search import address, ask
from test_series import FEW_SHOT, cells_of, run_few_shot, wait_for_compared
from web import Kernel, client

browser = test_browser.browser

DOCS = ROOT / "labcrate" / "docs"
BEGIN, END = "<!-- measured: nox -s series -->", "<!-- end -->"

AHEAD = {"k1": 8.0, "k5": 2.0}
"""Points by which the Siamese net must lead TF-IDF as it is, and the frozen encoder."""

TABLES = """
import json
tables = {"test": result.T, "validation": scores.T, "newsgroups": pd.DataFrame(away)}
for table in tables.values():
    table.columns = [" ".join(map(str, n)) if isinstance(n, tuple) else n for n in table.columns]
print(json.dumps({name: table.to_dict() for name, table in tables.items()}))
"""

HOLDS = """
const texts = root => [...root.querySelectorAll('*')].reduce(
    (all, one) => all + (one.shadowRoot ? texts(one.shadowRoot) : ''), root.textContent || '');
return arguments[0].every(word => texts(document.body).includes(word));
"""

Table = dict[str, dict[str, float]]


def markdown(title: str, table: Table) -> str:
    rows = [
        f"| {name} | " + " | ".join(f"{row[k]:.1f}" for k in ("k1", "k5", "k10")) + " |"
        for name, row in table.items()
    ]
    return "\n".join([f"| {title} | k=1 | k=5 | k=10 |", "|---|---|---|---|", *rows])


def leads(test: Table, seed: int) -> dict[str, float]:
    """Points that the Siamese net is ahead of the better one of two baselines, on one seed."""
    mine, counted, frozen = (test[f"{seed} {name}"] for name in ("Siamese", "TF-IDF", "frozen"))
    return {k: mine[k] - max(counted[k], frozen[k]) for k in mine}


def replace_measured(path: Path, body: str) -> None:
    """Put new figures between the two marks of a page."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    path.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}", encoding="utf-8")


def write_page(path: Path, tables: dict[str, Table], about: str) -> None:
    titles = {
        "test": "seed, method: 15 held-out topics",
        "validation": "seed, setting: five validation topics",
        "newsgroups": "20 Newsgroups, seed 0",
    }
    blocks = [about, *(markdown(titles[name], table) for name, table in tables.items())]
    replace_measured(path, "\n\n".join(blocks))


def line_with(printed: str, words: str) -> str:
    """The line of a notebook's output that begins so; a progress bar may stand before it."""
    return printed[printed.index(words) :].partition("\n")[0]


def run_whole(kernel: Kernel, lab: Lab) -> tuple[dict[str, Table], str]:
    """What the notebook measured, and in how many seconds, for the page."""
    started = time.monotonic()
    printed = run_few_shot(kernel, cells_of(lab, FEW_SHOT), timeout_s=3_000)
    seconds = time.monotonic() - started
    first = printed.partition("\n")[0]
    best = line_with(printed, "best on the validation topics")
    about = f"{first}. The whole notebook took {seconds:.0f} s on {os.cpu_count()} cores; {best}."
    return json.loads(kernel.run(TABLES)), about


def shoot_hparams(chromium: webdriver.Chrome, lab: Lab, group: str) -> None:
    chromium.set_window_size(1960, 560)
    chromium.get(link(lab, "tensorboard") + "#hparams")
    words = [group, "k1", "k5", "k10"]
    WebDriverWait(chromium, 60).until(lambda page: page.execute_script(HOLDS, words))
    time.sleep(2.0)
    assert chromium.save_screenshot(str(DOCS / "few-shot-hparams.png"))


def test_the_siamese_net_beats_both_baselines(up_lab: Lab, browser: webdriver.Chrome) -> None:
    kernel = client(up_lab).kernel()
    tables, about = run_whole(kernel, up_lab)
    group = kernel.run("print(group.name)").strip()
    kernel.close()
    write_page(DOCS / "series.md", tables, about)
    assert len(wait_for_compared(up_lab, group, 6)) == 6
    shoot_hparams(browser, up_lab, group)
    ahead = {seed: leads(tables["test"], seed) for seed in (0, 1)}
    short = {seed: one for seed, one in ahead.items() if any(one[k] < AHEAD[k] for k in AHEAD)}
    assert not short, f"ahead by {ahead}"


EXPORT = "03-export-and-search.ipynb"
AT_ONCE, ROUNDS = 50, 5
QUERIES, IN_THE_BROWSER = 400, 50
LEAST = 9.0
"""Articles of the query's own category among the ten that the page shows, on average."""


KEEP = """
kept = {"articles": articles, "vectors": index[::10].tolist()}
(LAB / "runs" / "exported.json").write_text(json.dumps(kept))
"""


def run_export(lab: Lab) -> tuple[str, list[dict[str, str]], list[list[float]]]:
    """Notebook 03 in full: what it printed, its articles, and its vectors of them."""
    kernel = client(lab).kernel()
    printed = "".join(kernel.run(code, 1_200) for code in cells_of(lab, EXPORT).values())
    # Through a file: JupyterLab passes on 1 MB a second of what a kernel prints.
    kernel.run(KEEP)
    kernel.close()
    kept = json.loads((lab.root / "runs" / "exported.json").read_text())
    return printed, kept["articles"], kept["vectors"]


def timed(lab: Lab, article: dict[str, str]) -> tuple[list[dict[str, Any]], float]:
    """What the page's API finds for an article, and after how many seconds."""
    started = time.monotonic()
    told = ask(lab, "api/search", title=article["title"], text=article["text"])
    return told["articles"], time.monotonic() - started


def hits(found: Sequence[dict[str, Any]], article: dict[str, str]) -> int:
    return sum(one["category"] == article["category"] for one in found)


def spread(articles: Sequence[dict[str, str]], count: int) -> list[dict[str, str]]:
    """So many of them, in steps of one length: they are sorted by category."""
    return [articles[i * len(articles) // count] for i in range(count)]


def seen_in_browser(
    chromium: webdriver.Chrome, lab: Lab, article: dict[str, str]
) -> tuple[bool, int]:
    """Whether the article itself comes first in the page, and how many rows are of its category."""
    chromium.get(address(lab))
    fill = "document.getElementById(arguments[0]).value = arguments[1]"
    for name in ("title", "text"):
        chromium.execute_script(fill, name, article[name])
    find(chromium, "button").click()
    find(chromium, "h2", "Similar articles")
    rows = [one.text for one in chromium.find_elements(By.CSS_SELECTOR, "ol li summary")]
    return article["title"] in rows[0], sum(article["category"] in row for row in rows)


def test_the_page_finds_what_belongs_together(up_lab: Lab, browser: webdriver.Chrome) -> None:
    up_lab.invoke("add-package", "onnx", "onnxruntime", "onnxscript")
    printed, articles, vectors = run_export(up_lab)
    up_lab.invoke("serve")
    alone = [(timed(up_lab, one), one) for one in spread(articles, QUERIES)]
    first = [found[0]["title"] == one["title"] for (found, _), one in alone]
    same = statistics.mean(hits(found, one) for (found, _), one in alone)
    asked = articles[::10]
    told = [ask(up_lab, "api/vector", title=a["title"], text=a["text"])["vector"] for a in asked]
    apart = max(
        abs(a - b)
        for mine, its in zip(told, vectors, strict=True)
        for a, b in zip(mine, its, strict=True)
    )
    with ThreadPoolExecutor(AT_ONCE) as pool:
        crowd = spread(articles, AT_ONCE)
        answers = [
            one for _ in range(ROUNDS) for one in pool.map(lambda a: timed(up_lab, a), crowd)
        ]
    waited = sorted(seconds for found, seconds in answers if len(found) == 10)
    shown = [seen_in_browser(browser, up_lab, one) for one in spread(articles, IN_THE_BROWSER)]
    in_page = statistics.mean(count for _, count in shown)
    rows = [
        ("ONNX against PyTorch", line_with(printed, "largest difference"), "notebook 03"),
        ("int8", line_with(printed, "int8 keeps"), "notebook 03"),
        (
            "each article as a query",
            line_with(printed, "itself first"),
            f"{len(articles)} articles",
        ),
        ("the article itself first", f"{sum(first)} of {len(first)}", "`/api/search`"),
        ("of its category, of the ten shown", f"{same:.2f}", f"{QUERIES} articles, `/api/search`"),
        (
            "the same in Chromium",
            f"itself first {sum(one for one, _ in shown)} of {len(shown)}; {in_page:.2f} of 10",
            "the page, filled in and sent",
        ),
        ("the page's vector against the notebook's", f"largest difference {apart:.1e}", ""),
        (
            f"{AT_ONCE} requests at once",
            f"{len(waited)} of {AT_ONCE * ROUNDS} answered; p95 {percentile(waited, 95):.1f} s, "
            f"median {statistics.median(waited):.1f} s",
            f"whole articles, {ROUNDS} rounds",
        ),
        (
            "one request",
            f"median {statistics.median(s for (_, s), _ in alone):.2f} s",
            "whole articles, one after another",
        ),
    ]
    table = ["| what | result | how |", "|---|---|---|"]
    table += [f"| {' | '.join(row)} |" for row in rows]
    replace_measured(DOCS / "search.md", "\n".join(table))
    assert all(first)
    assert all(one for one, _ in shown)
    assert min(same, in_page) >= LEAST
    assert apart < 1e-5
    assert len(waited) == AT_ONCE * ROUNDS


def percentile(ordered: Sequence[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
