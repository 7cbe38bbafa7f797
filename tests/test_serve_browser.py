"""The service's page in a real browser: a radiograph, its score and heat map, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra serve brings it")

from anatpaste_gpu.methods import Detector

from .browser import chromium, resize
from .commands import DAMAGED
from .serving import Running, served
from .test_report_browser import contrast, overflow
from .test_serve import detector, png

__all__ = ["detector"]  # a fixture

TOKEN = "correct-horse-battery"
HOSTILE = "<img src=x onerror=alert(1)>.png"


@pytest.fixture(scope="module")
def running(detector: Detector) -> Iterator[Running]:
    with served(detector, token=TOKEN) as running:
        yield running


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("browser") / "profile") as browser:
        yield browser


def rows(page: Any) -> list[str]:
    return [row.text for row in page.find_elements("css selector", "#rows tr")]


def wait_for(page: Any, found: Any) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(page, 60).until(lambda _: found())


def test_a_radiograph_is_scored_and_shown(driver: Any, running: Running, tmp_path: Path) -> None:
    pytest.importorskip("pytorch_grad_cam", reason="the extra report brings it")
    driver.get(f"http://127.0.0.1:{running.client.port}/")
    resize(driver, 1000)
    assert "Not for clinical use." in driver.find_element("css selector", ".notice").text
    token = driver.find_element("id", "token")
    wait_for(driver, token.is_displayed)
    for name, content in ((HOSTILE, png(0)), ("broken.png", DAMAGED)):
        (tmp_path / name).write_bytes(content)
    chosen = driver.find_element("id", "files")

    chosen.send_keys(str(tmp_path / HOSTILE))
    wait_for(driver, lambda: "wants its token" in rows(driver)[0])
    token.send_keys(TOKEN)
    driver.find_element("id", "clear").click()
    chosen.send_keys(f"{tmp_path / HOSTILE}\n{tmp_path / 'broken.png'}")
    wait_for(driver, lambda: driver.find_element("id", "status").text == "Done.")

    _, answer = running.client.score([(HOSTILE, png(0))], authorization=f"Bearer {TOKEN}")
    image = answer["images"][0]
    called = "abnormal" if image["decision"] else "normal"
    first, second = rows(driver)
    # A batch of one image here and there: the same score.
    assert first.startswith(f"{HOSTILE} {image['score']:.4f} {image['threshold']:.4f} ")
    assert called in first
    assert "truncated or damaged PNG file" in second
    picture = driver.find_element("css selector", "#rows img")
    assert picture.get_attribute("naturalWidth") == "50"
    assert picture.get_attribute("alt") == f"Heat map over {HOSTILE}"
    asked = driver.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)")
    here = f"http://127.0.0.1:{running.client.port}/"
    assert [name for name in asked if not name.startswith((here, "data:"))] == []
    # Of the answers that were no success, and of nothing else.
    told = [entry["message"] for entry in driver.get_log("browser")]
    assert all("401" in line or "422" in line for line in told), told


def test_it_takes_what_is_dropped(driver: Any, running: Running) -> None:
    driver.get(f"http://127.0.0.1:{running.client.port}/")
    dropped = """const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(3)], 'dropped.png'));
    const event = new DragEvent('drop', {dataTransfer: data, bubbles: true});
    document.getElementById('drop').dispatchEvent(event);"""
    driver.execute_script(dropped)
    wait_for(driver, lambda: rows(driver) and "wants its token" in rows(driver)[0])
    assert rows(driver)[0].startswith("dropped.png")


@pytest.mark.parametrize("path", ["", "docs"])
def test_pages_fit_and_have_contrast(path: str, driver: Any, running: Running) -> None:
    driver.get(f"http://127.0.0.1:{running.client.port}/{path}")
    if path:
        wait_for(driver, lambda: "What answers hold" in driver.find_element("id", "paths").text)
        assert "POST /score" in driver.find_element("id", "paths").text
    resize(driver, 360)
    assert overflow(driver) <= 0
    for theme in ("light", "dark"):
        scheme = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
        script = """const style = getComputedStyle(document.documentElement);
        return arguments[0].split(' ').map((name) => style.getPropertyValue(`--${name}`).trim())"""
        names = "paper panel warn ink faint accent normal abnormal wrong"
        paper, panel, warn, ink, *others = driver.execute_script(script, names)
        # WCAG 2.2 AA asks 4.5 for text.
        assert min(contrast(ground, ink) for ground in (paper, panel, warn)) >= 4.5
        assert min(contrast(paper, other) for other in others) >= 4.5
