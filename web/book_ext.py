"""The book's own Sphinx extension: pages that need nothing from outside.

Why it exists: three things that `_config.yml` cannot say.

1. MathJax comes from the installed `sphinx-mathjax-offline` package and is copied into
   the site: one script and its fonts, 2 MB of the package's 24. It is copied after the
   build, because Jupyter Book links every script that it finds in a static folder from
   every page.
2. `web/static` (style sheet, fonts, logo) is served, and `book.css` is loaded last.
3. sphinx-thebe declares one JavaScript constant twice, an error on every page even when
   it is switched off, and names a CDN: its scripts are dropped.
"""

import shutil
from importlib.metadata import files
from pathlib import Path

STATIC = Path(__file__).parent / "static"
MATHJAX = ("mathjax/tex-chtml-full.js", "mathjax/output/chtml/fonts/woff-v2/*.woff")


def add_static(app):
    """Serve `web/static`, and load its style sheet after those of the theme."""
    app.config.html_static_path.append(str(STATIC))
    app.add_css_file("book.css", priority=900)


def drop_thebe(app, pagename, templatename, context, doctree):
    """Remove the scripts of sphinx-thebe from a page about to be written."""

    def is_thebe(script):
        name = str(getattr(script, "filename", None) or "")
        body = getattr(script, "attributes", {}).get("body") or ""
        return "thebe" in (name + body).lower()

    scripts = context.get("script_files", [])
    context["script_files"] = [s for s in scripts if not is_thebe(s)]
    sheets = context.get("css_files", [])
    context["css_files"] = [s for s in sheets if not is_thebe(s)]


def copy_mathjax(app, exception):
    """Copy the MathJax script and its fonts into the built site."""
    if exception is not None or app.builder.format != "html":
        return
    for file in files("sphinx-mathjax-offline") or []:
        inner = Path(*file.parts[2:]) if "static" in file.parts else Path()
        if any(inner.match(pattern) for pattern in MATHJAX):
            target = Path(app.outdir, "_static", inner)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.locate(), target)


def setup(app):
    app.connect("builder-inited", add_static)
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("build-finished", copy_mathjax)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
