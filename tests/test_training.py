"""Training: the loss falls, the history is whole, state and padding do what is said."""

import builtins
import sys

import numpy as np
import pytest

from rnnlib.batches import Batches, StreamBatches
from rnnlib.metrics import accuracy
from tests.engines import Engine


@pytest.fixture(params=["numpy", "torch"])
def engine(request):
    return Engine(request.param)


def fit(engine, model, batches, **options):
    options = {
        "loss": engine.rl.cross_entropy,
        "epochs": 2,
        "progress": False,
    } | options
    lr = options.pop("lr", 0.05)
    return engine.rl.fit(model, batches, optimizer=engine.rl.Adam(model, lr), **options)


def classifier(rl, kind="GRU", seed=0, **options):
    """From (B, 4, 2) to two logits."""
    layer = getattr(rl, kind)(2, 5, return_sequences=False, **options)
    return rl.Sequential(layer, rl.Dense(5, 2), seed=seed)


def signs(n=32, seed=0):
    """Is the sum of the first feature positive?"""
    x = np.random.default_rng(seed).standard_normal((n, 4, 2)).astype("float32")
    return x, (x[..., 0].sum(axis=1) > 0).astype(int)


def tagger(rl, dropout=0.0, seed=0, **options):
    """From (B, T, 3) to four logits a step."""
    layer = rl.LSTM(3, 4, **options)
    return rl.Sequential(layer, rl.Dropout(dropout), rl.Dense(4, 4), seed=seed)


