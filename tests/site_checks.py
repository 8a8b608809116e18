"""What every page of the built site must satisfy, as functions that return problems.

Why it exists: a reader may be offline, may not see the pictures, and follows links. All
of it can be read off the HTML without a browser; what needs one is in `test_site.py`.
"""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

MATHJAX = "mathjax/tex-chtml-full.js"
LOADED = {  # attributes from which a browser fetches something by itself
    "script": ("src",), "img": ("src", "srcset"), "iframe": ("src",), "embed": ("src",),
    "source": ("src", "srcset"), "video": ("src", "poster"), "audio": ("src",),
    "track": ("src",), "object": ("data",), "input": ("src",), "image": ("href",),
}  # fmt: skip
LOADING_RELS = {
    "stylesheet", "preload", "modulepreload", "prefetch", "preconnect", "dns-prefetch",
    "icon", "apple-touch-icon", "manifest",
}  # fmt: skip
OUTSIDE = re.compile(r"^\s*(?:https?:)?//", re.I)
CSS_OUTSIDE = re.compile(
    r"(?:url\(\s*|@import\s+)[\"']?\s*((?:https?:)?//[^\"')\s;]+)", re.I
)
UNRESOLVED = re.compile(
    r"\{(?:eq|numref|ref|doc|term|glue|eval|cite|cite:\w+|prf:ref|py:\w+)[:\w]*\}`"
    r"|\[\?\]|\(\?\)|\[…\]"
)
VERBATIM = {"script", "style", "pre", "code", "textarea"}


class Page(HTMLParser):
    """The identifiers, links and faults of one HTML file."""

    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.ids, self.links, self.problems = {"", "top"}, [], []
        self.has_math = self.has_mathjax = False
        self.redirect = None  # where the page sends the reader at once
        self._open = []  # verbatim elements that are open
        self.feed(Path(path).read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        attrs = {k: v or "" for k, v in attributes}
        classes = attrs.get("class", "").split()
        self.ids.update(attrs[k] for k in ("id", "name") if k in attrs)
        self._check_loads(tag, attrs)
        self.links += [attrs[k] for k in ("href", "src") if attrs.get(k)]
        if attrs.get("http-equiv", "").lower() == "refresh":
            self.redirect = attrs["content"].partition("=")[2].strip("'\" ")
            self.links.append(self.redirect)
        if tag in VERBATIM:
            self._open.append(tag)
        if tag == "img":
            self._check_alt(attrs)
        if "problematic" in classes or "system-message" in classes:
            self.problems.append("a span marked problematic: see the build's warnings")
        self.has_math |= "math" in classes
        self.has_mathjax |= urlsplit(attrs.get("src", "")).path.endswith(MATHJAX)

    def handle_endtag(self, tag):
        if self._open and tag == self._open[-1]:
            self._open.pop()

    def handle_data(self, data):
        if self._open and self._open[-1] == "style":
            self._check_css(data)
        elif not self._open and (match := UNRESOLVED.search(data)):
            self.problems.append(f"unresolved reference {match[0]!r}")

    def _check_loads(self, tag, attrs):
        keys = LOADED.get(tag, ())
        if tag == "link" and LOADING_RELS & set(attrs.get("rel", "").lower().split()):
            keys = ("href",)
        for key in keys:
            if OUTSIDE.match(attrs.get(key, "")):
                self.problems.append(f"<{tag}> loads {attrs[key]}")
        self._check_css(attrs.get("style", ""))

    def _check_css(self, css):
        self.problems += [f"a style loads {url}" for url in CSS_OUTSIDE.findall(css)]

    def _check_alt(self, attrs):
        alt, name = attrs.get("alt", "").strip(), Path(attrs.get("src", "")).name
        is_file = re.search(r"\.(png|svg|jpe?g|gif|webp)$|_images/", alt, re.I)
        if len(alt) < 3 or is_file or alt == name:
            self.problems.append(f"<img> {name}: alt text {alt!r} says nothing")


def read_site(root):
    """All pages of a site: {path: Page}."""
    files = Path(root).resolve().rglob("*.html")
    return {f: Page(f) for f in sorted(files) if "_static" not in f.parts}


def check_site(root):
    """Every problem of the site, one line each."""
    root, site = Path(root).resolve(), read_site(root)
    problems = []
    for path, page in site.items():
        found = page.problems + _check_links(path, page, site)
        if page.has_math and not page.has_mathjax:
            found.append(f"mathematics, but no local MathJax ({MATHJAX})")
        name = path.relative_to(root)
        problems += [f"{name}: {problem}" for problem in dict.fromkeys(found)]
    for sheet in sorted(root.rglob("*.css")):
        urls = CSS_OUTSIDE.findall(sheet.read_text("utf-8"))
        problems += [f"{sheet.relative_to(root)}: loads {url}" for url in urls]
    return problems


def _check_links(path, page, site):
    problems = []
    for link in page.links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        fragment = unquote(urldefrag(link).fragment)
        target = path.parent / unquote(parts.path) if parts.path else path
        target = target.resolve()
        if target.is_dir():
            target /= "index.html"
        if not target.exists():
            problems.append(f"no file {link}")
        elif target in site and fragment not in site[target].ids:
            problems.append(f"no #{fragment} in {target.name}")
    return problems
