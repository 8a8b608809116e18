"""Take a picture of a built page, to look at what a reader sees.

Why it exists: a page is judged by eye, at two widths and in two themes, and it must be
seen as a reader gets it: served, typeset, with nothing from outside.

    python web/screenshot.py chapters/intro -o intro.png
    python web/screenshot.py chapters/intro --width 390 --dark --full -o phone.png
"""

import argparse
import functools
import http.server
import shutil
import threading
from contextlib import contextmanager
from pathlib import Path

SITE = Path(__file__).parents[1] / "_build" / "html"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find_chromium():
    """Path of the installed Chromium, or None."""
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Say nothing: a page makes dozens of requests."""


@contextmanager
def serve(folder):
    """Serve a folder on a free port of this machine; yields its address."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@contextmanager
def browser():
    """A headless Chromium; raises RuntimeError where none is installed."""
    from playwright.sync_api import sync_playwright

    path = find_chromium()
    if path is None:
        raise RuntimeError("no Chromium found: install the package 'chromium'")
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield chromium
        finally:
            chromium.close()


def open_page(chromium, url, width=1280, dark=False, watch=None):
    """Open `url`, wait until its mathematics is set, and return the Playwright page.

    `watch`, if given, is called with the page before anything is loaded.
    """
    page = chromium.new_page(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if dark else "light",
        device_scale_factor=2 if width < 600 else 1,
    )
    if watch is not None:
        watch(page)
    page.goto(url, wait_until="load")
    page.evaluate("async () => { await document.fonts.ready; }")
    if page.locator(".math").count():
        page.wait_for_function("window.MathJax?.startup?.promise !== undefined")
        page.evaluate("async () => { await MathJax.startup.promise; }")
    return page


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", help="address below _build/html, .html may be left out")
    parser.add_argument("--width", type=int, default=1280, help="pixels")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--full", action="store_true", help="the whole page")
    parser.add_argument("--scroll", metavar="CSS", help="scroll to this element first")
    parser.add_argument("--click", metavar="CSS", help="click every such element first")
    parser.add_argument("--site", type=Path, default=SITE, help="folder of the site")
    parser.add_argument("-o", "--output", default="page.png")
    args = parser.parse_args()
    name = args.page if args.page.endswith(".html") else f"{args.page}.html"
    with serve(args.site) as site, browser() as chromium:
        page = open_page(chromium, f"{site}/{name}", args.width, args.dark)
        if args.click:
            for element in page.locator(args.click).all():
                element.click()
        if args.scroll:
            page.locator(args.scroll).first.evaluate(
                "e => window.scrollTo({top: e.getBoundingClientRect().top"
                " + window.scrollY - 90, behavior: 'instant'})"
            )
        page.wait_for_timeout(300)
        page.screenshot(path=args.output, full_page=args.full)


if __name__ == "__main__":
    main()
