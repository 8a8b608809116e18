"""Docstrings: everything public says what it does, what it takes and what it gives."""

import ast
import dataclasses
import doctest
import importlib.util
import inspect
import pkgutil
import re
import textwrap
import types

import numpy as np
import pytest

import rnnlib

pytest.importorskip("torch", reason="torch is not installed")

MODULES = [
    importlib.import_module(name)
    for _, name, _ in pkgutil.walk_packages(rnnlib.__path__, "rnnlib.")
    if not name.endswith("__main__")
    and (importlib.util.find_spec("triton") or ".kernels." not in name)
]
# What readers call: its docstrings have sections. The rest serves the library itself.
API = (
    "rnnlib.numpy",
    "rnnlib.torch",
    "rnnlib.weights",
    "rnnlib.checkpoint",
    "rnnlib.summary",
    "rnnlib.text",
    "rnnlib.bpe",
    "rnnlib.batches",
    "rnnlib.baselines",
    "rnnlib.metrics",
    "rnnlib.decode",
    "rnnlib.data",
)
# Words that make an array's description carry its shape.
ARRAY = re.compile(r"\b(array|ndarray|tensor|arrays|ndarrays|tensors)\b")
SHAPE = re.compile(r"shape|scalar|\([A-Z0-9…][^)]*\)")
FUNCTIONS = (types.FunctionType, classmethod, staticmethod, property)
HEADINGS = (
    "Parameters Attributes Returns Yields Raises References Examples Notes".split()
)


def owned(module):
    """Public functions and classes that a module defines."""
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", "") != module.__name__:
            continue
        if inspect.isfunction(thing) or inspect.isclass(thing):
            yield f"{module.__name__}.{name}", thing


def methods(path, cls):
    """Public methods and properties that a class or its bases of rnnlib define.

    ``forward`` is what calling a torch layer does, and that the class describes.
    """
    found = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("rnnlib."):
            found |= {
                f"{path}.{name}": thing
                for name, thing in vars(base).items()
                if isinstance(thing, FUNCTIONS) and name != "forward"
                if not name.startswith("_")
            }
    return found


def with_methods(things):
    """The same dict, with the methods of its classes."""
    found = dict(things)
    for path, thing in things.items():
        found |= methods(path, thing) if inspect.isclass(thing) else {}
    return found


def public_api():
    """What readers call, by full name."""
    found = {"rnnlib.checks.gradient_check": rnnlib.checks.gradient_check}
    for path in API:
        module = importlib.import_module(path)
        for name in getattr(module, "__all__", ()):
            found[f"{path}.{name}"] = getattr(module, name)
        if not hasattr(module, "__all__"):
            found |= dict(owned(module))
    return with_methods(found)


def plain(thing):
    """The function inside a classmethod, staticmethod or property."""
    return getattr(thing, "__func__", getattr(thing, "fget", thing))


def doc_of(thing):
    """A docstring; a method without one has that of the method it overrides."""
    return thing.__doc__ if inspect.isclass(thing) else inspect.getdoc(thing)


def sections(doc):
    """The numpydoc sections of a docstring: heading to text."""
    found, heading = {"": ""}, ""
    lines = inspect.cleandoc(doc).splitlines()
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if below and set(below) == {"-"} and len(below) == len(line):
            heading = line
            found[heading] = ""
        elif not (line and set(line) == {"-"}):
            found[heading] += line + "\n"
    return found


def entries(text):
    """Entries of a section: the first line of each, and what stands below it."""
    result = []
    for line in text.splitlines():
        if line and not line.startswith(" "):
            result.append((line, ""))
        elif line and result:
            result[-1] = result[-1][0], f"{result[-1][1]} {line.strip()}"
    return result


def parameters(thing):
    """Names of the parameters, with their stars; without self and cls."""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    if isinstance(thing, property):
        return []
    return [
        stars.get(p.kind, "") + name
        for name, p in inspect.signature(plain(thing)).parameters.items()
        if name not in ("self", "cls")
    ]


def documented(text):
    """Names that a Parameters section describes: ``a, b : int`` are two."""
    names = [first.split(" : ")[0] for first, _ in entries(text)]
    return [name.strip() for group in names for name in group.split(",")]


