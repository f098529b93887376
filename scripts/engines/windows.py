# SPDX-License-Identifier: Apache-2.0
"""The windows of a text that a training reads, in the same order as `espalier distill`: WindowSampler::start_from_end of
lib/train/data/window_sampler.cpp, with numpy. Window i is a pure function of (seed, i), so nothing needs to be stored to go on.

Windows of `sequence` tokens start at multiples of `sequence`, shifted by an offset per epoch. The order of an epoch is a keyed permutation,
read backwards: a Feistel network of four rounds over the next even power of two, applied again until the value is in range."""
import numpy as np

_WEYL = np.uint64(0x9E3779B97F4A7C15)
_OFFSET_STREAM = 0x0FF5E7


def _mix(x):
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _random(seed, stream, index):
    """Value `index` of a stream under a seed (lib/base/core/rng.h). All are uint64 arrays; products and sums wrap around."""
    key = _mix(seed + _WEYL * (stream + np.uint64(1)))
    return _mix(key + _WEYL * (index + np.uint64(1)))


class WindowSampler:
    def __init__(self, n_tokens, sequence, seed):
        self.n_tokens, self.sequence, self.per_epoch = n_tokens, sequence, n_tokens // sequence
        if self.per_epoch < 1:
            raise ValueError(f"the text has {n_tokens} tokens, fewer than one window of {sequence}; give more text or a shorter sequence")
        self._seed = np.array([seed], np.uint64)
        self._half = np.uint64(max(1, ((self.per_epoch - 1).bit_length() + 1) // 2))

    def _round(self, index, epoch):
        mask = (np.uint64(1) << self._half) - np.uint64(1)
        left, right = index >> self._half, index & mask
        for number in range(4):
            left, right = right, left ^ (_random(self._seed, np.uint64(4) * epoch + np.uint64(number), right) & mask)
        return left << self._half | right

    def _permuted(self, index, epoch):
        out = self._round(index, epoch)
        while (outside := out >= np.uint64(self.per_epoch)).any():
            out[outside] = self._round(out[outside], epoch[outside])
        return out

    def starts(self, first, count):
        """The tokens at which the windows first, first + 1, ... of a training start, int64 [count]."""
        window = np.arange(first, first + count, dtype=np.int64)
        epoch, place = (x.astype(np.uint64) for x in (window // self.per_epoch, self.per_epoch - 1 - window % self.per_epoch))
        offset = _random(self._seed, np.full(1, _OFFSET_STREAM, np.uint64), epoch) % np.uint64(self.n_tokens % self.sequence + 1)
        return (self._permuted(place, epoch) * np.uint64(self.sequence) + offset).astype(np.int64)


def read_window(tokens, bos, start, sequence):
    """(ids, targets), int64 [sequence]. BOS stands over the first id where the model adds one. A target is the next token of the text, or -1
    at its very end."""
    ids = tokens[start:start + sequence].astype(np.int64)
    targets = np.full(sequence, -1, np.int64)
    following = tokens[start + 1:start + 1 + sequence]
    targets[:len(following)] = following
    if bos is not None:
        ids[0] = bos
    return ids, targets


def scored_tokens(n_tokens, starts, sequence):
    """How many targets windows with these starts have."""
    return int(np.minimum(n_tokens - 1 - starts, sequence).sum())
