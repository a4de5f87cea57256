"""The page in Chromium: sorting, filtering, viewer, keyboard, themes, widths; no error, no request to anywhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.leaderboard_toys import spec_of, three_seeds, write_run
from support.site_toys import EVIL, WORSE, chromium, no_browser, phantom_runs, phantom_spec

from semibench_leaderboards.ranking.boards import boards
from semibench_leaderboards.ranking.ranks import rank
from semibench_leaderboards.reading.records import read_runs
from semibench_leaderboards.site import write

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(no_browser()), reason=no_browser() or "there is one")]

BASE = np.linspace(0.3, 0.7, 12)
ROWS = 200
Open = Callable[..., Any]


def built(runs: Path, out: Path, **more: Any) -> Path:
    write([(board, rank(board)) for board in boards(read_runs(runs))], out, runs=runs, **more)
    return next(path for path in sorted(out.glob("*.html")) if path.name != "index.html")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board of the phantom of `tus` with pictures: alpha and beta; names that try to be markup; one with too few runs."""
    place = tmp_path_factory.mktemp("page")
    runs = place / "runs"
    tested = phantom_runs(runs)

    for method, gain in ((EVIL, 0.3), (WORSE, 0.2)):
        for seed in range(3):
            write_run(
                runs,
                np.linspace(0.1, 0.4, len(tested["cases"])) + gain + 0.01 * seed,
                phantom_spec(method, seed),
                **tested,
            )
    write_run(runs, np.linspace(0.1, 0.5, len(tested["cases"])), phantom_spec("few", 0), **tested)
    write_run(runs, state="failed", error=f"DivergedError: {WORSE}", spec=phantom_spec("few", 1))
    return built(runs, place / "site", cases=5)


