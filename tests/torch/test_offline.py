"""The kernels compiled for an H100 without one: what the interpreter cannot see."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="Triton is not installed")

H100 = 227 * 1024  # bytes of shared memory a program may have
SCRIPT = """
import json
from rnnlib.torch.kernels import LARGEST, cells, scan, shared_memory
from rnnlib.torch.kernels.offline import compiled, resources, variants

names = [(cells, name) for name, _ in variants()] + [(scan, "_scan")]
for module, name in names:
    found = [p.name for p in getattr(module, name).params if p.do_not_specialize]
    assert found == [n for n in ("T", "B") if n in getattr(module, name).arg_names]

for back in (False, True):
    shape = {"STEPS": scan.STEPS, "CHANNELS": scan.CHANNELS}
    assert compiled(scan._scan, BACK=back, **shape).metadata.shared < 49152

def show(name, precision, H, **options):
    row = resources(name, H, precision, **options)
    row["bound"] = shared_memory(H, precision)
    print(json.dumps([name, precision, H, row]))

for name, options in variants():  # every one in ieee, most in bf16, the LSTM in all
    show(name, "ieee", 16, **options)
    if options.get("ACT", "tanh") == "tanh":
        show(name, "bf16", 16, **options)
    if name.startswith("lstm"):
        show(name, "tf32", 16)
        show(name, "tf32x3", 16)
for precision in ("ieee", "tf32x3", "bf16"):
    show("lstm_backward", precision, LARGEST[precision])
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    environment = os.environ | {
        "TRITON_INTERPRET": "0",
        "TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("triton")),
    }
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return [json.loads(line) for line in run.stdout.splitlines()]


@pytest.mark.slow
def test_every_kernel_compiles_and_fits_the_chip(rows):
    assert len(rows) == 14 + 8 + 4 + 3
    for name, precision, H, row in rows:
        where = f"{name} {precision} H={H}: {row}"
        assert row["shared"] <= row["bound"] <= H100, where
        assert 0 < row["registers"] <= 255, where


def test_the_next_size_would_not_fit():
    from rnnlib.torch import kernels

    for precision, H in kernels.LARGEST.items():
        assert kernels.shared_memory(H, precision) <= H100
        assert kernels.shared_memory(H + 1, precision) > H100, precision


def test_the_interpreter_cannot_compile():
    from rnnlib.torch.kernels.offline import resources

    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("the kernels are compiled here")
    with pytest.raises(RuntimeError, match="expected TRITON_INTERPRET=0"):
        resources("lstm_forward", 16, "ieee")
