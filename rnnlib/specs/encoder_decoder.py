"""What the encoder-decoder is: a model of layers that are all described elsewhere."""

import numpy as np

from rnnlib.checks import (
    check_choice,
    check_lengths,
    check_number,
    check_shape,
    check_size,
)
from rnnlib.specs.attention import KINDS
from rnnlib.specs.base import CompositeSpec, check_pair
from rnnlib.summary import summary


class EncoderDecoderSpec(CompositeSpec):
    """Reads a sequence with one recurrent network and writes one with another.

    Called as ``model((source, target_in), lengths=None)`` with ids (B, T) and (B, U),
    it returns the scores (B, U, target_vocab) of what comes after each id of
    ``target_in``, the right target one step late (teacher forcing). ``lengths`` is the
    pair ``(source_lengths, target_lengths)``, each (B,). Padding of the source changes
    nothing. Scores past a target's length mean nothing: `fit` masks them.

    The decoder starts from the encoder's final states, layer by layer. With attention,
    its outputs look at the encoder's outputs, and a tanh layer, ``combine``, mixes what
    they find with themselves before the scores.

    Parameters
    ----------
    source_vocab, target_vocab : int
        Ids of the source and of the target lie in [0, vocab).
    dim : int
        D, the length of an embedding.
    hidden_size : int
        H, the size of the encoder's and of the decoder's outputs and states.
    cell : {"RNN", "LSTM", "GRU"}, default="GRU"
    attention : {None, "dot", "scaled_dot", "additive"}, default=None
        The kind of `Attention`, or none: then all that the decoder knows of the source
        is the state in which it starts.
    bidirectional : bool, default=False
        The encoder reads in both directions. Each has H / 2 units, so that their
        outputs and states side by side have size H: nothing else changes its size.
    layers : int, default=1
        Recurrent layers of the encoder, and of the decoder.
    dropout : float, default=0.0
        In [0, 1): of the inputs of every recurrent layer and of the last Dense layer,
        never of a state (Zaremba et al., 2014).
    seed : int, optional
        All initial values are drawn in order from one `numpy.random.Generator`.
    dtype : {"float32", "float64"}, default="float32"

    Attributes
    ----------
    last_weights : array of shape (B, U, T), or None
        Where the decoder looked in the last call or step; None without attention.
    encoder.0.W, encoder.2.W_xh, decoder.0.W, …, output.b : arrays
        Parameters of the embeddings, of the recurrent layers and of the Dense layers,
        of the shapes that they have there. Dropout layers are counted, even with 0.

    References
    ----------
    Sutskever, Vinyals and Le, 2014; Cho et al., 2014; Luong, Pham and Manning, 2015
    (attention on the decoder's outputs, ``combine``).

    Examples
    --------
    >>> from rnnlib import numpy as rl
    >>> model = rl.EncoderDecoder(50, 40, 8, 16, attention="dot", seed=0)
    >>> source, target_in = np.array([[3, 1, 4, 1]]), np.array([[2, 7]])
    >>> model((source, target_in)).shape
    (1, 2, 40)
    >>> scores, state = model.step(np.array([2]), model.encode(source))
    >>> scores.shape
    (1, 40)
    """

    title = "encoder_decoder"  # of the summary
    sizes = ("source_vocab", "target_vocab", "dim", "hidden_size")

    def __init__(
        self,
        source_vocab,
        target_vocab,
        dim,
        hidden_size,
        *,
        cell="GRU",
        attention=None,
        bidirectional=False,
        layers=1,
        dropout=0.0,
        seed=None,
        dtype="float32",
    ):
        super().__init__()
        own, rl = "EncoderDecoder", self.rl
        self.source_vocab = check_size(own, "source_vocab", source_vocab)
        self.target_vocab = check_size(own, "target_vocab", target_vocab)
        self.dim = check_size(own, "dim", dim)
        self.hidden_size = H = check_size(own, "hidden_size", hidden_size)
        self.bidirectional = bool(bidirectional)
        if self.bidirectional and H % 2:
            raise ValueError(
                f"{self}: expected an even hidden_size with bidirectional=True, got {H}"
            )
        cell = check_choice(self, "cell", cell, ("RNN", "LSTM", "GRU"))
        kind = check_choice(self, "attention", attention, (None, *KINDS))
        layers = check_size(self, "layers", layers)
        check_number(self, "dropout", dropout, lambda p: 0 <= p < 1, "in [0, 1)")

        def network(vocab, both):
            parts = [rl.Embedding(vocab, dim, dtype=dtype)]
            for k in range(layers):
                units = H // 2 if both else H
                layer = getattr(rl, cell)(H if k else dim, units, dtype=dtype)
                layer = rl.Bidirectional(layer) if both else layer
                parts += [rl.Dropout(dropout), layer]
            return rl.Sequential(*parts)

        parts = {
            "encoder": network(source_vocab, self.bidirectional),
            "decoder": network(target_vocab, False),
        }
        if kind:
            parts["attention"] = rl.Attention(H, H, kind, dtype=dtype)
            parts["combine"] = rl.Dense(2 * H, H, "tanh", dtype=dtype)
        parts["dropout"] = rl.Dropout(dropout)
        parts["output"] = rl.Dense(H, target_vocab, dtype=dtype)
        self._adopt(parts)
        self.dtype = parts["output"].dtype
        self.last_weights = None
        self.reset(np.random.default_rng(seed))

    @property
    def encoder(self):
        """The `Sequential` that reads."""
        return self._parts["encoder"]

    @property
    def decoder(self):
        """The `Sequential` that writes."""
        return self._parts["decoder"]

    @property
    def attention(self):
        """The `Attention` between them, or None."""
        return self._parts.get("attention")

    def summary_rows(self):
        """Each layer with the shape of its output, for `rnnlib.summary`."""
        yield from self.encoder.summary_rows()
        shape = (None, None, self.hidden_size)
        yield from self.decoder.summary_rows()
        for name, part in self._parts.items():
            if name not in ("encoder", "decoder"):
                shape = part.output_shape(shape)
                yield part, shape

    def summary(self):
        """Text table of layers, output shapes and parameter counts, as Keras prints.

        Returns
        -------
        str
        """
        return summary(self)

    def check_forwards(self, what):
        """Raise ValueError, as ``what`` reads forwards and this model cannot."""
        raise ValueError(
            f"{self}: {what} reads forwards; the encoder needs the whole source"
        )

    def encode(self, source, lengths=None):
        """Read the source.

        Parameters
        ----------
        source : array of int, of shape (N, T)
            Ids.
        lengths : array of int, of shape (N,), optional
            Valid steps of each row, 1..T.

        Returns
        -------
        state : tuple
            What `step` needs: nested tuples of arrays, the first axis of each is N, so
            that a search may pick and repeat rows.

        Raises
        ------
        TypeError, ValueError
            For ids or lengths that do not fit.
        """
        check_shape(self, "source", source, ("N", "T"))
        outputs, states = self.encoder(source, lengths, return_state=True)
        states = tuple(self._join(s) for s in states if s is not None)
        if self.attention is None:
            return states, ()
        return states, (outputs, self._row_lengths(source, lengths))

    def step(self, ids, state):
        """Write one id more; for greedy decoding, sampling and beam search.

        Parameters
        ----------
        ids : array of int, of shape (N,)
            What was written at the step before; the start sign at first.
        state : tuple
            From `encode`, or from the step before.

        Returns
        -------
        scores : array of shape (N, target_vocab)
            Before the softmax. Dropout acts unless `eval` was called.
        state : tuple
            For the next step.

        Raises
        ------
        TypeError, ValueError
            For ids or a state that do not fit.
        """
        check_shape(self, "ids", ids, ("N",))
        check_pair(self, "state", state, "(decoder states, memory) from encode")
        scores, state = self._decode(ids[:, None], state)
        return scores[:, 0], state

    def _run(self, x, lengths):
        check_pair(self, "x", x, "(source, target_in)")
        source, target = x
        check_shape(self, "source", source, ("B", "T"))
        check_shape(self, "target_in", target, (source.shape[0], "U"))
        source_lengths = None
        if lengths is not None:
            check_pair(self, "lengths", lengths, "(source_lengths, target_lengths)")
            source_lengths, target_lengths = lengths
            if target_lengths is not None:
                check_lengths(self, target_lengths, *target.shape)
        return self._decode(target, self.encode(source, source_lengths))[0]

    def _decode(self, ids, state):
        """Scores (N, U, V) after each of the ids (N, U), and the state after them."""
        states, memory = state
        states = iter(states)
        entries = [next(states) if k.has_state else None for k in self.decoder.layers]
        y, after = self.decoder(ids, state=entries, return_state=True)
        self.last_weights = None
        if self.attention is not None:
            context, weights = self.attention(y, *memory)
            self.last_weights = self._constant(weights)
            y = self._parts["combine"](self._concatenate([context, y]))
        scores = self._parts["output"](self._parts["dropout"](y))
        return scores, (tuple(s for s in after if s is not None), memory)

    def _join(self, state):
        """One encoder layer's state as the state in which its decoder layer starts."""
        if not self.bidirectional:
            return state
        forward, backward = state
        if isinstance(forward, tuple):  # h and c, side by side each
            pairs = zip(forward, backward, strict=True)
            return tuple(map(self._concatenate, pairs))
        return self._concatenate([forward, backward])