@pytest.fixture(scope="module")
def many_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board of two hundred rows."""
    place = tmp_path_factory.mktemp("many")
    random = np.random.default_rng(0)
    for number in range(ROWS):
        values = np.clip(0.5 + 0.001 * number + 0.1 * random.standard_normal(20), 0, 1)
        write_run(place / "runs", values, spec_of(f"method-{number:03d}", backbone=("unet", "vnet")[number % 2]))
    return built(place / "runs", place / "site", cases=0)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture
def visit(browser: Any) -> Iterator[Open]:
    """Opens a file; at the end nothing may have been requested from elsewhere, logged as an error or run from a name."""
    contexts, troubles = [], []

    def go(path: Path, *, width: int = 1280, height: int = 900, **more: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, **more)
        contexts.append(context)

        def only_files(route: Any) -> None:
            if route.request.url.startswith(("file:", "data:")):
                route.continue_()
            else:
                troubles.append(f"request: {route.request.url}")
                route.abort()

        context.route("**/*", only_files)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on(
            "request",
            lambda request: None if request.url.startswith(("file:", "data:")) else troubles.append(request.url),
        )
        page.goto(path.resolve().as_uri())
        return page

    yield go
    for context in contexts:
        for page in context.pages:
            assert page.evaluate("window.hit") is None
        context.close()
    assert troubles == []


def column(page: Any, key: str) -> list[str]:
    """The texts of a column, in the order shown."""
    return page.evaluate(  # type: ignore[no-any-return]
        """key => { const heads = [...document.querySelectorAll('#board thead th')];
        const place = heads.findIndex(h => h.dataset.key === key);
        const rows = [...document.querySelectorAll('#board tbody tr')].filter(r => !r.hidden);
        return rows.map(r => r.cells[place].innerText.trim()) }""",
        key,
    )


def head(page: Any, key: str) -> Any:
    return page.locator(f"#board thead th[data-key='{key}'] button")


# ---- the table -----------------------------------------------------------------------------------------------------


def test_sorting(visit: Open, page_file: Path) -> None:
    page = visit(page_file)
    assert column(page, "rank") == ["1", "2", "3", "4", "–"]
    means = [float(text.split()[0]) for text in column(page, "mean")]
    assert means[:4] == sorted(means[:4], reverse=True)
    head(page, "rank").click()  # best first, the unranked last ...
    assert column(page, "rank") == ["1", "2", "3", "4", "–"]
    head(page, "rank").click()  # ... also the other way round
    assert column(page, "rank") == ["4", "3", "2", "1", "–"]
    assert page.locator("#board th[aria-sort]").get_attribute("data-key") == "rank"
    assert page.locator("#board th[aria-sort]").get_attribute("aria-sort") == "descending"
    head(page, "name").focus()
    page.keyboard.press("Enter")
    names = column(page, "name")
    assert {name.rstrip(" !") for name in names} == {EVIL, WORSE, "alpha", "beta", "few"}
    assert page.locator("#board th[aria-sort]").get_attribute("data-key") == "name"
    head(page, "mean").click()
    shown = [float(text.split()[0]) for text in column(page, "mean")]
    assert shown == sorted(shown, reverse=True)


def test_filtering(visit: Open, page_file: Path) -> None:
    page = visit(page_file)
    page.fill("#filter", "ALPH")
    assert column(page, "name") == ["alpha"]
    assert page.inner_text("#count") == "1 of 5 rows"
    page.fill("#filter", "nothing like it")
    assert page.is_visible("#none")
    page.focus("#filter")
    page.keyboard.press("Escape")
    assert len(column(page, "name")) == 5
    page.check("#ranked")
    assert page.inner_text("#count") == "4 of 5 rows"
    page.fill("#filter", "-alpha -beta")
    assert len(column(page, "name")) == 2


def test_columns_can_be_chosen(visit: Open, page_file: Path) -> None:
    page = visit(page_file)
    assert not head(page, "gflops").is_visible()
    page.click(".menu summary")
    page.locator("#columns label", has_text="GFLOPs").locator("input").check()
    assert head(page, "gflops").is_visible()
    assert column(page, "gflops") == ["0.5"] * 5
    page.keyboard.press("Escape")
    assert not page.is_visible("#columns")


def test_details_and_the_command(visit: Open, page_file: Path) -> None:
    page = visit(page_file)
    button = page.locator("button.open", has_text="alpha")
    button.focus()
    page.keyboard.press("Enter")
    assert page.is_visible("dialog#details")
    text = page.inner_text("dialog#details")
    assert "-m alpha" in text and "--seeds 0-2" in text and "procedural stand-ins" in text
    assert page.locator("dialog table").first.locator("tbody tr").count() == 3
    page.keyboard.press("Escape")
    assert not page.is_visible("dialog#details")
    assert page.evaluate("document.activeElement.textContent") == "alpha"
    page.locator("button.open", has_text="few").click()
    assert f"failed: DivergedError: {WORSE}" in page.inner_text("dialog#details")
    page.locator("dialog button", has_text="Close").click()


def test_two_hundred_rows_without_lag(visit: Open, many_file: Path) -> None:
    """Sorting and filtering take at most two and a half times as long as making and drawing a plain table of 200 rows, measured
    in turn in the same browser."""
    page = visit(many_file)
    assert len(column(page, "name")) == ROWS
    took = page.evaluate(
        """async () => {
        const frame = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));
        const timed = async (act) => { const start = performance.now(); act(); await frame(); return performance.now() - start };
        const found = {sort: [], filter: [], plain: []};
        const plain = async () => {
          const table = document.createElement('table');
          found.plain.push(await timed(() => {
            for (let row = 0; row < 200; row++) for (let place = 0, line = table.insertRow(); place < 20; place++)
              line.insertCell().textContent = `${row * place} of ${row}`;
            document.body.prepend(table) }));
          table.remove();
          await frame() };
        for (const key of ['mean', 'name', 'low', 'parameters', 'mean']) {
          await plain();
          found.sort.push(await timed(() => document.querySelector(`#board th[data-key="${key}"] button`).click())) }
        const box = document.getElementById('filter');
        for (const text of ['1', '19', 'unet', 'method-00', '']) {
          await plain();
          found.filter.push(await timed(() => { box.value = text; box.dispatchEvent(new Event('input')) })) }
        return found }"""
    )
    limit = 2.5 * np.median(took["plain"])
    assert np.median(took["sort"]) < limit and np.median(took["filter"]) < limit, (limit, took)


# ---- plots and cases -----------------------------------------------------------------------------------------------


def test_plots_follow_what_is_chosen(visit: Open, page_file: Path) -> None:
    page = visit(page_file)
    points = page.locator("#plot-figure circle.point")
    assert points.count() == 5
    assert page.locator("#plot-figure circle.unsure").count() == 1  # fewer than three runs
    page.select_option("#plot-x", "training_seconds")
    assert "training time" in page.inner_text("#plot-figure")
    points.first.focus()
    assert page.is_visible("#tip")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == points.nth(1).get_attribute(
        "aria-label"
    )
    page.keyboard.press("Enter")
    assert page.is_visible("dialog#details")
    page.keyboard.press("Escape")


def test_the_diagram_shows_ranked_rows_only(visit: Open, page_file: Path) -> None:
    page = visit(page_file)
    text = page.inner_text("#ranks-figure")
    assert page.locator("#ranks-figure circle.point").count() == 4
    assert "alpha" in text and "few" not in text


def test_two_rows_case_by_case(visit: Open, page_file: Path) -> None:
    page = visit(page_file)
    page.select_option("#pair-a", label="alpha")
    page.select_option("#pair-b", label="beta")
    assert page.locator("#pair-figure circle.case").count() == 8
    told = page.inner_text("#pair-facts")
    assert "cases where alpha is better" in told and "8 of 8" in told
    page.locator("#pair-facts button.open").first.click()
    assert page.eval_on_selector("#view-a", "s => s.selectedOptions[0].text") == "alpha"
    assert page.eval_on_selector("#view-b", "s => s.selectedOptions[0].text") == "beta"


# ---- the viewer ----------------------------------------------------------------------------------------------------

COUNT = """side => { const c = document.querySelector(`#view-panels figure[data-side=${side}] canvas`);
const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; const found = {};
for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 150)
  for (const [name, tint] of Object.entries(TINTS))
    if (tint.every((v, k) => Math.abs(v - d[i + k]) < 4)) found[name] = (found[name] || 0) + 1;
