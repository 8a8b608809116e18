"""The checks of the book can fail: each fault is planted, and found."""

import book_checks as check
import nbformat
import pytest
import site_checks
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

GOOD_ALT = "Two curves that fall from one to zero."
GOOD_FIGURE = {
    "figure": {"caption": "Loss against step.", "name": "fig-loss"},
    "image": {"alt": GOOD_ALT},
}


def code(source="x = 1\nassert x", count=1, outputs=(), tags=(), mystnb=None):
    metadata = {"tags": list(tags)} if tags else {}
    if mystnb is not None:
        metadata["mystnb"] = mystnb
    return new_code_cell(
        source, execution_count=count, outputs=list(outputs), metadata=metadata
    )


def image():
    return new_output("display_data", data={"image/png": "aGVsbG8="})


@pytest.fixture
def write(tmp_path):
    """Write a notebook of cells, or a text page, and return its path."""

    def write(content, name="page.ipynb"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content, "utf-8")
        else:
            nbformat.write(new_notebook(cells=content), path)
        return path

    return write


def test_a_good_notebook_has_no_problem(write):
    cells = [
        new_markdown_cell("$$\nx = 1\n$$ (eq-x)"),
        code(),
        code("plt.show()", 2, [image()], ["nbval-ignore-output"], GOOD_FIGURE),
        code("", None),
    ]
    path = write(cells)
    assert check.check_notebook(path) == []
    assert check.check_stripped([path]) == []


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        ([code("1 + 1")], "asserts nothing"),
        ([code("x = 1\nassert x\nassert True, x")], "cannot fail"),
        ([code(count=None)], "cell 1: not executed from top to bottom"),
        ([code(), code(count=3)], "cell 2: not executed from top to bottom"),
        (
            [code(outputs=[new_output("error", ename="E", evalue="", traceback=[])])],
            "cell 1: stored error E",
        ),
        ([code(tags=["nbval-ignore-output"])], "1 of 1 code cells are tagged"),
        ([code(tags=["nbval-skip"])], "nothing re-runs it"),
        (
            [
                code(
                    outputs=[image()],
                    mystnb={**GOOD_FIGURE, "figure": {"name": "fig-a"}},
                )
            ],
            "without a caption",
        ),
        (
            [code(outputs=[image()], mystnb={**GOOD_FIGURE, "image": {"alt": "plot"}})],
            "fewer than 20",
        ),
        (
            [
                code(
                    outputs=[image()],
                    mystnb={
                        "figure": {"caption": GOOD_ALT, "name": "fig-a"},
                        "image": {"alt": GOOD_ALT},
                    },
                )
            ],
            "repeats the caption",
        ),
        (
            [
                code(
                    outputs=[image()],
                    mystnb={**GOOD_FIGURE, "figure": {"caption": "C"}},
                )
            ],
            "without a name",
        ),
        ([code("assert 1  # " + "x" * check.MAX_BYTES)], "MB"),
    ],
)
def test_a_bad_notebook_is_found(write, cells, found):
    problems = check.check_notebook(write(cells))
    assert len(problems) == 1
    assert found in problems[0]


def test_an_error_on_purpose_is_allowed(write):
    error = new_output("error", ename="E", evalue="", traceback=[])
    cells = [code(outputs=[error], tags=["raises-exception"])]
    assert check.check_notebook(write(cells)) == []


def test_noise_is_found(write):
    cell = code()
    cell.metadata["execution"] = {"iopub.status.busy": "2026-01-01T00:00:00"}
    assert "make notebooks" in check.check_stripped([write([cell])])[0]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("$$ x $$ (eq-a)", ["eq-a"]),
        ("$$\nx\n$$ (eq-a)\n\nand\n\n$$ y $$", ["eq-a", None]),
        ("```{math}\n:label: eq-a\nx\n```", ["eq-a"]),
        ("```{math}\nx\n```", [None]),
        ("\\begin{align}\nx\n\\end{align}", [None]),
        ("$$\n\\begin{aligned}x\\end{aligned}\n$$ (eq-a)", ["eq-a"]),
        ("```python\ns = '$$ x $$'\n```", []),
        ("Write `$$ x $$ (eq-a)` and $y$ and \\$\\$.", []),
        ("````{note}\n```python\n'$$ y $$'\n```\n$$ x $$\n````", [None]),
        (":::{note}\n$$ x $$ (eq-a)\n:::", ["eq-a"]),
    ],
)
def test_equations_are_read(write, text, labels):
    assert [label for _, label in check.equations(write(text, "page.md"))] == labels


def test_equations_of_rest_pages_are_read(write):
    text = ".. math::\n   :label: eq-a\n\n   x\n\nText\n\n.. math:: y\n"
    assert [label for _, label in check.equations(write(text, "page.rst"))] == [
        "eq-a", None,
    ]  # fmt: skip