def weights(engine, model):
    return {k: np.array(engine.get(v)) for k, v in model.state_dict().items()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


# ------------------------------------------------------------------------- the loop


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_fit_learns(engine, kind):
    model = classifier(engine.rl, kind)
    batches = Batches(*signs(), batch_size=8)
    before = engine.rl.evaluate(model, batches)
    history = fit(engine, model, batches, epochs=15)
    assert history.loss[-1] < 0.6 * before
    assert engine.rl.evaluate(model, batches, loss=accuracy) > 0.9


def test_history_has_an_entry_per_step_and_per_epoch(engine):
    batches = Batches(*signs(), batch_size=10)
    history = fit(
        engine, classifier(engine.rl), batches, epochs=3, validate=[signs(seed=1)]
    )
    assert len(history.step_loss) == len(history.grad_norm) == 3 * len(batches) == 12
    assert len(history.loss) == len(history.val_loss) == len(history.seconds) == 3
    assert all(type(v) is float for values in vars(history).values() for v in values)
    assert min(history.seconds) > 0
    plain = fit(engine, classifier(engine.rl), batches, epochs=3)
    assert plain.val_loss == []
    assert plain.step_loss == history.step_loss, "to validate changed the training"


def test_an_epoch_s_loss_weighs_each_example_alike(engine):
    x, y = signs()
    history = fit(
        engine, classifier(engine.rl), [(x[:30], y[:30]), (x[30:], y[30:])], epochs=1
    )
    first, second = history.step_loss
    assert history.loss == [pytest.approx((30 * first + 2 * second) / 32)]
    assert engine.rl.evaluate(classifier(engine.rl), [(x, y)]) == pytest.approx(
        engine.rl.evaluate(classifier(engine.rl), [(x[:30], y[:30]), (x[30:], y[30:])])
    )


def test_validation_measures_the_model_after_the_epoch(engine):
    model, data = classifier(engine.rl), [signs(seed=1)]
    history = fit(engine, model, [signs()], validate=data)
    assert history.val_loss[-1] == engine.rl.evaluate(model, data)


def test_clip_bounds_what_the_optimizer_sees(engine):
    rl, model = engine.rl, classifier(engine.rl)
    seen = []
    optimizer = rl.SGD(model, lr=0.1)
    step = optimizer.step

    def spy():
        seen.append(rl.clip_grad_norm(model, np.inf))
        step()

    optimizer.step = spy
    history = rl.fit(
        model,
        Batches(*signs(), batch_size=8),
        loss=rl.cross_entropy,
        optimizer=optimizer,
        epochs=2,
        clip=0.05,
        progress=False,
    )
    assert min(history.grad_norm) > 0.05, "the norms before clipping are recorded"
    assert max(seen) <= 0.05 and len(seen) == 8


def test_both_engines_train_alike():
    """Ten steps of Adam with clipping, from the same seed."""
    histories = [
        fit(
            Engine(name),
            classifier(Engine(name).rl, dtype="float32"),
            Batches(*signs(), batch_size=16),
            epochs=5,
            clip=0.1,
        )
        for name in ("numpy", "torch")
    ]
    a, b = histories
    np.testing.assert_allclose(a.step_loss, b.step_loss, rtol=1e-4)
    np.testing.assert_allclose(a.grad_norm, b.grad_norm, rtol=1e-3)


def test_set_epoch_tells_the_batches_which_epoch_begins(engine):
    class Told(list):
        told = ()

        def set_epoch(self, epoch):
            self.told += (epoch,)

    batches = Told([signs()])
    fit(engine, classifier(engine.rl), batches, epochs=3)
    assert batches.told == (0, 1, 2)


def test_a_loss_of_one_s_own_takes_the_place_of_cross_entropy(engine):
    def half(logits, y):
        result = engine.rl.cross_entropy(logits, y)
        if engine.name == "numpy":
            return result[0] / 2, result[1] / 2
        return result / 2

    model, twin = classifier(engine.rl), classifier(engine.rl)
    own = fit(engine, model, [signs()], loss=half, epochs=1, validate=[signs()])
    given = fit(engine, twin, [signs()], epochs=1)
    assert own.loss[0] == pytest.approx(given.loss[0] / 2)
    assert own.grad_norm[0] == pytest.approx(given.grad_norm[0] / 2, rel=1e-5)
    assert own.val_loss[0] == pytest.approx(
        engine.rl.evaluate(model, [signs()], loss=half)
    )


def test_a_regression_trains_on_mse(engine):
    rl = engine.rl
    x, _ = signs()
    y = x[..., :1].sum(axis=1)
    model = rl.Sequential(rl.GRU(2, 8, return_sequences=False), rl.Dense(8, 1), seed=0)
    history = fit(engine, model, [(x, y)], loss=rl.mse, epochs=60)
    assert history.loss[-1] < 0.2 * history.loss[0]


def test_read_only_arrays_train_without_a_warning(engine):
    x, y = signs()
    x.flags.writeable = y.flags.writeable = False
    fit(engine, classifier(engine.rl), [(x[::-1], y[::-1])])


def test_torch_takes_tensors_and_any_torch_optimizer():
    torch = pytest.importorskip("torch")
    rl = Engine("torch").rl
    model = classifier(rl)
    batches = [tuple(map(torch.tensor, signs()))]
    optimizer = torch.optim.RMSprop(model.parameters(), lr=0.01)
    options = {"loss": torch.nn.functional.cross_entropy, "optimizer": optimizer}
    history = rl.fit(model, batches, epochs=5, progress=False, **options)
    assert history.loss[-1] < history.loss[0]


# --------------------------------------------------------------- train and eval mode


def modes(model):
    return [layer.training for layer in (model, *model.layers)]


@pytest.mark.parametrize("before", [True, False])
def test_fit_and_evaluate_put_the_mode_back_even_after_an_error(engine, before):
    rl, model = engine.rl, tagger(engine.rl, 0.5)
    x = np.ones((2, 3, 3), "float32")
    good, bad = [(x, np.ones((2, 3), int))], [(x, np.full((2, 3), 9))]
    model.train(before)
    fit(engine, model, good, epochs=1, validate=good)
    rl.evaluate(model, good)
    assert modes(model) == [before] * 4
    for call in (fit, lambda e, m, b: rl.evaluate(m, b)):
        with pytest.raises(ValueError, match=r"expected y in \[0, 4\)"):
            call(engine, model, bad)
        assert modes(model) == [before] * 4


def test_dropout_works_in_training_only(engine):
    layer = engine.rl.Dropout(0.5, seed=0)
    x = engine.put(np.ones((50, 50), "float32"))
    trained = engine.get(layer(x))
    assert set(np.unique(trained)) == {0.0, 2.0}
    assert 0.4 < (trained == 0).mean() < 0.6
    np.testing.assert_array_equal(engine.get(layer.eval()(x)), 1)


def test_fit_trains_with_dropout_and_validates_without(engine):
    """With lr close to 0 the two losses differ by the dropout alone."""
    x = np.ones((4, 3, 3), "float32")
    data = [(x, np.ones((4, 3), int))]
    model = tagger(engine.rl, 0.9)
    history = fit(engine, model, data, epochs=1, lr=1e-20, validate=data)
    plain = fit(engine, tagger(engine.rl, 0.0), data, epochs=1, lr=1e-20)
    assert history.val_loss[0] == pytest.approx(plain.loss[0], rel=1e-6)
    assert history.loss[0] != pytest.approx(plain.loss[0], rel=1e-3)


# ------------------------------------------------------------- ragged sequences


def ragged():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 5, 3)).astype("float32")
    return x, rng.integers(0, 4, (3, 5)), np.array([2, 5, 3])