return found }"""
TINTS = {"green": [57, 231, 95], "red": [255, 77, 109], "blue": [76, 201, 240], "orange": [255, 159, 28]}
COUNT = COUNT.replace("TINTS", json.dumps(TINTS))
GREEN, RED, BLUE, ORANGE = "green", "red", "blue", "orange"


def test_the_viewer(visit: Open, page_file: Path) -> None:
    page = visit(page_file)
    assert page.locator("#view-strip button").count() == 5
    title = page.inner_text("#view-title")
    assert title.startswith("1 of 5: tus/")
    assert page.evaluate(COUNT, "image").keys() >= {GREEN}
    both = page.evaluate(COUNT, "a")
    assert both[GREEN] > 100 and both[RED] > 100
    page.uncheck("#view-truth")
    assert GREEN not in page.evaluate(COUNT, "a")
    page.check("input[value=errors]")
    errors = page.evaluate(COUNT, "a")
    assert errors[BLUE] > 100 and errors[ORANGE] > 100
    assert page.evaluate(COUNT, "b")[BLUE] > errors[BLUE]  # beta is moved further than alpha
    page.focus("#view-strip button[aria-pressed=true]")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#view-title").startswith("2 of 5")
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#view-title") == title
    page.select_option("#view-b", label="alpha")
    assert page.evaluate(COUNT, "b") == page.evaluate(COUNT, "a")
    assert "dice 0." in page.inner_text("#view-panels figure[data-side=a]")


# ---- how it looks --------------------------------------------------------------------------------------------------

BACK = "getComputedStyle(document.body).backgroundColor"


def test_light_and_dark(visit: Open, page_file: Path) -> None:
    light, dark = visit(page_file, color_scheme="light"), visit(page_file, color_scheme="dark")
    assert light.evaluate(BACK) != dark.evaluate(BACK)
    dark.click("#theme")
    assert dark.evaluate(BACK) == light.evaluate(BACK) and dark.inner_text("#theme-name") == "light"
    dark.click("#theme")
    assert dark.inner_text("#theme-name") == "dark"
    dark.reload()
    assert dark.inner_text("#theme-name") == "dark" and dark.evaluate(BACK) != light.evaluate(BACK)
    dark.click("#theme")
    assert dark.inner_text("#theme-name") == "system"


CONTRAST = """() => {
const rgb = text => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
const part = value => value / 255 <= .03928 ? value / 255 / 12.92 : ((value / 255 + .055) / 1.055) ** 2.4;
const light = ([r, g, b]) => .2126 * part(r) + .7152 * part(g) + .0722 * part(b);
const back = element => {
  for (; element; element = element.parentElement) {
    const colour = getComputedStyle(element).backgroundColor;
    if (!colour.endsWith(', 0)') && colour !== 'transparent') return rgb(colour);
  }
  return [255, 255, 255] };
const all = document.querySelectorAll('.soft, .faint, a, .badge, .warnings li, td, th, summary, .remarks, p');
return [...all].filter(e => e.offsetParent && e.textContent.trim()).map(e => {
  const a = light(rgb(getComputedStyle(e).color)), b = light(back(e));
  return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), e.className + ' ' + e.textContent.slice(0, 30)] })
  .filter(([ratio]) => ratio < 4.5) }"""
"""Texts with less than the contrast 4.5 : 1 (WCAG 2, AA)."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(visit: Open, page_file: Path, many_file: Path, scheme: str) -> None:
    for path in (page_file, page_file.with_name("index.html"), many_file):
        assert visit(path, color_scheme=scheme).evaluate(CONTRAST) == []


@pytest.mark.parametrize("width", [320, 360, 414, 768, 1280])
def test_no_width_scrolls_sideways(visit: Open, page_file: Path, width: int) -> None:
    for path in (page_file, page_file.with_name("index.html")):
        page = visit(path, width=width, height=740)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if path is page_file:
            page.click(".menu summary")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.locator("#columns").bounding_box()["x"] >= 0
            page.keyboard.press("Escape")
            page.locator("button.open", has_text="alpha").click()
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            box = page.locator("dialog").bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= width
            page.keyboard.press("Escape")


