"""The report in a real browser: threshold, sorting, filters, viewer, keyboard, themes, print."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anatpaste_gpu.evaluation.metrics import classification_metrics
from anatpaste_gpu.report.render import write_report
from anatpaste_gpu.runs.records import Run, load_runs
from anatpaste_gpu.scorers.calibration import Calibration

from .browser import chromium, resize


@pytest.fixture(scope="module")
def runs(finished_runs: list[Path]) -> list[Run]:
    return load_runs(finished_runs)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory, runs: list[Run]) -> Iterator[Any]:
    """Chromium with the report open."""
    folder = tmp_path_factory.mktemp("browser")
    with chromium(folder / "profile") as browser:
        write_report(runs, folder / "report.html")
        browser.get((folder / "report.html").as_uri())
        yield browser


@pytest.fixture
def page(driver: Any) -> Iterator[Any]:
    """The report as it opens; afterwards the console must be empty."""
    resize(driver, 1400)
    driver.refresh()
    yield driver
    assert driver.get_log("browser") == []


def role(page: Any, name: str) -> Any:
    return page.find_element("css selector", f'[data-role="{name}"]')


def shown(page: Any, cell: str) -> list[str]:
    """One column of the rows that show; `cell` is a CSS selector."""
    rows = "return [...document.querySelectorAll('.case-table tbody tr:not([hidden]) ' + arguments[0])]"
    return list(page.execute_script(f"{rows}.map((cell) => cell.textContent)", cell))


def names(page: Any) -> list[str]:
    return shown(page, "th")


def scores(page: Any) -> list[float]:
    return [float(text) for text in shown(page, "td.score")]


def move_threshold(page: Any, value: float) -> float:
    """Puts the slider near a value as a person would; returns where it came to lie."""
    script = """const slider = arguments[0]; slider.value = arguments[1];
    slider.dispatchEvent(new Event('input', {bubbles: true})); return Number(slider.value);"""
    return float(page.execute_script(script, role(page, "threshold"), value))


def check_numbers(page: Any, run: Run, threshold: float) -> None:
    """What the page says at a normalised threshold against the package's own metrics."""
    normalised = run.calibration.normalise(run.scores)
    expected = classification_metrics(run.labels, normalised, Calibration(threshold, 0, 1))
    called = normalised >= threshold
    assert int(role(page, "tp").text) == int((called & (run.labels == 1)).sum())
    assert int(role(page, "fp").text) == int((called & (run.labels == 0)).sum())
    assert int(role(page, "tn").text) == int((~called & (run.labels == 0)).sum())
    assert int(role(page, "fn").text) == int((~called & (run.labels == 1)).sum())
    for name in ("sensitivity", "specificity", "accuracy", "f1"):
        text = page.find_element("css selector", f'[data-rate="{name.capitalize()}"]').text
        # One digit after the point of a percentage is shown, three of F1.
        value = float(text) if name == "f1" else float(text.removesuffix(" %")) / 100
        assert value == pytest.approx(expected[name], abs=5.01e-4)


def test_it_opens_at_the_stored_threshold(page: Any, runs: list[Run]) -> None:
    check_numbers(page, runs[0], runs[0].metrics["threshold_normalised"])
    assert role(page, "count").text == "24 of 24 cases"
    resources = page.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert [name for name in resources if not name.startswith("data:")] == []


def test_the_slider_moves_the_decisions(page: Any, runs: list[Run]) -> None:
    normalised = runs[0].calibration.normalise(runs[0].scores)
    for quantile in (0.1, 0.5, 0.9):
        threshold = move_threshold(page, float(np.quantile(normalised, quantile)))
        check_numbers(page, runs[0], threshold)
        right = sum(text.endswith("right") for text in shown(page, '[data-cell="result"]'))
        assert right == int(((normalised >= threshold) == (runs[0].labels == 1)).sum())


