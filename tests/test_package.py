"""The package: what a wheel holds, what an import brings along, who imports whom."""

import ast
import email
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import rnnlib

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(
        ".__init__"
    ): path
    for path in sorted((ROOT / "rnnlib").rglob("*.py"))
}
# What a module may import besides the standard library, numpy and rnnlib.
ALSO = {
    "rnnlib.torch": {"torch"},
    "rnnlib.torch.kernels": {"triton"},
    "rnnlib.plot": {"matplotlib"},
    "rnnlib.training": {"tqdm"},
    "rnnlib.checkpoint": {"safetensors"},
    "rnnlib.data.dna": {"scipy"},
}


# --------------------------------------------------------------------------- the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel, built from a copy so that the build leaves nothing in the repository."""
    source, out = (tmp_path_factory.mktemp(name) for name in ("source", "out"))
    for name in ("pyproject.toml", "LICENSE", PROJECT["readme"]):
        assert (ROOT / name).exists(), f"pyproject.toml names {name}"
        shutil.copy(ROOT / name, source)
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("rnnlib", "tests"):
        shutil.copytree(ROOT / folder, source / folder, ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", str(source), "-w", str(out)]
    command += ["--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    (path,) = out.glob("*.whl")
    return path


def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


def test_the_wheel_holds_the_package_with_its_data_files_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"rnnlib/data/sources.txt", "rnnlib/data/README.md"} <= names
    wanted = {path.relative_to(ROOT).as_posix() for path in SOURCES.values()}
    assert wanted <= names
    assert {n.split("/")[0] for n in names if ".dist-info/" not in n} == {"rnnlib"}
    assert any(n.endswith("/licenses/LICENSE") for n in names)


def test_to_run_it_needs_numpy_alone(wheel):
    required = metadata(wheel).get_all("Requires-Dist")
    runtime = [r for r in required if "extra ==" not in r]
    assert [re.match(r"[\w-]+", r).group() for r in runtime] == ["numpy"]
    assert {"train", "torch", "book"} <= set(metadata(wheel).get_all("Provides-Extra"))


def test_what_the_modules_import_an_extra_installs():
    extras = PROJECT["optional-dependencies"].values()
    installed = {re.match(r"[\w-]+", r).group() for extra in extras for r in extra}
    assert set.union(*ALSO.values()) <= installed


def test_an_installed_wheel_runs_outside_the_repository(wheel, tmp_path):
    target = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", str(wheel), "--quiet"]
    command += ["--no-deps", "--target", str(target), "--disable-pip-version-check"]
    subprocess.run(command, check=True, capture_output=True)
    code = (
        f"import sys; sys.path.insert(0, {str(target)!r})\n"
        "import numpy as np, rnnlib\n"
        "from rnnlib import numpy as rl\n"
        "from rnnlib.data._fetch import sources\n"
        "y, h = rl.GRU(3, 4)(np.ones((2, 5, 3), 'float32'))\n"
        "print(rnnlib.__file__, y.shape, len(sources()) > 0)"
    )
    assert python(code, cwd=tmp_path) == (
        f"{target / 'rnnlib' / '__init__.py'} (2, 5, 4) True"
    )


# ------------------------------------------------------------------------ the versions


def test_the_version_is_the_same_everywhere():
    version = rnnlib.__version__
    assert PROJECT["version"] == version
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.findall(r"^version: (.+)$", citation, re.M) == [version]
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    headings = re.findall(r"^## \[(.+?)\]", changes, re.M)
    assert headings[0] in ("Unreleased", version)
    assert [h for h in headings if h != "Unreleased"][:1] in ([], [version])


def test_every_requirement_is_pinned():
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    lines = [line.split(";")[0] for line in lines if line and line[0] != "#"]
    lines.remove("triton>=3.6")  # a CUDA build of torch brings its own version
    pinned = re.compile(r"-e \.(\[\w+\])?|[\w.-]+==[\w.]+")
    assert not [line for line in lines if not pinned.fullmatch(line)]
    names = [re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lines]
    assert len(set(names)) == len(names), "one line for each package"


# ------------------------------------------------------------------------- the imports


def python(code, **options):
    """What a fresh interpreter prints."""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, **options
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_importing_the_numpy_engine_imports_nothing_heavy():
    shared = [
        name
        for name in SOURCES
        if not name.startswith(("rnnlib.torch", "rnnlib.plot"))
        and not name.endswith("__main__")
    ]
    code = (
        f"import sys, {', '.join(shared)}\n"
        "top = {name.split('.')[0] for name in sys.modules}\n"
        "print(sorted(top & set('torch matplotlib sklearn tqdm safetensors'.split())))"
    )
    assert python(code, cwd=ROOT) == "[]"


def imported(path):
    """Full names of all modules that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            if node.module == "rnnlib":
                yield from (f"rnnlib.{alias.name}" for alias in node.names)
            else:
                yield node.module


def inside(module, package):
    return module == package or module.startswith(f"{package}.")


def forbidden(module, name):
    """Why ``module`` may not import ``name``, or None."""
    top = name.split(".")[0]
    if top != "rnnlib":
        allowed = {"numpy"}.union(*(n for m, n in ALSO.items() if inside(module, m)))
        if top not in sys.stdlib_module_names | allowed:
            return f"{name} is not among its dependencies"
        return None
    for engine in ("rnnlib.numpy", "rnnlib.torch"):
        if inside(name, engine) and not inside(module, engine):
            if engine == "rnnlib.numpy" and inside(module, "rnnlib.torch.kernels"):
                return None  # a CPU kernel may call the NumPy functions
            return f"only {engine} itself may import {name}"
    return None


@pytest.mark.parametrize("module", SOURCES)
def test_imports_go_in_one_direction(module):
    wrong = {name: forbidden(module, name) for name in imported(SOURCES[module])}
    assert not {name: why for name, why in wrong.items() if why}


@pytest.mark.parametrize(
    "module, name, allowed",
    [
        ("rnnlib.numpy.layers", "rnnlib.torch", False),
        ("rnnlib.numpy.layers", "torch", False),
        ("rnnlib.numpy.layers", "rnnlib.checks", True),
        ("rnnlib.torch.train", "rnnlib.numpy.train", False),
        ("rnnlib.torch.kernels.cpu", "rnnlib.numpy.lstm", True),
        ("rnnlib.checks", "rnnlib.numpy.layers", False),
        ("rnnlib.training", "torch", False),
        ("rnnlib.text", "scipy", False),
        ("rnnlib.text", "tests.engines", False),
    ],
)
def test_the_rule_sees_a_wrong_import(module, name, allowed):
    assert (forbidden(module, name) is None) == allowed