def test_unbound_equations_are_found(write, tmp_path):
    page = write(
        "$$ a $$ (eq-a)\n\n$$ b $$ (eq-b)\n\n$$ c $$ (lstm)\n\n$$ d $$\n", "p.md"
    )
    twice = write("$$ a $$ (eq-a)", "q.md")
    test = '@pytest.mark.equation("eq-a", "eq-gone")\ndef test_a():\n    pass\n'
    write(test, "tests/sub/test_a.py")
    problems = "\n".join(check.check_equations([page, twice], tmp_path / "tests"))
    assert "(eq-b): no test" in problems
    assert "test_a.py:1: no equation (eq-gone)" in problems
    assert "(lstm) is not of the form" in problems
    assert "without a label" in problems
    assert "(eq-a): label used 2 times" in problems


def test_the_mark_is_read_inside_param(write, tmp_path):
    write(
        'P = [pytest.param(1, marks=pytest.mark.equation("eq-a"))]', "tests/test_a.py"
    )
    assert list(check.marked_equations(tmp_path / "tests")) == ["eq-a"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("```{exercise} T\n:label: ex-a\nDo.\n```", "ex-a has no solution"),
        ("```{exercise} T\nDo.\n```", "has no ':label:'"),
        (
            "```{exercise}\n:label: ex-a\n```\n```{solution} ex-a\nSo.\n```",
            "always open",
        ),
        (
            "```{solution-start} ex-b\n:class: dropdown\n```",
            "unknown exercise ex-b",
        ),
    ],
)
def test_unsolved_exercises_are_found(write, text, found):
    problems = check.check_exercises(write(text, "page.md"))
    assert len(problems) == 1
    assert found in problems[0]


def test_a_solved_exercise_is_fine(write):
    cells = [
        new_markdown_cell("```{exercise} T\n:label: ex-a\n\nDo.\n```"),
        new_markdown_cell("```{solution-start} ex-a\n:class: dropdown\n```"),
        new_markdown_cell("```{solution-end}\n```"),
    ]
    assert check.check_exercises(write(cells)) == []


def test_a_page_out_of_the_contents_is_found(write, tmp_path):
    write("# A", "chapters/a.md")
    write("# B", "chapters/b.md")
    toc = (
        "format: jb-book\nroot: chapters/a\nparts:\n- chapters:\n  - file: chapters/c\n"
    )
    write(toc, "_toc.yml")
    problems = "\n".join(check.check_toc(tmp_path))
    assert "chapters/b: not in _toc.yml" in problems
    assert "_toc.yml: no file chapters/c" in problems


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ('<script src="https://cdn.example/x.js"></script>', "loads"),
        ('<link rel="stylesheet" href="//fonts.example/css">', "loads"),
        ('<link rel="preload" href="https://fonts.example/a.woff2">', "loads"),
        ("<style>@import 'https://fonts.example/css';</style>", "loads"),
        ('<p style="background: url(https://x.example/a.png)">', "loads"),
        ('<img src="a.png">', "alt"),
        ('<img src="a.png" alt="a.png">', "alt"),
        ('<img src="a.png" alt="../_images/a1.png">', "alt"),
        ('<a href="gone.html">x</a>', "no file gone.html"),
        ('<a href="#gone">x</a>', "no #gone"),
        ('<meta http-equiv="Refresh" content="0; url=gone.html">', "no file gone.html"),
        ('<a href="b.html#gone">x</a>', "no #gone"),
        ('<span class="problematic">x</span>', "problematic"),
        ("<p>See {eq}`eq-gone`.</p>", "unresolved"),
        ("<p>by [?]</p>", "unresolved"),
        ('<div class="math">x</div>', "MathJax"),
    ],
)
def test_a_bad_page_is_found(write, tmp_path, html, found):
    write("<p id='here'>", "b.html")
    write("", "a.png")
    write(f"<html><body>{html}</body></html>", "a.html")
    problems = site_checks.check_site(tmp_path)
    assert len(problems) == 1, problems
    assert found in problems[0]


def test_a_good_page_has_no_problem(write, tmp_path):
    write("", "_static/mathjax/tex-chtml-full.js")
    write("", "a.png")
    write(
        '<link rel="canonical" href="https://x.example/"><a href="https://x.example/">x</a>'
        '<a href="#top">y</a><a href="a.html?q=1#i">z</a><b id="i"></b>'
        '<script src="_static/mathjax/tex-chtml-full.js?v=1"></script>'
        '<div class="math">x</div><pre>{eq}`eq-a` [?]</pre>'
        '<img src="a.png" alt="A falling curve">',
        "a.html",
    )
    assert site_checks.check_site(tmp_path) == []


def test_a_style_sheet_that_loads_from_outside_is_found(write, tmp_path):
    write("@font-face { src: url( 'https://f.example/a.woff2' ) }", "_static/a.css")
    assert "loads" in site_checks.check_site(tmp_path)[0]


def test_an_equation_named_in_the_code_but_not_in_the_book_is_found(tmp_path):
    page, package = tmp_path / "page.md", tmp_path / "package"
    page.write_text("$$ a = b $$ (eq-known)\n")
    package.mkdir()
    (package / "code.py").write_text("a = b  # eq-known\nc = d  # eq-gone\n")
    problems = check.check_cited_equations([page], package)
    assert problems == ["code.py, line 2: no equation (eq-gone) in the book"]