def test_the_slider_moves_by_the_keyboard(page: Any) -> None:
    before = role(page, "value").text
    slider = role(page, "threshold")
    slider.send_keys("\ue014" * 40)  # right arrow
    assert float(role(page, "value").text) > float(before)
    assert slider.get_attribute("aria-valuetext") == role(page, "value").text
    assert (
        role(page, "summary").get_attribute("textContent").startswith(f"Threshold {role(page, 'value').text}")
    )


def test_dragging_in_the_histogram_moves_the_threshold(page: Any, runs: list[Run]) -> None:
    from selenium.webdriver import ActionChains

    chart = role(page, "histogram")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", chart)
    ActionChains(page).move_to_element(chart).click_and_hold().move_by_offset(60, 0).release().perform()
    threshold = float(role(page, "value").text)
    assert threshold != pytest.approx(runs[0].metrics["threshold_normalised"], abs=1e-3)


def test_presets_and_runs(page: Any, runs: list[Run]) -> None:
    page.find_elements("css selector", '[data-role="presets"] button')[1].click()
    check_numbers(page, runs[0], runs[0].metrics["normal_threshold"]["threshold_normalised"])
    page.find_element("css selector", '[data-role="run"] option[value="1"]').click()
    check_numbers(page, runs[1], runs[1].metrics["threshold_normalised"])
    expected = sorted(runs[1].calibration.normalise(runs[1].scores), reverse=True)
    # Three digits are shown.
    assert scores(page) == pytest.approx(expected, abs=5.1e-4)


def test_sorting(page: Any) -> None:
    def click(key: str) -> str:
        heading = page.find_element("css selector", f'th[data-key="{key}"]')
        heading.find_element("css selector", "button").click()
        return str(heading.get_attribute("aria-sort"))

    assert scores(page) == sorted(scores(page), reverse=True)
    assert click("score") == "ascending"
    assert scores(page) == sorted(scores(page))
    assert click("name") == "ascending"
    assert names(page) == sorted(names(page))
    assert click("name") == "descending"
    assert names(page) == sorted(names(page), reverse=True)
    assert click("right") == "ascending"
    results = shown(page, '[data-cell="result"]')
    assert results == sorted(results, reverse=True), "wrong ones first"
    assert len(page.find_elements("css selector", "th[aria-sort]")) == 1


def test_filters(page: Any, runs: list[Run]) -> None:
    page.find_element("css selector", '[data-role="filter"] option[value="fn"]').click()
    assert len(scores(page)) == int(role(page, "fn").text)
    page.find_element("css selector", '[data-role="filter"] option[value="normal"]').click()
    assert len(scores(page)) == int((runs[0].labels == 0).sum())
    role(page, "search").send_keys(runs[0].test[0].name)
    assert len(scores(page)) <= 1
    role(page, "search").clear()
    role(page, "search").send_keys("no such name")
    assert role(page, "count").text == "0 of 24 cases"


def check_verdict(page: Any, run: Run, name: str) -> None:
    """What the viewer says of a case against the run itself."""
    index = [case.name for case in run.test].index(name)
    score, label = run.calibration.normalise(run.scores)[index], run.labels[index]
    called = int(run.calibration.decide(run.scores)[index])
    below = int((run.scores[run.labels == 0] < run.scores[index]).sum())
    lines = role(page, "verdict").text.splitlines()
    says = dict(zip(lines[::2], lines[1::2], strict=True))
    assert says["Score"].startswith(f"{score:.3f} (threshold ")
    assert says["Truth"] == ": ".join([("normal", "abnormal")[label], *run.findings[index]])
    assert says["Called"].startswith(("normal", "abnormal")[called])
    assert says["Called"].endswith("right" if called == label else "wrong")
    assert says["Higher than"] == f"{below} of {(run.labels == 0).sum()} normal test images"


def drawn_alpha(url: str) -> int:
    """The highest alpha of a canvas of several pixels, as its data URL has it."""
    picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    assert picture.width * picture.height > 1
    return int(np.asarray(picture.convert("RGBA"))[..., 3].max())


