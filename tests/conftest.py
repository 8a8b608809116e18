"""What the tests share; `tests.engines` holds the helpers."""

import importlib.util
import os

import pytest

from tests.engines import Engine

if importlib.util.find_spec("torch"):
    import torch

    if not torch.cuda.is_available():  # read when the kernels are imported
        os.environ.setdefault("TRITON_INTERPRET", "1")
    # Triton 3.9 warns when nobody says whether a * b + c may be one operation.
    os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")


def pytest_runtest_setup(item):
    """Run tests marked ``gpu`` where CUDA is; elsewhere say why not."""
    if item.get_closest_marker("gpu"):
        torch = pytest.importorskip("torch", reason="torch is not installed")
        if not torch.cuda.is_available():
            pytest.skip(f"no CUDA device (torch {torch.__version__})")


@pytest.fixture(params=["numpy", "torch", pytest.param("cuda", marks=pytest.mark.gpu)])
def engine(request, monkeypatch):
    """Each engine in turn, torch on a GPU as well."""
    if request.param == "cuda":
        exact_gpu(monkeypatch)
    return Engine(request.param)


def exact_gpu(monkeypatch):
    """Switch off cuDNN's TF32, whose 10-bit products no float32 tolerance survives."""
    import torch

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
