"""The translation pairs: frozen, no sentence on both sides, clear about damage."""

import hashlib
import importlib
import json

import pytest

from rnnlib.data import DataError, translations

module = importlib.import_module("rnnlib.data.translations")
SIZES = {"train": 8582, "validation": 500, "test": 1000, "extra": 3637}
HASHES = {
    "train": "41d48d1316f21fac",
    "validation": "120e42c0764b33fa",
    "test": "e120e291e3030f81",
    "extra": "04b9a837420054ec",
}
PARTS = tuple(SIZES)


@pytest.fixture(scope="module")
def pairs():
    return translations()


def words(text):
    return len(text.split())


def sentences(text):
    parts = [text, *module.SENTENCE_END.split(text)]
    return {module.sentence_key(part) for part in parts}


def test_the_split_is_frozen(pairs):
    sizes = {part: len(getattr(pairs, part)) for part in PARTS}
    assert sizes == SIZES
    for part, expected in HASHES.items():
        text = "\n".join("\t".join(pair) for pair in getattr(pairs, part))
        assert hashlib.sha256(text.encode()).hexdigest()[:16] == expected, part


def test_nothing_crosses_the_split(pairs):
    keys = {
        part: {module.sentence_key(english) for english, _ in getattr(pairs, part)}
        for part in PARTS
    }
    held_out = keys["test"] | keys["validation"]
    assert len(keys["test"]) == 1000 and len(keys["validation"]) == 500
    assert len(held_out) == 1500
    for english, _ in pairs.train + pairs.extra:
        assert held_out.isdisjoint(sentences(english)), english


def test_what_a_pair_is(pairs):
    for part in PARTS:
        texts = getattr(pairs, part)
        assert len(set(texts)) == len(texts)
        for pair in texts:
            assert all(text == " ".join(text.split()) for text in pair)
            assert all(map(module.sentence_key, pair))
    for english, spanish in pairs.train + pairs.validation + pairs.test:
        assert 2 <= words(english) <= 15 and english != spanish
        assert not module.MARKUP.search(english + spanish)
    assert set(pairs.extra).isdisjoint(pairs.train)
    assert max(words(text) for pair in pairs.extra for text in pair) == 30


def test_no_character_of_the_test_is_unseen_in_training(pairs):
    seen = set("".join(text for pair in pairs.train for text in pair))
    assert set("".join(text for pair in pairs.test for text in pair)) <= seen


def test_the_same_object_at_every_call(pairs):
    assert translations() is pairs


def test_the_key_forgets_capitals_and_punctuation():
    key = module.sentence_key
    assert key("Turn on the Wi-Fi!") == key("turn on the wi fi") != key("turn on")
    assert key("nin\u0303o") == key("NIÑO") == "niño"
    assert key("... !") == ""


# ---------------------------------------------------------------- how pairs are made


def counted(english, spanish):
    folder = "homeassistant/components/toy/translations"
    files = {
        f"{folder}/en.json": json.dumps(english).encode(),
        f"{folder}/es.json": json.dumps(spanish).encode(),
    }
    return module._count({k: v for k, v in files.items() if v != b"null"})


def test_texts_are_matched_by_their_keys():
    counts = counted(
        {"a": {"x": "Turn  on", "y": "Off"}, "b": "No partner", "c": "..."},
        {"a": {"x": "Encender", "z": "?"}, "d": "Sin pareja", "c": "..."},
    )
    assert counts == {("Turn on", "Encender"): 1}
    assert counted({"a": "Turn on"}, None) == {}


def test_long_texts_become_sentences_if_both_have_as_many():
    english = "One two three. " + "Four " * 13 + "five."
    assert module._sentences((english, "Uno. Dos.")) == [
        ("One two three.", "Uno."),
        ("Four " * 13 + "five.", "Dos."),
    ]
    assert module._sentences((english, "Uno.")) == [(english, "Uno.")]
    assert module._sentences(("One. Two.", "Uno. Dos.")) == [("One. Two.", "Uno. Dos.")]


def test_training_texts_with_a_held_out_sentence_are_left_out(monkeypatch):
    monkeypatch.setattr(module, "HELD_OUT", {"test": 1, "validation": 0})
    base = {("Turn on", "Encender"): 3, ("Turn on!", "Encienda"): 1}
    more = {
        ("Please. Turn on.", "Por favor. Encienda."): 1,
        ("Call {name} now", "Llama a {name} ahora"): 1,
        ("Name", "Nombre"): 1,
        ("See [this](url)", "Mira [esto](url)"): 1,
    }
    split = module._split(base | more)
    assert split.test in ((("Turn on", "Encender"),), (next(iter(more)),))
    assert set(split.extra) == set(list(more)[1:3])
    if split.test[0] == ("Turn on", "Encender"):
        assert split.train == ()


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize(
    ("contents", "message"),
    [(b'{"a": ', "en.json to be JSON"), (b'{"a": "\xff"}', "en.json to be JSON")],
)
def test_a_damaged_member_is_named(contents, message):
    with pytest.raises(DataError, match=message):
        module._count({"homeassistant/x/translations/en.json": contents})


def test_errors_of_fetching_are_passed_on(monkeypatch, tmp_path):
    """A damaged download and an archive without the members."""
    from rnnlib.data import _fetch

    monkeypatch.setenv("RNNLIB_DATA", str(tmp_path))
    (tmp_path / "homeassistant-2024.3.3-py3-none-any.whl").write_bytes(b"half a whe")
    translations.cache_clear()
    try:
        with pytest.raises(DataError, match="'translations': .*is damaged: expected"):
            translations()

        def none(path, pattern):
            return iter(())

        monkeypatch.setattr(_fetch, "fetch", lambda package, dataset: tmp_path)
        monkeypatch.setattr(_fetch, "_matching", none)
        with pytest.raises(DataError, match="has no member 'homeassistant/.*/e.ns.."):
            translations()
        other = {"homeassistant/x/translations/en.json": b"{}"}
        monkeypatch.setattr(_fetch, "_matching", lambda path, pattern: other.items())
        with pytest.raises(DataError, match="expected sha256 c3922f93"):
            translations()
    finally:
        translations.cache_clear()
