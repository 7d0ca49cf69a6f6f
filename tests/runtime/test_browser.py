"""The live page in a real browser: Debian's Chromium, driven by Selenium."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from distributed import Client
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from srsat_dask.runtime.events import Outcome, SceneGrid, ShardState, harvested
from srsat_dask.runtime.page.words import COLOURS
from srsat_dask.runtime.runner import ShardKey, run_shards

SCENE = "20181224060959386_AS1 <i>&amp;"

PIXEL = """
const [column, row] = arguments;
const models = Array.from(Bokeh.documents[0]._all_models.values());
const figure = models.find((model) => model.type == "Figure" && model.x_range.end == 4);
const view = Bokeh.index.find_one(figure), canvas = view.canvas_view;
const x = view.frame.x_scale.compute(column + 0.3), y = view.frame.y_scale.compute(row + 0.3);
const ratio = canvas.pixel_ratio, context = canvas.primary.canvas.getContext("2d");
return Array.from(context.getImageData(x * ratio, y * ratio, 1, 1).data);
"""
"""Reads the colour that the browser painted for a shard of the map with four columns."""

TEXT = """
const shadow = (node) => node.shadowRoot ? collect(node.shadowRoot) : "";
const collect = (node) => [...node.childNodes].map(
  (child) => child.nodeType == 3 ? child.data : collect(child) + shadow(child)
).join(" ");
return collect(document.body);
"""
"""All text of the page, that in shadow roots too."""


@pytest.fixture
def browser() -> Iterator[webdriver.Chrome]:
    """Start Chromium without a window; skip without it, but fail in CI."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        reason = "Debian's chromium and chromium-driver are not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--window-size=1440,1100",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=Service(driver)) as chrome:
        yield chrome


released = threading.Semaphore(0)


def one_tile(shared: None, number: int) -> int:
    assert released.acquire(timeout=60)
    return number


def outcome(number: int) -> Outcome:
    if number == 1:
        tiles = {"stored": 62, "failed": 2}
        return harvested(tiles, tiles, ["status 500"])
    return Outcome(ShardState.STORED, {"stored": 64}, 64 * 65536)


def shards() -> Iterator[tuple[ShardKey, tuple[int]]]:
    for row, column in np.ndindex(3, 4):
        yield (SCENE, row, column), (4 * row + column,)


def rgba(state: ShardState) -> tuple[int, ...]:
    return tuple(bytes.fromhex(COLOURS[state].removeprefix("#").ljust(8, "f")))


def until(condition: Callable[[], bool], said: Callable[[], object]) -> None:
    deadline = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < deadline, said()
        time.sleep(0.2)


def test_page_fills_in_as_shards_finish(client: Client, browser: webdriver.Chrome) -> None:
    """Cells change colour during a run, a failed shard shows its reason, the console is clean."""
    port = client.cluster.scheduler.http_server.port
    browser.get(f"http://127.0.0.1:{port}/srsat")

    def text() -> str:
        return str(browser.execute_script(TEXT))

    def painted(column: int, row: int) -> tuple[int, ...]:
        return tuple(browser.execute_script(PIXEL, column, row))

    def close(column: int, row: int, state: ShardState) -> bool:
        wanted = rgba(state)
        return all(abs(a - b) <= 3 for a, b in zip(painted(column, row), wanted, strict=True))

    until(lambda: "Nothing has run yet" in text(), text)
    grid = SceneGrid(SCENE, np.zeros((3, 4), np.uint8))
    done: list[object] = []

    def run() -> None:
        done.extend(
            run_shards(
                client, one_tile, shards(), prefix="harvest-shard", scenes=[grid],
                outcome=outcome, at_once=1,
            )
        )  # fmt: skip

    running = threading.Thread(target=run)
    running.start()
    try:
        until(lambda: "0 of 12 shards" in text(), text)
        assert close(0, 0, ShardState.RUNNING), painted(0, 0)
        assert close(3, 2, ShardState.PENDING), painted(3, 2)
        released.release()
        until(lambda: close(0, 0, ShardState.STORED), lambda: painted(0, 0))
        assert close(3, 2, ShardState.PENDING), painted(3, 2)
        released.release()
        until(lambda: close(1, 0, ShardState.FAILED), lambda: painted(1, 0))
        until(lambda: "2 tiles: status 500" in text(), text)
    finally:
        released.release(12)
        running.join(60)
    until(lambda: "12 of 12 shards" in text() and "done" in text(), text)
    assert close(3, 2, ShardState.STORED), painted(3, 2)
    assert len(done) == 12
    assert SCENE in text()
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_ten_thousand_shards_are_shown(client: Client, browser: webdriver.Chrome) -> None:
    """A scene of 100 × 100 shards is one image; it comes up within seconds and says its counts."""
    states = np.full((100, 100), ShardState.UPSCALED, np.uint8)
    states[50:] = ShardState.PENDING
    runs = run_shards(
        client, one_tile, [], prefix="upscale-shard", scenes=[SceneGrid("big", states)]
    )
    assert list(runs) == []
    port = client.cluster.scheduler.http_server.port
    browser.get(f"http://127.0.0.1:{port}/srsat")
    until(lambda: "5,000 / 10,000" in browser.execute_script(TEXT), lambda: "")
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
