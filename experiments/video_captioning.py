"""Say in a sentence what a handwritten digit does in a clip of twelve frames.

    python -m experiments.video_captioning           # 3 seeds, about 20 minutes in all
    python -m experiments.video_captioning --smoke   # seconds, nothing kept

A convolutional network looks at each frame, an LSTM reads the frames in order, a second
LSTM writes the sentence and looks back at the frames by additive attention.

1. Stills: the CNN alone learns to name the digit in single frames.
2. Clips: with its convolutions as they are, the model learns from clips and captions.
   Every clip is new: its motions are drawn afresh, its handwriting is distorted.
3. Paths: on what this CNN sees, five ways from the frames to the words are trained
   alike on a small budget and compared on the test. Nothing is chosen by them.

Sizes, rates and distortion are the first that were tried. The model (differences of
places, `SHARP`) was settled on short trainings on images 0-899, looked at on images
900-1199 and on the validation block. How well a CNN names the single images of the test
block was looked at once before, to know what is possible.
The training here takes the blocks of training and validation together, with the
settings as they were, so it has no validation score.
"""

import time
import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC
from torch import nn

from experiments import _run
from rnnlib import decode
from rnnlib import torch as rl
from rnnlib.data import Clips, moving_digits
from rnnlib.data.moving_digits import (
    END,
    START,
    VOCABULARY,
    WORDS,
    caption,
    caption_ids,
    parse_caption,
)

PATHS = {
    "state": {"path": "state"},
    "repeat": {"path": "repeat"},
    "outputs": {"path": "outputs"},
    "frames": {"path": "frames"},
    "frames, no differences": {"path": "frames", "moved": False},
}
WHAT, POINTS, WHERE, HIDDEN, EMBEDDING = 128, 8, 32, 96, 24
SHARP = 10  # without it, untrained maps are so flat that their means hardly move
REFIT = (0, 1347)  # images of the training block and of the validation block
FULL = {
    "stills": {"steps": 300, "epochs": 10, "batch": 128, "lr": 2e-3},
    "paths": {"clips": 16_000, "epochs": 2, "batch": 64, "lr": 3e-3},
    "clips": {"steps": 250, "epochs": 10, "batch": 64, "lr": 2e-3},
    "rival_clips": 8_000,
    "limit": None,
}
SMOKE = {
    "stills": {"steps": 3, "epochs": 1, "batch": 16, "lr": 2e-3},
    "paths": {"clips": 64, "epochs": 1, "batch": 32, "lr": 3e-3},
    "clips": {"steps": 2, "epochs": 1, "batch": 8, "lr": 2e-3},
    "rival_clips": 400,
    "limit": 40,
}


class Module(nn.Module):
    """A module that takes weights from NumPy arrays as well: a file holds such."""

    def load_state_dict(self, state, **options):
        state = {k: torch.as_tensor(v) for k, v in state.items()}
        return super().load_state_dict(state, **options)


