"""The sources of the book keep its promises (no build needed)."""

from pathlib import Path

import book_checks as check
import pytest

ROOT = Path(__file__).parents[1]
PAGES = check.pages(ROOT / "chapters")
NOTEBOOKS = [p for p in PAGES if p.suffix == ".ipynb"]


def none_of(problems):
    """Fail with one line a problem."""
    if problems:
        pytest.fail("\n".join(["", *problems]), pytrace=False)


def names(paths):
    return [p.relative_to(ROOT / "chapters").as_posix() for p in paths]


def test_table_of_contents_is_complete():
    none_of(check.check_toc(ROOT))


def test_every_equation_is_bound_to_a_test():
    none_of(check.check_equations(PAGES, ROOT / "tests"))


def test_equations_named_in_the_code_are_in_the_book():
    none_of(check.check_cited_equations(PAGES, ROOT / "rnnlib"))


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_exercise_has_a_toggled_solution(page):
    none_of(check.check_exercises(page))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=names(NOTEBOOKS))
def test_notebook(notebook):
    none_of(check.check_notebook(notebook))


def test_notebooks_carry_no_noise():
    none_of(check.check_stripped(NOTEBOOKS))
