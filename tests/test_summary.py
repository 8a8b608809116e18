"""The parameter table is the one that Keras 3 prints, character by character.

The tables below were printed by Keras 3.15.1 for the same models; for the second one
its SimpleRNN and LayerNormalization were subclassed under our names.
"""

EMBEDDING_LSTM_DENSE = """\
Model: "sequential"
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━┓
┃ Layer (type)                    ┃ Output Shape           ┃       Param # ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━┩
│ embedding (Embedding)           │ (None, None, 64)       │        64,000 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ lstm (LSTM)                     │ (None, 128)            │        98,816 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ dense (Dense)                   │ (None, 10)             │         1,290 │
└─────────────────────────────────┴────────────────────────┴───────────────┘
 Total params: 164,106 (641.04 KB)
 Trainable params: 164,106 (641.04 KB)
 Non-trainable params: 0 (0.00 B)"""

EVERY_KIND = """\
Model: "sequential"
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━┓
┃ Layer (type)                    ┃ Output Shape           ┃       Param # ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━┩
│ embedding (Embedding)           │ (None, None, 64)       │       640,000 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ dropout (Dropout)               │ (None, None, 64)       │             0 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ bidirectional (Bidirectional)   │ (None, None, 256)      │       197,632 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ gru (GRU)                       │ (None, None, 96)       │       101,664 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ layer_norm (LayerNorm)          │ (None, None, 96)       │           192 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ rnn (RNN)                       │ (None, 12)             │         1,308 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ dense (Dense)                   │ (None, 10)             │           130 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ dense_1 (Dense)                 │ (None, 10)             │           110 │
└─────────────────────────────────┴────────────────────────┴───────────────┘
 Total params: 941,036 (3.59 MB)
 Trainable params: 941,036 (3.59 MB)
 Non-trainable params: 0 (0.00 B)"""


def test_the_table_of_the_readme(engine):
    rl = engine.rl
    model = rl.Sequential(
        rl.Embedding(1000, 64),
        rl.LSTM(64, 128, return_sequences=False),
        rl.Dense(128, 10),
    )
    assert model.summary() == EMBEDDING_LSTM_DENSE


def test_a_table_with_every_kind_of_layer(engine):
    rl = engine.rl
    model = rl.Sequential(
        rl.Embedding(10_000, 64),
        rl.Dropout(0.2),
        rl.Bidirectional(rl.LSTM(64, 128)),
        rl.GRU(256, 96, reset_after=False),
        rl.LayerNorm(96),
        rl.RNN(96, 12, return_sequences=False),
        rl.Dense(12, 10),
        rl.Dense(10, 10),
    )
    assert model.summary() == EVERY_KIND


def test_a_name_too_long_for_its_cell_goes_on_below(engine):
    rl = engine.rl
    layers = [rl.Bidirectional(rl.LSTM(2, 1)) for _ in range(11)]
    lines = rl.Sequential(*layers).summary().splitlines()
    assert lines[-8:-4] == [
        "│ bidirectional_9 (Bidirectional) │ (None, None, 2)        │            32 │",
        "├─────────────────────────────────┼────────────────────────┼───────────────┤",
        "│ bidirectional_10                │ (None, None, 2)        │            32 │",
        "│ (Bidirectional)                 │                        │               │",
    ]
    assert lines[-3] == " Total params: 352 (1.38 KB)"


def test_a_model_without_time_has_no_time_axis(engine):
    rl = engine.rl
    lines = rl.Sequential(rl.Dense(3, 4), rl.LayerNorm(4)).summary().splitlines()
    assert lines[4].split("│")[2].strip() == "(None, 4)"
    assert lines[-3] == " Total params: 24 (96.00 B)"


def test_sizes_count_the_bytes_of_the_dtype(engine):
    rl = engine.rl
    double = rl.Sequential(rl.Dense(255, 1024, dtype="float64"))
    assert "Total params: 262,144 (2.00 MB)" in double.summary()
    if engine.name != "numpy":
        assert "Total params: 262,144 (512.00 KB)" in double.half().summary()


def test_a_gru_keeps_one_bias_a_gate_where_keras_keeps_two(engine):
    rl = engine.rl
    weights, gate = 3 * 128 * (64 + 128), 128
    after = rl.Sequential(rl.GRU(64, 128)).summary()
    before = rl.Sequential(rl.GRU(64, 128, reset_after=False)).summary()
    assert f"Total params: {weights + 4 * gate:,} " in after  # Keras: 6 * gate
    assert f"Total params: {weights + 3 * gate:,} " in before  # Keras: the same
