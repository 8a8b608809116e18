"""What every page of the book must satisfy, as functions that return the problems.

Why it exists: the promises of the book (an equation has a test, a figure has a caption
and alt text, an exercise has a solution) are kept by `test_book.py`, and a check is
worth what it can catch: `test_book_checks.py` plants each fault and sees it found.

A problem is one line: where it is, what is wrong, and what to do.
"""

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

# A machine with a GPU has torch, and not always the tools of the book.
nbformat = pytest.importorskip("nbformat", reason="the book's tools are not there")

PAGE_SUFFIXES = (".ipynb", ".md", ".rst")
STRIP = [
    "--keep-output", "--keep-count", "--keep-id",
    "--extra-keys", "metadata.language_info cell.metadata.execution",
]  # fmt: skip
MAX_BYTES = 1_500_000
MIN_ALT = 20

# --- pages ---------------------------------------------------------------------------


def pages(folder):
    """All pages below a folder, sorted."""
    found = (p for p in Path(folder).rglob("*") if p.suffix in PAGE_SUFFIXES)
    return sorted(p for p in found if ".ipynb_checkpoints" not in p.parts)


def toc_files(toc):
    """The files that a `_toc.yml` names, in order."""
    names = []

    def visit(node):
        if isinstance(node, dict):
            names.extend(str(node[k]) for k in ("root", "file") if k in node)
            node = node.values()
        if not isinstance(node, str | int | None):
            for child in node:
                visit(child)

    visit(yaml.safe_load(Path(toc).read_text("utf-8")))
    return names


def check_toc(root):
    """Every page is in the table of contents, and everything there is a page."""
    root = Path(root)
    listed = toc_files(root / "_toc.yml")
    stems = [
        p.relative_to(root).with_suffix("").as_posix() for p in pages(root / "chapters")
    ]
    named = {re.sub(r"\.(ipynb|md|rst)$", "", name) for name in listed}
    return (
        [f"{s}: not in _toc.yml; add it or delete it" for s in stems if s not in named]
        + [
            f"_toc.yml: no file {n}; write it or drop it"
            for n in sorted(named - {*stems})
        ]
        + [f"{s}: two files of that name" for s, n in Counter(stems).items() if n > 1]
    )


def blocks(path):
    """Pairs (where, Markdown or reST text) of a page."""
    path = Path(path)
    if path.suffix != ".ipynb":
        return [(path.name, path.read_text("utf-8"))]
    cells = nbformat.read(path, as_version=4).cells
    return [
        (f"{path.name}, cell {i}", cell.source)
        for i, cell in enumerate(cells, 1)
        if cell.cell_type == "markdown"
    ]


# --- equations -----------------------------------------------------------------------

FENCE = re.compile(r"^\s*(`{3,}|~{3,}|:{3,})(.*)$")
CODE_DIRECTIVES = ("code", "code-block", "code-cell", "literalinclude", "eval-rst")
DISPLAY = re.compile(r"(?<!\\)\$\$(.+?)\$\$[ \t]*(?:\(([^)\s]+)\))?", re.DOTALL)
AMSMATH = re.compile(
    r"\\begin\{(equation|align|alignat|flalign|gather|multline|eqnarray)\*?\}"
)
LABEL = re.compile(r"eq-[a-z0-9]+(-[a-z0-9]+)*")


def equations(path):
    """Labels of the displayed equations of a page as (where, label or None) pairs."""
    found = []
    for where, text in blocks(path):
        if Path(path).suffix == ".rst":
            found += [(where, label) for label in _rst_math(text)]
            continue
        prose, directives = _split_fences(text)
        found += [(where, label) for label in directives]
        prose = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", prose)
        found += [(where, m[2]) for m in DISPLAY.finditer(prose)]
        found += [(where, None) for _ in AMSMATH.finditer(DISPLAY.sub("", prose))]
    return found


def _rst_math(text):
    for match in re.finditer(r"^( *)\.\. math::(.*(?:\n\1 +.*|\n *$)*)", text, re.M):
        label = re.search(r":label:\s*(\S+)", match[2])
        yield label[1] if label else None