def spoilt():
    """The same, with other inputs and impossible targets in the padding."""
    x, y, lengths = ragged()
    padding = np.arange(5) >= lengths[:, None]
    x[padding], y[padding] = 77.0, -1
    return x, y, lengths


def test_padding_changes_nothing(engine):
    results = []
    for batch in (ragged(), spoilt()):
        model = tagger(engine.rl)
        history = fit(engine, model, [batch], validate=[batch], epochs=3)
        share = engine.rl.evaluate(model, [batch], loss=accuracy)
        results.append((history.step_loss, history.val_loss, share, model))
    assert results[0][:3] == results[1][:3]
    assert_same(weights(engine, results[0][3]), weights(engine, results[1][3]))


def test_a_ragged_batch_is_the_mean_over_its_valid_steps(engine):
    rl, model = engine.rl, tagger(engine.rl)
    x, y, lengths = ragged()
    whole = rl.evaluate(model, [(x, y, lengths)])
    rows = [
        (n, rl.evaluate(model, [(x[k : k + 1, :n], y[k : k + 1, :n])]))
        for k, n in enumerate(lengths)
    ]
    assert whole == pytest.approx(sum(n * v for n, v in rows) / 10, rel=1e-5)


def test_lengths_need_no_mask_where_there_is_one_answer_per_sequence(engine):
    model = classifier(engine.rl)
    x, y = signs(3)
    history = fit(engine, model, [(x, y, np.array([1, 4, 2]))])
    assert np.isfinite(history.loss).all()


# -------------------------------------------------------------- truncated BPTT


def reader(rl, kind="LSTM"):
    return rl.Sequential(
        rl.Embedding(7, 3, dtype="float64"),
        getattr(rl, kind)(3, 4, dtype="float64"),
        rl.Dense(4, 7, dtype="float64"),
        seed=0,
    )


IDS = np.random.default_rng(1).integers(0, 7, 41)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_stream_is_worth_the_same_in_windows_as_in_one_go(engine, kind):
    model = reader(engine.rl, kind)
    whole, windows = (StreamBatches(IDS, batch_size=2, steps=s) for s in (20, 6))
    assert len(windows) == 4, "the last window is shorter"
    one_go = engine.rl.evaluate(model, whole)
    found = engine.rl.evaluate(model, windows, stateful=True)
    assert found == pytest.approx(one_go, rel=1e-12)
    forgetful = engine.rl.evaluate(model, windows)
    assert forgetful != pytest.approx(one_go, rel=1e-4)


def spied(model):
    """Note the state that each forward pass of the model gets and returns."""
    log = []
    kind = type(model)

    class Spy(kind):
        def __call__(self, x, lengths=None, state=None, return_state=False):
            result = super().__call__(x, lengths, state, return_state)
            log.append((state, result[1]))
            return result

    model.__class__ = Spy
    return log


