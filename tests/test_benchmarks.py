"""The GPU benchmark, run on a CPU: its cells in the interpreter, and its arithmetic."""

import json

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("triton", reason="Triton is not installed")

from benchmarks import gpu  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True)
def restored():
    """The benchmark sets how torch multiplies."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@pytest.mark.parametrize("precision", ["ieee", "bf16"])
@pytest.mark.parametrize(
    ("what", "kind"),
    [*(("full", k) for k in gpu.WITH_CUDNN), ("ragged", "LSTM"), ("ragged", "GRU")]
    + [("loop", "GRU reset before"), ("loop", "RNN leaky")],
)
def test_a_cell_runs(what, kind, precision):
    row = gpu.cell(what, kind, 4, 3, 16, precision, seconds=0.0, device=DEVICE)
    json.dumps(row)
    peer = {"full": "cudnn", "ragged": "packed", "loop": "loop"}[what]
    assert row["peer"] == peer and row["ran"] == "fused"
    ways = {"fused", peer} | ({"padded"} if what == "ragged" else set())
    for part in ("forward", "both"):
        assert set(row[f"{part}_ms"]) == ways
        ours, theirs = row[f"{part}_ms"]["fused"], row[f"{part}_ms"][peer]
        assert row["ratio"][part] == theirs[0] / ours[0] > 0
    assert set(row["error"]) == {"fused", peer}
    assert max(row["error"].values()) < (1e-4 if precision == "ieee" else 5e-2)
    assert gpu.verdict(row) in ("win", "tie", "loss")


def test_a_size_without_a_kernel_says_so_and_measures_the_peer():
    row = gpu.cell("full", "LSTM", 2, 2, 96, "ieee", seconds=0.0, device=DEVICE)
    assert row["not_possible"] == "W_hh stays on the chip up to H=64 in ieee, here H=96"
    assert set(row["both_ms"]) == {"cudnn"} and "ratio" not in row
    assert gpu.verdict(row) is None


def test_the_launch_row():
    row = gpu.launch(DEVICE, count=3, seconds=0.0)
    assert set(row["microseconds"]) == {"torch operation", "empty Triton kernel"}
    assert all(t[0] > 0 for t in row["microseconds"].values())


def test_the_grid_covers_what_was_asked_and_begins_with_the_middle():
    cells = gpu.grid()
    assert len(cells) == len(set(cells))
    full = [c for c in cells if c[0] == "full"]
    assert len(full) == 3 * len(gpu.TS) * len(gpu.BS) * len(gpu.HS) * 4
    assert {c[1] for c in cells} == set(gpu.KINDS)
    assert max(c[4] for c in cells if c[0] != "full") == 128
    first = cells[:40]
    assert {c[0] for c in first} == {"full", "ragged", "loop"}
    assert {c[1] for c in first} == set(gpu.KINDS)
    assert all(c[4] <= 128 for c in first)
    # A cell that no GPU of today holds is named, not tried.
    assert gpu.need("LSTM", 1024, 512, 768) > 32 * 2**30 > gpu.need("GRU", 256, 64, 128)


def row(ratio, what="full", layer="LSTM", H=64, precision="ieee", spread=0.0, **more):
    """A made-up row in which ours takes 1 ms."""
    peer = {"full": "cudnn", "ragged": "packed", "loop": "loop"}[what]
    times = {"fused": [1.0, spread], peer: [ratio, spread]}
    return {
        "what": what, "layer": layer, "T": 64, "B": 16, "H": H, "precision": precision,
        "peer": peer, "forward_ms": times, "both_ms": times,
        "ratio": {"forward": ratio, "both": ratio}, **more,
    }  # fmt: skip


def test_the_summary_compares_with_the_targets():
    rows = [
        {"what": "launch"},
        {"what": "full", "layer": "LSTM", "H": 512, "not_possible": "too large"},
        row(1.0),
        row(4.0, B=1),
        row(0.1, layer="RNN"),  # not in the target, but in the losing cells
        row(0.5, H=160, precision="bf16"),  # too large for the target
        row(9.0, "ragged"),
        row(4.0, "ragged"),
        row(0.95, spread=0.1, precision="tf32"),  # a tie
    ]
    found = gpu.summary(rows)
    training = found["targets"]["training"]
    assert training["cells"] == 3 and training["target"] == 1.3
    assert training["mean"] == pytest.approx((1 * 4 * 0.95) ** (1 / 3))
    assert training["met"]
    assert found["targets"]["ragged"]["mean"] == pytest.approx(6)
    assert found["targets"]["loop"] == {
        "target": 20.0, "cells": 0, "mean": None, "met": None,
    }  # fmt: skip
    assert found["means"]["full, LSTM, ieee"]["cells"] == 2
    assert found["means"]["full, LSTM, ieee"]["worst"] == 1.0
    losing = {(r["layer"], r["H"], r["part"]) for r in found["losing"]}
    assert losing == {
        ("RNN", 64, "forward"), ("RNN", 64, "both"),
        ("LSTM", 160, "forward"), ("LSTM", 160, "both"),
    }  # fmt: skip


def test_the_auto_table_stops_at_the_first_size_that_does_not_win():
    rows = [
        row(2.0, H=32), row(0.9, H=64, B=1), row(1.3, H=64), row(0.7, H=96),
        row(5.0, H=128), row(0.5, layer="GRU", H=32), row(3.0, "ragged", H=32),
        {"what": "full", "layer": "LSTM", "H": 512, "not_possible": "too large"},
    ]  # fmt: skip
    assert gpu.auto_table(rows) == {
        "full": {"LSTM": {"ieee": 64}},
        "ragged": {"LSTM": {"ieee": 32}},
    }


def test_a_result_is_written_whole(tmp_path):
    path = tmp_path / "deep" / "gpu.json"
    gpu.save(path, {"gpu": "made up"}, [row(2.0)], 7)
    result = json.loads(path.read_text())
    assert result["measured"] and result["cells_left"] == 7
    assert result["auto"] == {"full": {"LSTM": {"ieee": 64}}}
    assert [p.name for p in path.parent.iterdir()] == ["gpu.json"]


@pytest.mark.skipif(DEVICE == "cuda", reason="there is a GPU here")
def test_without_a_gpu_it_says_so_and_leaves_the_file(tmp_path, capsys):
    path = tmp_path / "gpu.json"
    path.write_text("kept")
    assert gpu.main(["--out", str(path)]) == 2
    assert "no CUDA device" in capsys.readouterr().err
    assert path.read_text() == "kept"


def test_the_main_loop_goes_on_after_a_failure_and_resumes(tmp_path, monkeypatch):
    path = tmp_path / "gpu.json"
    cells = [("full", "LSTM", 64, 1, 32, p) for p in ("ieee", "tf32", "bf16")]
    asked = []

    def cell(what, kind, T, B, H, precision, seconds):
        asked.append(precision)
        if precision == "tf32":
            raise RuntimeError("out of something")
        return row(2.0, what, kind, H, precision, T=T, B=B)

    monkeypatch.setattr(gpu, "cell", cell)
    monkeypatch.setattr(gpu, "launch", lambda: {"what": "launch"})
    monkeypatch.setattr(gpu, "device_now", lambda: {"gpu": "made up"})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "grid", lambda: cells[:2])
    assert gpu.main(["--out", str(path)]) == 1
    assert "out of something" in path.read_text()
    monkeypatch.setattr(gpu, "grid", lambda: cells)
    gpu.main(["--out", str(path), "--resume"])
    assert asked == ["ieee", "tf32", "tf32", "bf16"]  # what failed is tried again
    assert len(json.loads(path.read_text())["rows"]) == 4
