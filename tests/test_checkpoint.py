"""Checkpoints: what was saved comes back, a crash spoils nothing, resuming is exact."""

import os
import stat
import sys

import numpy as np
import pytest

from rnnlib import checkpoint
from rnnlib.batches import Batches
from tests.engines import Engine

pytest.importorskip("safetensors", reason="safetensors is not installed")


@pytest.fixture(params=["numpy", "torch"])
def engine(request):
    if request.param == "torch":  # its Dropout draws from torch's own generator
        pytest.importorskip("torch").manual_seed(0)
    return Engine(request.param)


# ------------------------------------------------------------------- save and load


def test_arrays_and_metadata_come_back(engine, tmp_path):
    arrays = {
        "0.W": np.arange(6, dtype="float32").reshape(2, 3),
        "turned": np.arange(6.0).reshape(2, 3).T,
        "steps": np.array(7),
        "mask": np.array([True, False]),
    }
    metadata = {"text": "ħ → ∞", "empty": ""}
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, {k: engine.put(v) for k, v in arrays.items()}, metadata)
    found, told = checkpoint.load(str(path))
    assert told == metadata
    assert found.keys() == arrays.keys()
    for name, value in arrays.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


def test_a_model_goes_from_one_engine_to_the_other_through_a_file(tmp_path):
    path = tmp_path / "model"
    numpy, torch = (
        Engine(n).rl.Sequential(Engine(n).rl.LSTM(3, 4), seed=s)
        for n, s in (("numpy", 0), ("torch", 1))
    )
    checkpoint.save(path, numpy.state_dict())
    torch.load_state_dict(checkpoint.load(path)[0])
    for name, value in torch.state_dict().items():
        np.testing.assert_array_equal(value, numpy.state_dict()[name])
    checkpoint.save(path, torch.state_dict())
    numpy.load_state_dict(checkpoint.load(path)[0])


def test_no_metadata_is_an_empty_dict(tmp_path):
    checkpoint.save(tmp_path / "a", {"x": np.ones(2)})
    assert checkpoint.load(tmp_path / "a")[1] == {}


def test_a_missing_file_or_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="^checkpoint: no file .*/none$"):
        checkpoint.load(tmp_path / "none")
    with pytest.raises(
        FileNotFoundError, match="^checkpoint: expected a folder .*/no,"
    ):
        checkpoint.save(tmp_path / "no" / "a", {"x": np.ones(2)})