def test_state_goes_from_window_to_window_and_starts_anew_each_epoch(engine):
    model = reader(engine.rl)
    log = spied(model)
    fit(engine, model, StreamBatches(IDS, batch_size=2, steps=8), stateful=True)
    assert len(log) == 6  # three windows, two epochs
    for k, (state, _) in enumerate(log):
        if k % 3 == 0:
            assert state is None
        else:
            for found, left in zip(state[1], log[k - 1][1][1], strict=True):
                np.testing.assert_array_equal(engine.get(found), engine.get(left))


def test_without_stateful_every_batch_starts_from_zero(engine):
    model = reader(engine.rl)
    log = spied(model)
    fit(engine, model, StreamBatches(IDS, batch_size=2, steps=8))
    assert [state for state, _ in log] == [None] * 6


def gradients(engine, model):
    if engine.name == "numpy":
        return {k: g.copy() for k, g in model.grads.items()}
    return {k: engine.get(p.grad).copy() for k, p in model.named_parameters()}


def window_gradient(engine, model, x, y, state):
    """Gradients of one window, with the state it starts from as a constant."""
    for p in [] if engine.name == "numpy" else model.parameters():
        p.grad = None
    logits, _ = model(engine.put(x), state=state, return_state=True)
    result = engine.rl.cross_entropy(logits, engine.put(y))
    if engine.name == "numpy":
        model.backward(result[1])
    else:
        result.backward()
    return gradients(engine, model)


def test_no_gradient_flows_into_the_window_before(engine):
    """What fit computes for window 2 is what a model started from there computes."""
    rl = engine.rl
    model, twin = reader(rl), reader(rl)
    (x1, y1), (x2, y2) = StreamBatches(IDS, batch_size=2, steps=10)
    # Steps so small that they change nothing; the last window's gradient stays behind.
    fit(engine, model, [(x1, y1), (x2, y2)], stateful=True, epochs=1, lr=1e-30)
    found = gradients(engine, model)

    _, state = twin(engine.put(x1), return_state=True)
    constant = [
        None if s is None else tuple(engine.put(engine.get(a).copy()) for a in s)
        for s in state
    ]
    for name, gradient in window_gradient(engine, twin, x2, y2, constant).items():
        np.testing.assert_allclose(found[name], gradient, atol=1e-14, err_msg=name)
    x, y = np.hstack([x1, x2]), np.hstack([y1, y2])
    through = window_gradient(engine, twin, x, y, None)
    assert not np.allclose(found["1.W_hh"], through["1.W_hh"], rtol=1e-2)


# ------------------------------------------------------------------- the progress bar


def test_progress_false_writes_nothing(engine, capfd):
    fit(engine, classifier(engine.rl), [signs()], progress=False)
    assert capfd.readouterr() == ("", "")


def test_a_bar_counts_steps_and_shows_the_loss(engine, capfd):
    pytest.importorskip("tqdm")
    batches = Batches(*signs(), batch_size=8)
    history = fit(engine, classifier(engine.rl), batches, epochs=3, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "12/12" in err and f"loss={history.step_loss[-1]:.4f}" in err


def test_a_bar_is_closed_when_training_breaks_off(engine, capfd):
    tqdm = pytest.importorskip("tqdm")
    x, y = signs()
    with pytest.raises(FloatingPointError) as caught:  # whose frames keep the bar alive
        fit(engine, classifier(engine.rl), [(x * np.nan, y)], progress=True)
    assert not list(tqdm.tqdm._instances), caught
    capfd.readouterr()


def test_without_tqdm_training_is_silent(engine, capfd, monkeypatch):
    for name in [m for m in sys.modules if m.split(".")[0] == "tqdm"]:
        monkeypatch.delitem(sys.modules, name)
    known = builtins.__import__

    def without_tqdm(name, *args, **kwargs):
        if name.split(".")[0] == "tqdm":
            raise ImportError(name)
        return known(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_tqdm)
    history = fit(engine, classifier(engine.rl), [signs()], progress=True)
    assert len(history.loss) == 2
    assert capfd.readouterr() == ("", "")