class Eyes(nn.Module):
    """A CNN that looks at each frame by itself: what is there, and where."""

    def __init__(self):
        super().__init__()
        self.near = nn.Sequential(  # maps of 12 x 12
            nn.Conv2d(1, 32, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
        )
        self.far = nn.Sequential(  # maps of 6 x 6
            nn.MaxPool2d(2), nn.Conv2d(64, WHAT, 3, padding=1), nn.ReLU()
        )
        self.points = nn.Conv2d(64, POINTS, 1)
        self.to(memory_format=torch.channels_last)

    def forward(self, frames):
        """(B, T, 24, 24) to what is there (B, T, 128) and where (B, T, 24)."""
        B, T = frames.shape[:2]
        x = frames.reshape(B * T, 1, *frames.shape[2:])
        maps = self.near(x.contiguous(memory_format=torch.channels_last))
        what = self.far(maps).amax((2, 3))  # wherever it is
        where = spatial_softmax(self.points(maps))
        return what.reshape(B, T, -1), where.reshape(B, T, -1)


def spatial_softmax(maps):
    """Mean place (x, y) and spread of each map (N, K, S, S), in -1..1: (N, 3 K)."""
    N, K, S, _ = maps.shape
    p = (SHARP * maps).float().flatten(2).softmax(dim=-1).reshape(N, K, S, S)
    axis = torch.linspace(-1, 1, S)
    across, down = p.sum(2), p.sum(3)  # (N, K, S)
    x, y = (across * axis).sum(-1), (down * axis).sum(-1)
    spread = ((across + down) * axis**2).sum(-1) - x**2 - y**2
    return torch.cat([x, y, (spread + 1e-4).sqrt()], dim=-1)


class Captioner(Module):
    """Frames in, scores of words out; `encode` and `step` as in `rl.EncoderDecoder`.

    ``path`` says how the frames reach the words: "state", the decoder starts in the
    encoder's final state and sees nothing else; "repeat", the final output is beside
    every word it reads; "outputs", it attends to the encoder's outputs; "frames", to
    the outputs with what the CNN saw beside them. Without ``moved``, the encoder is
    told where the digit is in each frame, but not how far it came since the last.
    """

    def __init__(self, seed, path="frames", moved=True):
        super().__init__()
        torch.manual_seed(seed)
        rng, V, H = np.random.default_rng(seed), len(VOCABULARY), HIDDEN
        self.path, self.moved = path, moved
        self.eyes = Eyes()
        self.place = rl.Dense(6 * POINTS, WHERE, seed=rng)
        self.encoder = rl.LSTM(WHAT + WHERE, H, seed=rng)
        self.embedding = rl.Embedding(V, EMBEDDING, seed=rng)
        beside = H if path == "repeat" else 0
        self.decoder = rl.LSTM(EMBEDDING + beside, H, seed=rng)
        if path in ("outputs", "frames"):
            K = H + WHAT * (path == "frames")
            self.attention = rl.Attention(H, K, "additive", hidden_size=64, seed=rng)
            self.combine = rl.Dense(H + K, H, "tanh", seed=rng)
        self.output = rl.Dense(H, V, seed=rng)
        self.dropout = nn.Dropout(0.2)
        self.last_weights = None

    def encode(self, x):
        """Read clips (B, 12, 24, 24), or what and where of each frame (B, 12, 152)."""
        what, where = self.eyes(x) if x.ndim == 4 else x.split([WHAT, 3 * POINTS], -1)
        moved = torch.diff(where, dim=1, prepend=where[:, :1]) * (10 * self.moved)
        what = self.dropout(what)
        place = self.place(torch.cat([where, moved], dim=-1))
        outputs, state = self.encoder(torch.cat([what, place], dim=-1))
        if self.path == "frames":
            outputs = torch.cat([outputs, what], dim=-1)
        return state, outputs

    def write(self, ids, state):
        """Scores (B, U, V) after each of the words (B, U), and the state after them."""
        state, memory = state
        x = self.embedding(ids)
        if self.path == "repeat":
            last = memory[:, -1:].expand(-1, ids.shape[1], -1)
            x = torch.cat([x, last], dim=-1)
        y, state = self.decoder(x, state)
        if self.path in ("outputs", "frames"):
            context, weights = self.attention(y, memory)
            self.last_weights = weights.detach()
            y = self.combine(torch.cat([context, y], dim=-1))
        return self.output(self.dropout(y)), (state, memory)

    def forward(self, x, lengths=None):
        frames, target_in = x
        return self.write(target_in, self.encode(frames))[0]

    def step(self, ids, state):
        """One word for each row, for `rnnlib.decode`."""
        scores, state = self.write(ids[:, None], state)
        return scores[:, 0], state


def build(seed, path="frames", moved=True):
    """The model of the chapter."""
    return Captioner(seed, path, moved)


class Namer(Module):
    """The CNN and one Dense layer, for the stills."""

    def __init__(self, eyes, seed):
        super().__init__()
        self.eyes, self.dropout = eyes, nn.Dropout(0.3)
        self.output = rl.Dense(WHAT, 10, seed=seed)

    def forward(self, x, lengths=None):
        what, _ = self.eyes(x)
        return self.output(self.dropout(what))  # (B, T, 10)


class NewClips:
    """Batches of clips that nobody has seen before; one iteration is an epoch."""

    def __init__(self, block, seed, steps, batch, stills=False, **_):
        self.block, self.seed, self.steps, self.batch = block, seed, steps, batch
        self.stills, self.epoch = stills, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return self.steps

    def __iter__(self):
        data, epoch = moving_digits(), self.epoch
        self.epoch += 1
        for k in range(self.steps):
            seed = [self.seed, epoch, k, int(self.stills)]
            clips = data.draw(self.block, self.batch, seed, warp=True)
            if self.stills:
                t = np.random.default_rng(seed).integers(12, size=self.batch)
                still = clips.frames[np.arange(self.batch), t][:, None]
                yield still, data.digits[clips.images][:, None]
            else:
                target_in, target, lengths = caption_ids(clips.captions)
                yield (clips.frames, target_in), target, (None, lengths)


def fit(model, batches, setting, file):
    """Train in half precision, resumable; returns the history."""
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=setting["lr"], weight_decay=0.02)
    steps = setting["steps"] * setting["epochs"]
    _run.falling(optimizer, steps, warmup=steps // 30)
    with _run.mixed():
        return rl.fit(
            model,
            batches,
            loss=rl.cross_entropy,
            optimizer=optimizer,
            epochs=setting["epochs"],
            clip=1.0,
            progress=False,
            checkpoint=file,
            resume=True,
        )


def tell(model, frames, batch=256):
    """The captions of clips, word by word the most probable."""
    before, captions = model.training, []
    model.eval()
    with torch.no_grad():
        for start in range(0, len(frames), batch):
            part = torch.as_tensor(frames[start : start + batch])
            first = torch.full((len(part),), VOCABULARY[START])
            found = decode.greedy(
                model.step,
                first,
                model.encode(part),
                max_length=WORDS,
                end=VOCABULARY[END],
            )
            captions += [" ".join(VOCABULARY.decode(h.ids)) for h in found]
    model.train(before)
    return captions


def shares(told, captions):
    """Percent of captions that are right as a whole, in the digit, in the motions."""
    told, right = ([c.split() for c in some] for some in (told, captions))
    pairs = list(zip(told, right, strict=True))
    return {
        "exact": float(100 * np.mean([a == b for a, b in pairs])),
        "digit": float(100 * np.mean([a[1:2] == b[1:2] for a, b in pairs])),
        "motion": float(100 * np.mean([a[2:] == b[2:] for a, b in pairs])),
    }


def probes(model, clips):
    """Captions of clips whose frames are shuffled, or all the same as one of them."""
    rng = np.random.default_rng(0)
    order = rng.random(clips.frames.shape[:2]).argsort(axis=1)
    shuffled = np.take_along_axis(clips.frames, order[:, :, None, None], axis=1)
    still = np.repeat(clips.frames[:, :1], clips.frames.shape[1], axis=1)
    return {
        "shuffled": shares(tell(model, shuffled), clips.captions),
        "first frame only": shares(tell(model, still), clips.captions),
    }


class Looked:
    """The same clips again and again, as what the CNN saw in them."""

    def __init__(self, eyes, clips, batch, seed):
        self.seed, self.batch, self.epoch = seed, batch, 0
        target_in, self.target, self.lengths = caption_ids(clips.captions)
        self.x = looked(eyes, clips.frames), target_in

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        rng = np.random.default_rng([self.seed, self.epoch])
        self.epoch += 1
        for rows in np.array_split(
            rng.permutation(len(self.target)), len(self.target) // self.batch
        ):
            x = tuple(a[rows] for a in self.x)
            yield x, self.target[rows], (None, self.lengths[rows])


def looked(eyes, frames, batch=256):
    """What and where in each frame, (N, 12, 152)."""
    parts = np.array_split(frames, -(-len(frames) // batch))
    with torch.no_grad():
        return np.concatenate(
            [torch.cat(eyes(torch.as_tensor(p)), dim=-1).numpy() for p in parts]
        )


def compare_paths(eyes, seed, setting, limit, folder):
    """Train each way to the words on what the finished CNN saw; measure on the test."""
    data, result = moving_digits(), {}
    train = data.draw(REFIT, setting["clips"], seed=[seed, 6], warp=True)
    batches = Looked(eyes, train, setting["batch"], seed)
    setting = setting | {"steps": setting["clips"] // setting["batch"]}
    test = data.test
    x = looked(eyes, test.frames[:limit])
    for name, options in PATHS.items():
        model = build(seed, **options)
        file = folder / f"seed{seed}-path-{name.replace(' ', '-')}.safetensors"
        history = fit(model, batches, setting, file)
        result[name] = shares(tell(model, x), test.captions[:limit]) | {
            "loss": history.loss,
            "parameters": count(model) - count(model.eyes),
        }
    return result


def count(model):
    """Number of parameters."""
    return sum(p.numel() for p in model.parameters())


def named(namer, clips):
    """Percent of clips whose digit the CNN alone names, in one frame and in twelve."""
    data = moving_digits()
    namer.eval()
    with torch.no_grad():
        scores = namer(torch.as_tensor(clips.frames))  # (N, 12, 10)
    right = data.digits[clips.images]
    one = scores.argmax(-1).numpy() == right[:, None]
    twelve = scores.log_softmax(-1).mean(1).argmax(-1).numpy() == right
    return {"one frame": 100 * float(one.mean()), "twelve": 100 * float(twelve.mean())}


# ------------------------------------------------------------------------ the rivals


def slots(captions):
    """Three labels of each caption: digit, first motion, second motion or ""."""
    rows = [parse_caption(text) for text in captions]
    return [(digit, m[0], m[1] if m[1:] else "") for digit, m in rows]


def sentences(digits, firsts, seconds):
    """Captions of three labels each; a motion does not follow itself."""
    rows = zip(digits, firsts, seconds, strict=True)
    return [caption(int(d), [a, b] if b not in ("", a) else [a]) for d, a, b in rows]


def by_slot(models, inputs, train, test):
    """Fit a classifier for each label, and put together what they say."""
    labels = zip(*slots(train.captions), strict=True)
    guesses = []
    for model, (x, x_test), y in zip(models, inputs, labels, strict=True):
        guesses.append(model.fit(x, np.array(y)).predict(x_test))
    return sentences(*guesses)


def pixels(clips):
    """All pixels of all frames side by side, (N, 6912)."""
    return clips.frames.reshape(len(clips), -1)


def track(frames):
    """Centre (x, y) and spread of the ink in each frame, (N, 12, 3), in pixels."""
    at = np.arange(frames.shape[-1]) + 0.5
    ink = frames.sum((2, 3))
    x, y = frames.sum(2) @ at / ink, frames.sum(3) @ at / ink
    xx, yy = frames.sum(2) @ at**2 / ink, frames.sum(3) @ at**2 / ink
    return np.stack([x, y, np.sqrt(xx - x**2 + yy - y**2)], -1)


def portraits(frames, centres, n=12):
    """The digit cut out of each frame at equal size, and averaged, (N, 144)."""
    N, T, side, _ = frames.shape
    grid = (np.arange(n) - (n - 1) / 2) / n * 4.6  # in spreads
    place = centres[:, :, :2, None] + centres[:, :, 2:, None] * grid  # (N, T, 2, n)
    near = np.abs(place[..., None] - np.arange(side) - 0.5)  # (N, T, 2, n, side)
    near = np.maximum(0, 1 - near).astype(np.float32)
    cut = near[:, :, 1] @ frames @ near[:, :, 0].swapaxes(-1, -2)
    return cut.mean(1).reshape(N, -1)


def steps(centres):
    """How centre and log spread change from frame to frame, (N, 33)."""
    centres = centres.copy()
    centres[..., 2] = 10 * np.log(centres[..., 2])
    return np.diff(centres, axis=1).reshape(len(centres), -1)


def tracker(train, test):
    """Find the ink, follow it, cut the digit out, and let three SVMs judge."""
    (a, b), (c, d) = (
        (portraits(clips.frames, centres), steps(centres))
        for clips in (train, test)
        for centres in [track(clips.frames)]
    )
    models = [SVC(C=10), SVC(C=10), SVC(C=10)]
    return by_slot(models, [(a, c), (b, d), (b, d)], train, test)


def rivals(clips, test):
    """Exact captions of the rivals on the test, and the seconds that they took."""
    data = moving_digits()
    train = data.draw(REFIT, clips, seed=4)
    warped = data.draw(REFIT, clips, seed=5, warp=True)

    def linear():
        return LogisticRegression(C=1, max_iter=200)

    x = pixels(train), pixels(test)
    found = {}
    for name, tell_all in {
        "logistic regression on all frames": lambda: by_slot(
            [linear(), linear(), linear()], [x] * 3, train, test
        ),
        "tracker and three SVMs": lambda: tracker(train, test),
        "tracker and three SVMs, distorted digits": lambda: tracker(warped, test),
    }.items():
        begin = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            result = shares(tell_all(), test.captions)
        seconds = time.perf_counter() - begin
        found[name] = {"score": result["exact"], "seconds": seconds} | result
    return found


# -------------------------------------------------------------------- the experiment


def train(seed, folder, smoke):
    """Stills, then clips, then the comparison of the paths, as the docstring says."""
    setting, data = (SMOKE if smoke else FULL), moving_digits()
    limit, record = setting["limit"], {}
    model = build(seed)
    namer = Namer(model.eyes, seed)
    new = NewClips(REFIT, seed, stills=True, **setting["stills"])
    file = folder / f"seed{seed}-stills.safetensors"
    stills = fit(namer, new, setting["stills"], file)
    record["stills"] = named(namer, data.test)
    for part in (model.eyes.near, model.eyes.far):
        part.requires_grad_(False)
    new = NewClips(REFIT, seed, **setting["clips"])
    file = folder / f"seed{seed}-clips.safetensors"
    clips = fit(model, new, setting["clips"], file)
    record["loss"] = clips.loss
    record["train_seconds"] = sum(stills.seconds) + sum(clips.seconds)
    record["parameters"] = count(model)
    _run.as_shipped(model)
    for name in ("test", "composition"):
        clips = getattr(data, name)
        told = tell(model, clips.frames[:limit])
        record[name] = shares(told, clips.captions[:limit])
    record["exact"] = record["test"]["exact"]
    clips = data.test
    record["probes"] = probes(model, few(clips, limit))
    record["paths"] = compare_paths(model.eyes, seed, setting["paths"], limit, folder)
    if seed == 0:
        record["rivals"] = rivals(setting["rival_clips"], few(clips, limit))
    return record, model.state_dict()


def few(clips, limit):
    """The first clips."""
    rows = slice(limit)
    return Clips(
        clips.frames[rows], clips.captions[rows], clips.images[rows], clips.boxes[rows]
    )


def report(records):
    """What the JSON says beside the seeds."""
    composition = _run.summary([r["composition"] for r in records], "exact")
    score = _run.summary(records, "exact")
    rivals = records[0]["rivals"]
    best = max(rivals, key=lambda name: rivals[name]["score"])
    lead = score["mean"] - rivals[best]["score"]
    return {
        "application": "Video captioning",
        "task": "a sentence on a moving handwritten digit, 12 frames of 24 x 24 pixels",
        "test": "1,350 clips of 450 images, a block at the end of the file of digits",
        "metric": "exact captions, %",
        "better": "higher",
        "target": 97.0,
        "parameters": records[0]["parameters"],
        "rivals": rivals,
        "score": score,
        "composition": composition,
        "paths": {
            name: {
                key: _run.summary([r["paths"][name] for r in records], key)
                for key in ("exact", "digit", "motion")
            }
            for name in PATHS
        },
        "settings": FULL,
        "verdict": (
            f"The network is exact in {score['mean']:.1f} % of the clips, "
            f"{abs(lead):.1f} points {'above' if lead > 0 else 'below'} the best "
            f"rival ({best})."
        ),
    }


if __name__ == "__main__":
    _run.main("video_captioning", __doc__, train, report)