@pytest.mark.parametrize("keep", [0, 4, 20, -1])
def test_a_damaged_file_is_a_value_error(tmp_path, keep):
    path = tmp_path / "a"
    checkpoint.save(path, {"x": np.ones(20)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="^checkpoint: .*a is damaged: "):
        checkpoint.load(path)


def test_something_else_is_a_value_error(tmp_path):
    (tmp_path / "a").write_text("These are not the arrays you are looking for.")
    with pytest.raises(ValueError, match="^checkpoint: .*a is damaged: "):
        checkpoint.load(tmp_path / "a")


@pytest.mark.parametrize("broken", ["replace", "fsync"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path, monkeypatch, broken, error
):
    path = tmp_path / "a"
    checkpoint.save(path, {"x": np.zeros(3)})
    before = path.read_bytes()

    def fail(*args):
        assert len(list(tmp_path.iterdir())) == 2, "the new file is written beside it"
        raise error

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(type(error)):
        checkpoint.save(path, {"x": np.ones(3)})
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


def test_what_cannot_be_stored_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    checkpoint.save(path, {"x": np.zeros(3)})
    with pytest.raises(Exception, match="."):
        checkpoint.save(path, {"x": np.array([object()])})
    assert list(tmp_path.iterdir()) == [path]
    assert checkpoint.load(path)[0]["x"].tolist() == [0, 0, 0]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_the_file_has_the_rights_that_any_new_file_has(tmp_path):
    (tmp_path / "plain").touch()
    checkpoint.save(tmp_path / "a", {"x": np.ones(2)})
    rights = [stat.S_IMODE((tmp_path / n).stat().st_mode) for n in ("plain", "a")]
    assert rights[0] == rights[1]


def test_without_safetensors_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    text = r'needs safetensors; get it with: pip install "rnnlib\[train\]"$'
    with pytest.raises(ImportError, match=text):
        checkpoint.save(tmp_path / "a", {"x": np.ones(2)})
    with pytest.raises(ImportError, match=text):
        checkpoint.load(tmp_path / "a")


# ------------------------------------------------------------------------- resume


class KilledError(Exception):
    pass


class Failing(Batches):
    """Batches that break off in the middle of an epoch."""

    kill_in = None

    def __iter__(self):
        epoch = self._epoch
        for k, batch in enumerate(super().__iter__()):
            if epoch == self.kill_in and k == 1:
                raise KilledError
            yield batch


def data(kill_in=None):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((16, 5, 3)).astype("float32")
    batches = Failing(x, rng.integers(0, 4, (16, 5)), batch_size=5, seed=3)
    batches.kill_in = kill_in
    return batches


def model(engine, seed=0, hidden=6):
    rl = engine.rl
    return rl.Sequential(
        rl.Dropout(0.1),
        rl.GRU(3, hidden),
        rl.Dropout(0.3),
        rl.Dense(hidden, 4),
        seed=seed,
    )


OPTIMIZERS = {
    "Adam": lambda rl, m: rl.Adam(m, lr=0.01),
    "SGD": lambda rl, m: rl.SGD(m, lr=0.1),
    "momentum": lambda rl, m: rl.SGD(m, lr=0.1, momentum=0.9),
}


def fit(engine, subject, batches, optimizer="Adam", **options):
    rl = engine.rl
    options = {"epochs": 4, "clip": 1.0, "progress": False} | options
    return rl.fit(
        subject,
        batches,
        loss=rl.cross_entropy,
        optimizer=OPTIMIZERS[optimizer](rl, subject),
        **options,
    )


def weights(engine, subject):
    return {k: np.array(engine.get(v)) for k, v in subject.state_dict().items()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def seed_torch(engine, seed):
    if engine.name == "torch":
        import torch

        torch.manual_seed(seed)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_killed_training_ends_with_the_same_bits(engine, tmp_path, optimizer):
    path = tmp_path / "run"
    whole = model(engine)
    seed_torch(engine, 5)
    expected = fit(engine, whole, data(), optimizer, validate=data())

    first = model(engine)
    seed_torch(engine, 5)
    options = {"checkpoint": path, "validate": data(), "resume": True}
    with pytest.raises(KilledError):
        fit(engine, first, data(kill_in=2), optimizer, **options)

    # As in a new process: other weights, other generators, a fresh optimizer.
    second = model(engine, seed=9)
    seed_torch(engine, 99)
    history = fit(engine, second, data(), optimizer, **options)
    assert_same(weights(engine, second), weights(engine, whole))
    assert history.step_loss == expected.step_loss
    assert history.grad_norm == expected.grad_norm
    assert history.loss == expected.loss
    np.testing.assert_allclose(history.val_loss, expected.val_loss, rtol=1e-6)
    assert len(history.seconds) == 4


def test_a_checkpoint_does_not_change_the_training(engine, tmp_path):
    one, two = model(engine), model(engine)
    seed_torch(engine, 5)
    fit(engine, one, data(), checkpoint=tmp_path / "run")
    seed_torch(engine, 5)
    fit(engine, two, data())
    assert_same(weights(engine, one), weights(engine, two))


def test_a_finished_training_is_loaded_and_not_gone_on_with(engine, tmp_path):
    path = tmp_path / "run"
    one, two = model(engine), model(engine, seed=1)
    done = fit(engine, one, data(), epochs=2, checkpoint=path)
    before = path.read_bytes()
    again = fit(engine, two, data(), epochs=2, checkpoint=path, resume=True)
    assert vars(again) == vars(done)
    assert_same(weights(engine, two), weights(engine, one))
    assert path.read_bytes() == before


def test_without_resume_training_starts_anew(engine, tmp_path):
    path = tmp_path / "run"
    fit(engine, model(engine), data(), epochs=2, checkpoint=path)
    history = fit(engine, model(engine), data(), epochs=1, checkpoint=path)
    assert len(history.loss) == 1


def test_a_resumed_training_uses_the_learning_rate_of_the_call(engine, tmp_path):
    path, rl = tmp_path / "run", engine.rl
    subject = model(engine)
    fit(engine, subject, data(), epochs=1, checkpoint=path)
    before = weights(engine, subject)
    rl.fit(
        subject,
        data(),
        loss=rl.cross_entropy,
        optimizer=rl.Adam(subject, lr=1e-30),
        epochs=2,
        progress=False,
        checkpoint=path,
        resume=True,
    )
    for name, value in weights(engine, subject).items():
        np.testing.assert_allclose(value, before[name], atol=1e-20)


# ----------------------------------------------------- checkpoints that do not fit


def refuse_resume(engine, subject, path, text, error=ValueError, **options):
    before = weights(engine, subject)
    with pytest.raises(error, match=text):
        fit(engine, subject, data(), checkpoint=path, resume=True, **options)
    assert_same(weights(engine, subject), before)


def test_another_model_s_checkpoint_is_refused_by_its_keys(engine, tmp_path):
    path = tmp_path / "run"
    fit(engine, model(engine), data(), epochs=1, checkpoint=path)
    text = (
        r"^Sequential\(.*state dict does not fit: .*3\.W: expected \(7, 4\), got \(6,"
    )
    refuse_resume(engine, model(engine, hidden=7), path, text)


def test_another_optimizer_s_checkpoint_is_refused(engine, tmp_path):
    path = tmp_path / "run"
    fit(engine, model(engine), data(), epochs=1, checkpoint=path)
    name = f"rnnlib.{engine.name} with"
    text = f"was written by {name} Adam, not by {name} SGD$"
    refuse_resume(engine, model(engine), path, text, optimizer="SGD")


def test_the_other_engine_s_checkpoint_is_refused(tmp_path):
    path = tmp_path / "run"
    fit(Engine("numpy"), model(Engine("numpy")), data(), epochs=1, checkpoint=path)
    text = "was written by rnnlib.numpy with Adam, not by rnnlib.torch with Adam$"
    refuse_resume(Engine("torch"), model(Engine("torch")), path, text)


def test_another_number_of_dropout_layers_is_refused(tmp_path):
    engine, path = Engine("numpy"), tmp_path / "run"
    fit(engine, model(engine), data(), epochs=1, checkpoint=path)
    rl = engine.rl
    longer = rl.Sequential(*model(engine).layers, rl.Dropout(0.5))
    text = "expected a checkpoint with 3 Dropout layers, got 2$"
    refuse_resume(engine, longer, path, text)


def test_a_file_of_weights_alone_is_refused(engine, tmp_path):
    path = tmp_path / "weights"
    checkpoint.save(path, model(engine).state_dict())
    refuse_resume(engine, model(engine), path, "holds no training to resume; only fit")


def test_a_damaged_checkpoint_is_refused(engine, tmp_path):
    path = tmp_path / "run"
    path.write_bytes(b"half")
    refuse_resume(engine, model(engine), path, "is damaged")


def test_a_folder_that_is_missing_is_found_before_the_training(engine, tmp_path):
    options = {"error": FileNotFoundError, "text": "expected a folder"}
    refuse_resume(engine, model(engine), tmp_path / "no" / "run", **options)