def _split_fences(text):
    """Text outside code blocks, and the labels of its {math} directives."""
    prose, labels, stack = [], [], []  # stack: (marker, kind) of the open fences
    for line in text.splitlines():
        fence = FENCE.match(line)
        if (
            stack
            and fence
            and not fence[2].strip()
            and fence[1].startswith(stack[-1][0])
        ):
            stack.pop()
        elif fence and not (stack and stack[-1][1] in ("code", "math")):
            name = re.match(r"\{([\w:-]+)\}", fence[2].strip())
            kind = "math" if name and name[1] == "math" else "prose"
            if name is None and fence[1][0] != ":":
                kind = "code"
            elif name and name[1] in CODE_DIRECTIVES:
                kind = "code"
            stack.append((fence[1], kind))
            if kind == "math":
                labels.append(None)
        elif stack and stack[-1][1] == "math":
            label = re.match(r"\s*:label:\s*(\S+)", line)
            if label:
                labels[-1] = label[1]
        elif not (stack and stack[-1][1] == "code"):
            prose.append(line)
    return "\n".join(prose), labels


def marked_equations(folder):
    """Labels in `@pytest.mark.equation(...)` below a folder: {label: [where, ...]}."""
    found = {}
    for path in sorted(Path(folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (
                isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            ):
                continue
            if node.func.attr != "equation" or not _is_mark(node.func.value):
                continue
            for arg in node.args:
                for leaf in ast.walk(arg):
                    if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str):
                        found.setdefault(leaf.value, []).append(
                            f"{path.name}:{node.lineno}"
                        )
    return found


def _is_mark(node):
    return isinstance(node, ast.Attribute) and node.attr == "mark"


def check_equations(paths, tests):
    """Every displayed equation is labelled and tested, and every test has one."""
    problems, labels = [], Counter()
    for path in paths:
        for where, label in equations(path):
            if label is None:
                problems.append(
                    f"{where}: displayed equation without a label; "
                    "write $$ … $$ (eq-name), or set it inline"
                )
            elif not LABEL.fullmatch(label):
                problems.append(f"{where}: label ({label}) is not of the form eq-name")
            else:
                labels[label] += 1
    marked = marked_equations(tests)
    problems += [f"({n}): label used {k} times" for n, k in labels.items() if k > 1]
    problems += [
        f'({n}): no test; mark one with @pytest.mark.equation("{n}")'
        for n in labels
        if n not in marked
    ]
    problems += [
        f"{', '.join(w)}: no equation ({n}) in the book; correct or drop the mark"
        for n, w in marked.items()
        if n not in labels
    ]
    return problems


def check_cited_equations(paths, package):
    """Every equation that a comment of the package names is in the book."""
    labels = {label for path in paths for _, label in equations(path)}
    return [
        f"{file.name}, line {number}: no equation ({name}) in the book"
        for file in sorted(Path(package).rglob("*.py"))
        for number, line in enumerate(file.read_text("utf8").splitlines(), 1)
        for name in re.findall(r"\beq-[a-z0-9]+(?:-[a-z0-9]+)*", line)
        if name not in labels
    ]


# --- exercises -----------------------------------------------------------------------

DIRECTIVE = re.compile(
    r"^\s*[`:~]{3,}\{(exercise|solution)(?:-start)?\}[ \t]*(.*)\n((?:\s*:\w+:.*\n?)*)",
    re.MULTILINE,
)


def check_exercises(path):
    """Every exercise is labelled and solved, and every solution is toggled."""
    problems, exercises, solved = [], {}, set()
    for where, text in blocks(path):
        for kind, argument, options in DIRECTIVE.findall(text):
            option = dict(re.findall(r":(\w+):[ \t]*(.*)", options))
            if kind == "solution":
                solved.add(argument.strip())
                if "dropdown" not in option.get("class", "").split():
                    problems.append(
                        f"{where}: solution of {argument.strip()} is always open; "
                        "add ':class: dropdown'"
                    )
            elif not option.get("label"):
                problems.append(
                    f"{where}: exercise '{argument.strip()}' has no ':label:'; add one"
                )
            else:
                exercises[option["label"].strip()] = where
    for label in sorted(exercises.keys() - solved):
        problems.append(f"{exercises[label]}: exercise {label} has no solution")
    for label in sorted(solved - exercises.keys()):
        problems.append(f"{Path(path).name}: solution of an unknown exercise {label}")
    return problems


# --- notebooks -----------------------------------------------------------------------


def check_notebook(path):
    """All checks of one notebook that need nothing but the file."""
    path = Path(path)
    cells = nbformat.read(path, as_version=4).cells
    code = [
        (f"{path.name}, cell {i}", cell)
        for i, cell in enumerate(cells, 1)
        if cell.cell_type == "code" and cell.source.strip()
    ]
    problems = _check_run(path, code) + _check_tags(path, code)
    for where, cell in code:
        problems += _check_figure(where, cell)
    if not any(re.search(r"^\s*assert\b", c.source, re.M) for _, c in code):
        problems.append(f"{path.name}: asserts nothing; assert what the prose claims")
    for where, c in code:
        if re.search(r"^\s*assert\s+(True|not False|\d+)\s*(,|$)", c.source, re.M):
            problems.append(f"{where}: an assert that cannot fail")
    if path.stat().st_size > MAX_BYTES:
        problems.append(
            f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, more than "
            f"{MAX_BYTES / 1e6} MB; draw smaller figures or print less"
        )
    return problems


def _check_run(path, code):
    problems = [
        f"{where}: stored error {out.ename}; repair it, or tag the cell "
        "'raises-exception'"
        for where, cell in code
        for out in cell.outputs
        if out.output_type == "error"
        and "raises-exception" not in cell.metadata.get("tags", [])
    ]
    counts = [cell.execution_count for _, cell in code]
    if counts != list(range(1, len(code) + 1)):
        where = next(w for i, (w, c) in enumerate(code, 1) if c.execution_count != i)
        problems.append(
            f"{where}: not executed from top to bottom; run 'make notebooks'"
        )
    return problems


def _check_tags(path, code):
    ignored = [
        c for _, c in code if "nbval-ignore-output" in c.metadata.get("tags", [])
    ]
    problems = [
        f"{where}: tagged nbval-skip, so nothing re-runs it; drop the tag"
        for where, cell in code
        if "nbval-skip" in cell.metadata.get("tags", [])
    ]
    if 2 * len(ignored) > len(code):
        problems.append(
            f"{path.name}: {len(ignored)} of {len(code)} code cells are tagged "
            "nbval-ignore-output; compare at least half of them strictly"
        )
    return problems


def _check_figure(where, cell):
    kinds = {kind for out in cell.outputs for kind in out.get("data", {})}
    if not any(kind.startswith("image/") for kind in kinds):
        return []
    mystnb = cell.metadata.get("mystnb", {})
    figure, alt = (
        mystnb.get("figure", {}),
        mystnb.get("image", {}).get("alt", "").strip(),
    )
    caption = figure.get("caption", "").strip()
    fix = "set it in the cell's metadata: mystnb."
    problems = []
    if not caption:
        problems.append(f"{where}: figure without a caption; {fix}figure.caption")
    if not figure.get("name"):
        problems.append(f"{where}: figure without a name; {fix}figure.name, 'fig-…'")
    if len(alt) < MIN_ALT:
        problems.append(
            f"{where}: alt text '{alt}' has fewer than {MIN_ALT} characters; say what "
            f"the figure shows; {fix}image.alt"
        )
    elif alt == caption:
        problems.append(
            f"{where}: alt text repeats the caption; say what one would see"
        )
    return problems


def check_stripped(paths):
    """No notebook carries noise that changes from run to run."""
    if not paths:
        return []
    run = subprocess.run(
        [sys.executable, "-m", "nbstripout", "--verify", *STRIP, *map(str, paths)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if run.returncode == 0:
        return []
    return [f"run 'make notebooks' to strip it: {(run.stdout + run.stderr).strip()}"]