@pytest.mark.parametrize("width", [320, 1280])
def test_long_and_odd_names(visit: Open, tmp_path: Path, width: int) -> None:
    for place, name in enumerate(("x" * 150, "מתודה عربي 方法 \u202eevil")):
        three_seeds(tmp_path / "runs", name, [BASE + 0.1 * place] * 3)
    write_run(tmp_path / "runs", state="failed", error="y" * 3000, spec=spec_of("x" * 150, seed=9))
    page = visit(built(tmp_path / "runs", tmp_path / "site"), width=width)
    for place in range(2):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator("#board button.open").nth(place).click()
        assert page.evaluate("(d => d.scrollWidth <= d.clientWidth)(document.querySelector('dialog'))")
        page.keyboard.press("Escape")


def test_the_keyboard_reaches_everything_and_shows_where(visit: Open, page_file: Path) -> None:
    page = visit(page_file)
    seen = []
    for _ in range(90):
        page.keyboard.press("Tab")
        told = page.evaluate(
            """() => { const e = document.activeElement, s = getComputedStyle(e);
            const seen = s.outlineStyle !== 'none' || ['2px', '2.5px'].includes(s.strokeWidth);
            return [e.id || e.className.baseVal || e.className || e.tagName, e === document.body, seen] }"""
        )
        if told[1]:
            break
        seen.append(told[0])
        assert told[2], f"no visible focus on {told[0]}"
    assert seen[0] == "skip"
    for part in ("theme", "filter", "sort", "open", "plot-x", "pair-a", "view-a"):
        assert part in seen, (part, seen)
    assert seen.count("point") <= 3  # one stop for each drawing


def test_phantom_tracks_stand_apart(visit: Open, page_file: Path, many_file: Path) -> None:
    page = visit(page_file)
    assert "Phantom data" in page.inner_text(".band") and page.is_visible("h1 .badge.phantom")
    other = visit(many_file)
    assert other.locator(".band").count() == 0
    accent = "getComputedStyle(document.body).getPropertyValue('--accent')"
    assert page.evaluate(accent) != other.evaluate(accent)
    index = visit(page_file.with_name("index.html"))
    assert index.locator("section#phantom tbody tr").count() == 1 and index.locator("section#real").count() == 0


def test_the_list_of_tracks(visit: Open, tmp_path: Path) -> None:
    for dataset in ("tus", "busi"):
        three_seeds(tmp_path / "runs", "alpha", [BASE] * 3, spec={"dataset": dataset})
        three_seeds(tmp_path / "runs", EVIL, [BASE + 0.1] * 3, spec={"dataset": dataset, "phantom": True})
    built(tmp_path / "runs", tmp_path / "site", cases=0)
    page = visit(tmp_path / "site" / "index.html")
    assert page.locator("section#real tbody tr").count() == page.locator("section#phantom tbody tr").count() == 2
    page.fill("#filter", "busi phantom")
    assert page.inner_text("#count") == "1 of 4 tracks"
    page.locator("section#phantom tbody a >> visible=true").click()
    assert "busi" in page.inner_text("h1")
    page.locator(".crumbs a").click()
    assert page.inner_text("h1") == "Leaderboards"


def test_print(visit: Open, page_file: Path) -> None:
    page = visit(page_file)
    page.emulate_media(media="print")
    assert not page.is_visible("#theme") and not page.is_visible("#filter") and page.is_visible("#board")
    assert page.evaluate("getComputedStyle(document.querySelector('.tall')).maxHeight") == "none"
    assert len(page.pdf(format="A4")) > 10_000


def test_without_scripts_the_table_is_there(visit: Open, page_file: Path) -> None:
    page = visit(page_file, java_script_enabled=False)
    assert page.locator("#board tbody tr").count() == 5
    assert not page.is_visible("#filter") and "need JavaScript" in page.inner_text("noscript")


def test_a_large_page_grows_no_faster_than_its_rows(visit: Open, page_file: Path, many_file: Path) -> None:
    """Two hundred rows: what the browser has to lay out grows with the rows at most (long figures show their first rows)."""

    def elements(file: Path) -> tuple[int, int]:
        page = visit(file)
        page.wait_for_selector("#ranks-figure, .note")
        return page.locator("#board tbody tr").count(), page.evaluate("document.querySelectorAll('*').length")

    (few, small), (many, large) = elements(page_file), elements(many_file)
    assert many == ROWS and large / small < many / few
    assert many_file.stat().st_size < 3_000_000