def gives(function):
    """Whether a function returns (or yields) something; read from its source."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))

    def own(node):  # without functions inside the function
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.FunctionDef | ast.Lambda | ast.ClassDef):
                yield child
                yield from own(child)

    return any(
        isinstance(node, ast.Yield | ast.YieldFrom)
        or (isinstance(node, ast.Return) and node.value is not None)
        for node in own(tree.body[0])
    )


EVERY = with_methods({k: v for module in MODULES for k, v in owned(module)})
PUBLIC = public_api()
# A method may say it all in one paragraph, if that names every ``parameter``.
SHORT = {
    name
    for name, thing in PUBLIC.items()
    if isinstance(thing, FUNCTIONS) and "." in plain(thing).__qualname__
    if all(f"``{p.strip('*')}``" in doc_of(thing) for p in parameters(thing))
}


def test_what_is_looked_at():
    """A rule that looks at nothing holds."""
    assert {"rnnlib.numpy.recurrent.LSTM", "rnnlib.checkpoint.save"} <= EVERY.keys()
    assert {"rnnlib.numpy.fit", "rnnlib.torch.LSTM", "rnnlib.text.pad"} <= PUBLIC.keys()
    assert "rnnlib.numpy.Sequential.step" in PUBLIC.keys() - SHORT
    assert not {n for n in SHORT if sections(doc_of(PUBLIC[n])).get("Parameters")}
    assert documented("a, b : int\n    Both.\n*c : str") == ["a", "b", "*c"]
    assert sections("One.\n\nReturns\n-------\nint\n")["Returns"] == "int\n"


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_a_module_says_what_it_is_for(module):
    first = (module.__doc__ or "").strip().split("\n\n")[0]
    assert first.endswith((".", ":")), f"{module.__name__}: {first!r}"


@pytest.mark.parametrize("name", EVERY)
def test_the_first_line_is_one_sentence(name):
    doc = doc_of(EVERY[name])
    assert doc, f"{name} has no docstring"
    sentence = doc.split("\n\n")[0]
    assert sentence[0].strip(), f"{name}: begin on the first line"
    assert sentence.endswith((".", ":")), f"{name}: {sentence!r} is no sentence"


@pytest.mark.parametrize("name", sorted(PUBLIC.keys() - SHORT))
def test_the_parameters_described_are_those_that_exist(name):
    thing = PUBLIC[name]
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return
    described = sections(doc_of(thing))
    # The fields of a dataclass are its parameters and its attributes.
    heading = "Attributes" if dataclasses.is_dataclass(thing) else "Parameters"
    found, wanted = documented(described.get(heading, "")), parameters(thing)
    assert found == wanted, f"{name}: describes {found}, takes {wanted}"


@pytest.mark.parametrize("name", sorted(PUBLIC.keys() - SHORT))
def test_what_is_returned_is_described(name):
    thing = PUBLIC[name]
    if not inspect.isclass(thing):
        described = {"Returns", "Yields"} & sections(doc_of(thing)).keys()
        assert bool(described) == gives(plain(thing)), name


@pytest.mark.parametrize("name", PUBLIC)
def test_every_array_has_a_shape(name):
    for heading, text in sections(doc_of(PUBLIC[name])).items():
        for first, below in entries(text) if heading in HEADINGS[:4] else ():
            kind = first.split(" : ")[-1]
            if ARRAY.search(kind) and not kind.startswith("dict"):
                assert SHAPE.search(first + below), f"{name}: {first!r} has no shape"


@pytest.mark.parametrize("name", PUBLIC)
def test_sections_have_numpydoc_s_names_and_order(name):
    found = [heading for heading in sections(doc_of(PUBLIC[name])) if heading]
    assert set(found) <= set(HEADINGS)
    assert found == sorted(found, key=HEADINGS.index)


@pytest.mark.parametrize("module", [rnnlib, *MODULES], ids=lambda m: m.__name__)
def test_examples_run(module):
    result = doctest.testmod(module, extraglobs={"np": np})
    assert result.failed == 0