def test_viewer_by_keyboard(page: Any, runs: list[Run]) -> None:
    def title() -> str:
        return str(page.find_element("id", "viewer-title").text)

    order = names(page)
    page.find_elements("css selector", '[data-role="open"]')[0].send_keys("\n")
    assert page.find_element("id", "viewer").get_attribute("open")
    assert title() == order[0]
    page.switch_to.active_element.send_keys("\ue014")
    assert title() == order[1]
    page.switch_to.active_element.send_keys("\ue012")
    assert title() == order[0]
    check_verdict(page, runs[0], order[0])
    loaded = "return arguments[0].complete && arguments[0].naturalWidth"
    assert page.execute_script(loaded, role(page, "image")) == 256
    strongest = set()
    for name in order:
        assert title() == name
        strongest.add(drawn_alpha(page.execute_script("return arguments[0].toDataURL()", role(page, "map"))))
        page.switch_to.active_element.send_keys("\ue014")
    for _ in order:
        page.switch_to.active_element.send_keys("\ue012")
    # Grad-CAM of a network that hardly learnt leaves some images blank; the processor decides which.
    assert {255} <= strongest <= {0, 255}, "the strongest cell is opaque"
    role(page, "invert").click()
    assert "invert" in role(page, "image").get_attribute("style")
    page.switch_to.active_element.send_keys("\ue00c")  # escape
    assert not page.find_element("id", "viewer").get_attribute("open")
    focused = page.execute_script("return document.activeElement.getAttribute('aria-label')")
    assert focused == f"Open {order[0]}", "focus goes back to where it came from"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_themes_have_contrast(page: Any, theme: str) -> None:
    page.find_element("css selector", f'input[name="theme"][value="{theme}"]').click()
    names = "paper panel warn ink faint accent right wrong normal abnormal"
    script = """const style = getComputedStyle(document.documentElement);
    return arguments[0].split(' ').map((name) => style.getPropertyValue(`--${name}`).trim())"""
    paper, panel, warn, *inks = page.execute_script(script, names)
    assert (luminance(paper) > 0.5) == (theme == "light")
    for ink in inks:
        # WCAG 2.2 AA asks 4.5 for text.
        assert contrast(paper, ink) >= 4.5, ink
    assert min(contrast(ground, inks[0]) for ground in (panel, warn)) >= 4.5


def luminance(colour: str) -> float:
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def overflow(page: Any) -> int:
    root = "document.documentElement"
    return int(page.execute_script(f"return {root}.scrollWidth - {root}.clientWidth"))


@pytest.mark.parametrize("width", [360, 800, 1400])
def test_it_fits_the_width(page: Any, width: int) -> None:
    resize(page, width)
    assert overflow(page) <= 0
    role(page, "gallery").click()
    assert overflow(page) <= 0


def test_every_control_has_a_name(page: Any) -> None:
    script = """const named = (node) => node.textContent.trim() || node.ariaLabel || node.labels?.length;
    const controls = [...document.querySelectorAll('button, input, select')];
    return controls.filter((node) => !named(node)).map((node) => node.outerHTML)"""
    assert page.execute_script(script) == []


def test_print_shows_everything_but_the_controls(page: Any, runs: list[Run]) -> None:
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not role(page, "threshold").is_displayed()
        visible = [row.is_displayed() for row in page.find_elements("css selector", ".case-table tbody tr")]
        assert visible == [True] * 24
        assert role(page, "at").text == f"{runs[0].metrics['threshold_normalised']:.3f}", (
            "the threshold is told"
        )
        headings = page.find_elements("css selector", ".case-table thead th[data-heading]")
        shown_text = "return getComputedStyle(arguments[0], '::before').content"
        assert page.execute_script(shown_text, headings[0]) == '"Name"'
        scroll = page.find_element("css selector", ".cases-scroll")
        assert (
            page.execute_script("return arguments[0].scrollHeight - arguments[0].clientHeight", scroll) <= 1
        )
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
