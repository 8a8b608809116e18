"""The built site works offline: links, assets, mathematics, phones.

`make test` builds it first, into its own folder, and names that in BOOK_HTML.
"""

import os
import sys
from pathlib import Path

import book_checks
import pytest
import site_checks

ROOT = Path(__file__).parents[1]
SITE = Path(os.environ.get("BOOK_HTML", ROOT / "_build" / "html")).resolve()
sys.path.append(str(ROOT / "web"))
import screenshot  # noqa: E402

pytestmark = pytest.mark.site
PHONE = 390  # CSS pixels
WIDE = """width => [...document.querySelectorAll("body *")].filter(e => {
    if (e.getBoundingClientRect().right <= width + 1) return false;
    for (let p = e; p && p !== document.body; p = p.parentElement)
        if (getComputedStyle(p).overflowX !== "visible") return false;
    return true;
}).slice(0, 5).map(e => `<${e.tagName.toLowerCase()} class="${e.className}">`)"""

RAW_TABLES = r"""[...document.querySelectorAll("main p")].map(p => p.textContent)
    .filter(text => /\|\s*[-—:]+\s*\|/.test(text)).map(text => text.slice(0, 60))"""


@pytest.fixture(scope="module", autouse=True)
def built():
    if not (SITE / "index.html").exists():
        pytest.fail(f"no site in {SITE}; build it with 'make book'", pytrace=False)


def html_pages():
    """Pages as addresses below the site, without redirects and highlighted sources."""
    pages = site_checks.read_site(SITE).items()
    found = [p.relative_to(SITE).as_posix() for p, page in pages if not page.redirect]
    return [name for name in found if not name.startswith("_modules/")]


def test_links_assets_alt_texts_and_references():
    problems = site_checks.check_site(SITE)
    if problems:
        pytest.fail("\n".join(["", *problems]), pytrace=False)


def test_every_page_of_the_contents_is_built_and_searchable():
    index = (SITE / "searchindex.js").read_text("utf-8")
    for name in book_checks.toc_files(ROOT / "_toc.yml"):
        assert (SITE / f"{name}.html").exists(), f"{name} was not built"
        assert f'"{name}"' in index, f"{name} is not in the search index"


def test_mathjax_and_its_fonts_are_served():
    script = SITE / "_static" / site_checks.MATHJAX
    assert script.stat().st_size > 1_000_000
    assert len(list(script.parent.rglob("*.woff"))) > 20


@pytest.fixture(scope="module")
def chromium():
    if screenshot.find_chromium() is None:
        pytest.skip("no Chromium on this machine: pages are not opened in a browser")
    with screenshot.browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def address():
    with screenshot.serve(SITE) as address:
        yield address


@pytest.mark.browser
@pytest.mark.parametrize("name", html_pages())
def test_page_in_a_browser(chromium, address, name):
    """Opens offline without an error, sets its mathematics, and fits a phone."""
    outside, errors = [], []

    def watch(page):
        def route(route):
            if route.request.url.startswith(address):
                route.continue_()
            else:
                outside.append(route.request.url)
                route.abort()

        page.route("**/*", route)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console",
            lambda message: message.type == "error" and errors.append(message.text),
        )

    page = screenshot.open_page(chromium, f"{address}/{name}", PHONE, watch=watch)
    try:
        assert not outside, f"{name} asks for {outside}"
        assert not errors, f"{name}: {errors}"
        if page.locator(".math").count():
            assert page.locator("mjx-container").count(), f"{name}: mathematics not set"
            bad = page.locator("mjx-merror, [data-mjx-error]").count()
            assert not bad, f"{name}: {bad} formulas that MathJax cannot read"
        raw = page.evaluate(RAW_TABLES)
        assert not raw, f"{name}: tables left as text: {raw}"
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE, (
            f"{name} is {width} px wide on a {PHONE} px phone: "
            f"{page.evaluate(WIDE, PHONE)}"
        )
    finally:
        page.close()
