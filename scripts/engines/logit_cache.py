#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads the sparse teacher logits that `espalier cache` writes, with numpy alone. docs/logit-cache.md describes the format.

    cache = LogitCache("out/cache")
    for start in cache.starts:                       # tokens of the text at which the windows start, in the order of training
        ids, log_probabilities, rest = cache.window(start)   # int32 [T, k], float32 [T, k], float32 [T]

Files are mapped into memory and untrusted: every count is checked against the size of the file when the cache is opened, every value
when its window is read. Whatever is wrong raises CacheError with file, offset and what was expected. A cache may be read from several
threads and processes.

As a program, `logit_cache.py DIR` prints what a cache holds as JSON. With --check it also reads every window and every file's hash."""
import argparse
import hashlib
import json
import pathlib
import struct
import sys
from typing import NamedTuple

import numpy as np

MAGIC, VERSION = b"ESPLOGIT", 1
FIXED, DIGEST = 112, 64  # bytes of the header before the starts of its windows; hexadecimal digits of a SHA-256
MOST_VOCAB = MOST_SEQUENCE = 1 << 24
ROUNDING = 0.02  # by how much a row may miss the sum 1: F16 moves it by 0.8 % at most
MANIFEST_FORMAT = "espalier-manifest-1"


class CacheError(ValueError):
    """A cache that is unfinished, damaged or of another version. The message says where."""


def require(condition, *message):
    if not condition:
        raise CacheError("".join(map(str, message)))


class Window(NamedTuple):
    """Teacher distributions of T tokens. A row's probabilities, exp(log_probabilities) and rest, sum to 1."""
    ids: np.ndarray                # int32 [T, k], ascending in every row
    log_probabilities: np.ndarray  # float32 [T, k], natural logarithm of softmax(logits / temperature)
    rest: np.ndarray               # float32 [T], mass of all tokens that are not in ids


class Header(NamedTuple):
    vocab: int
    sequence: int
    k: int
    value_bytes: int
    threads: int
    temperature: float
    windows: int
    run: str

    def id_type(self):
        return np.dtype("<u2" if self.vocab <= 65536 else "<u4")

    def value_type(self):
        return np.dtype("<f2" if self.value_bytes == 2 else "<f4")

    def window_bytes(self):
        return self.sequence * (self.k * (self.id_type().itemsize + self.value_bytes) + 4) + DIGEST

    def file_bytes(self):
        return FIXED + DIGEST + self.windows * (8 + self.window_bytes())

    def shape(self):
        """What all files of a cache have in common."""
        return self.run, self.vocab, self.sequence, self.k, self.temperature


def parse_header(path, data):
    """The header of one file, whose bytes are `data`. Its SHA-256 is not checked yet."""
    require(len(data) >= FIXED + DIGEST, path, ": truncated: ", len(data), " bytes, the header alone has ", FIXED + DIGEST)
    magic, version, vocab, sequence, k, value_bytes, threads, temperature, windows, run = struct.unpack("<8s6IdQ64s", bytes(data[:FIXED]))
    require(magic == MAGIC, path, ": offset 0: this is not a file of teacher logits")
    require(version == VERSION, path, ": offset 8: version ", version, ", but this program reads ", VERSION)
    require(1 <= vocab <= MOST_VOCAB, path, ": offset 12: a vocabulary of ", vocab)
    require(1 <= sequence <= MOST_SEQUENCE, path, ": offset 16: windows of ", sequence, " tokens")
    require(1 <= k <= vocab, path, ": offset 20: ", k, " tokens kept of a vocabulary of ", vocab)
    require(value_bytes in (2, 4), path, ": offset 24: log-probabilities of ", value_bytes, " bytes, expected 2 or 4")
    require(threads >= 1, path, ": offset 28: ", threads, " threads")
    require(temperature > 0 and np.isfinite(temperature), path, ": offset 32: temperature ", temperature)
    header = Header(vocab, sequence, k, value_bytes, threads, temperature, windows, run.decode("latin-1"))
    require(windows >= 1 and header.file_bytes() == len(data), path, ": offset 40: ", windows, " windows of ", sequence, " tokens with ", k, " kept do not make ", len(data),
            " bytes: truncated or damaged")
    return header


class LogitFile:
    """One file of a cache: its header is checked here, a window when it is read."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        try:
            self._data = np.memmap(self.path, dtype=np.uint8, mode="r")
        except (OSError, ValueError) as error:  # numpy cannot map an empty file
            raise CacheError(f"{path}: cannot be read: {error}") from error
        self.header = parse_header(path, self._data)
        end = FIXED + 8 * self.header.windows
        require(bytes(self._data[end:end + DIGEST]) == hashlib.sha256(self._data[:end]).hexdigest().encode(), path, ": offset ", end,
                ": the SHA-256 of the header does not match; the file is damaged")
        self.starts = self._data[FIXED:end].view("<u8").tolist()
        for index, start in enumerate(self.starts):
            require(start < 1 << 62, path, ": offset ", FIXED + 8 * index, ": a window that starts at token ", start)

    def window(self, index):
        h = self.header
        offset = FIXED + 8 * h.windows + DIGEST + index * h.window_bytes()
        data, digest = np.split(self._data[offset:offset + h.window_bytes()], [-DIGEST])
        place = f"{self.path}: window {index} at offset {offset}: "
        require(hashlib.sha256(data).hexdigest().encode() == bytes(digest), place, "the SHA-256 does not match; the file is damaged")
        kept = h.sequence * h.k
        id_end = kept * h.id_type().itemsize
        value_end = id_end + kept * h.value_bytes
        ids = data[:id_end].view(h.id_type()).astype(np.int64).reshape(h.sequence, h.k)
        values = data[id_end:value_end].view(h.value_type()).astype(np.float32).reshape(h.sequence, h.k)
        return self._checked(place, ids, values, data[value_end:].view("<f4"))

    def _checked(self, place, ids, values, rest):
        """The window with every row scaled to the sum 1, because F16 rounds each probability by up to about a thousandth of itself."""
        vocab, k = self.header.vocab, self.header.k

        def refuse(bad, what):  # `bad` has a row for each token
            if bad.any():
                token = int(np.argmax(bad.reshape(len(rest), -1).any(1)))
                raise CacheError(f"{place}token {token}: {what(token)}")

        refuse(ids >= vocab, lambda t: f"id {ids[t].max()} is outside the vocabulary of {vocab}")
        refuse(ids[:, 1:] <= ids[:, :-1], lambda t: "an id is not above the previous one")
        refuse(~(np.isfinite(values) & (values <= 0)), lambda t: f"{values[t][~(np.isfinite(values[t]) & (values[t] <= 0))][0]} is not a log-probability")
        refuse(~((rest >= 0) & (rest <= (1 if k < vocab else 0))), lambda t: f"{rest[t]} is not the mass of the {vocab - k} other tokens")
        total = np.exp(values.astype(np.float64)).sum(1) + rest
        refuse(~(np.abs(total - 1) < ROUNDING), lambda t: f"probabilities sum to {total[t]}")
        return Window(ids.astype(np.int32), values - np.log(total).astype(np.float32)[:, None], (rest / total).astype(np.float32))


def read_manifest(directory):
    path = directory / "manifest.json"
    require(path.exists(), directory, ": there is no manifest.json, so this is not a finished cache of teacher logits; complete it with `espalier cache --resume`")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CacheError(f"{path}: cannot be read: {error}") from error
    require(isinstance(manifest, dict), path, ": expected a JSON object")
    require(manifest.get("format") == MANIFEST_FORMAT, path, ': key "format" is ', repr(manifest.get("format")), ", expected ", repr(MANIFEST_FORMAT))
    require(manifest.get("stage") == "cache", path, ": stage ", repr(manifest.get("stage")), ", expected 'cache'")
    for key in ("inputs", "options", "outputs"):
        require(isinstance(manifest.get(key), dict), path, f': key "{key}" is missing or not an object')
    for name in ("teacher", "text", "tokenizer", "token_ids"):
        require(isinstance(manifest["inputs"].get(name), str), path, f': key "inputs.{name}" is missing or not a string')
    bos = manifest["options"].get("window_bos")
    require(bos is None or (isinstance(bos, int) and not isinstance(bos, bool)), path, ': key "options.window_bos" is not a token id')
    require(manifest["outputs"], path, ': key "outputs" names no file')
    return manifest


class LogitCache:
    """A directory of `espalier cache`. `header` has the shape of all windows (vocab, sequence, k, temperature). `teacher`, `text`,
    `token_ids` and `tokenizer` are the SHA-256 of what the logits were computed from; `token_ids` is that of the text's token ids as
    little-endian int32. `bos` is the token over the first token of each window, or None. `offset` is the first start of the grid."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.manifest = read_manifest(self.directory)
        inputs, outputs = self.manifest["inputs"], self.manifest["outputs"]
        self.teacher, self.text, self.tokenizer, self.token_ids = (inputs[n] for n in ("teacher", "text", "tokenizer", "token_ids"))
        self.bos = self.manifest["options"].get("window_bos")
        self._files, self._places = [], {}  # start -> (file, index of the window in it)
        for number in range(len(outputs)):
            name = f"logits-{number:05}.bin"
            require(name in outputs, self.directory / "manifest.json", ': key "outputs" has ', len(outputs), " files, but no ", name)
            self._add(LogitFile(self.directory / name))
        self.header = self._files[0].header

    def _add(self, file):
        first = (self._files or [file])[0]
        sequence = first.header.sequence
        if not self._files:
            self.offset = file.starts[0] % sequence
        require(file.header.shape() == first.header.shape(), file.path, ": comes from another run than ", first.path.name)
        for index, start in enumerate(file.starts):
            require(start % sequence == self.offset, file.path, ": window ", index, " starts at token ", start, ", off the grid of ", sequence, " from ", self.offset)
            require(start not in self._places, file.path, ": window ", index, ": token ", start, " starts a second window")
            self._places[start] = file, index
        self._files.append(file)

    @property
    def starts(self):
        """Of all windows, in the order of the files, which is the order in which training with the cache's seed reads them."""
        return list(self._places)

    def __len__(self):
        return len(self._places)

    def __contains__(self, start):
        return start in self._places

    def on_grid(self, start):
        """The window that stands for any start: later epochs shift their windows, a cache has those of one grid."""
        return start // self.header.sequence * self.header.sequence + self.offset

    def window(self, start):
        require(start in self._places, self.directory, ": no window starts at token ", start)
        file, index = self._places[start]
        return file.window(index)

    def check(self):
        """Reads every window and compares every file with its hash in the manifest."""
        for start in self._places:
            self.window(start)
        for file in self._files:
            digest = hashlib.sha256(file._data).hexdigest()
            expected = self.manifest["outputs"][file.path.name]
            require(digest == expected, file.path, ": SHA-256 ", digest, ", but the manifest has ", expected)


def main():
    arguments = argparse.ArgumentParser(description="Says what a cache of teacher logits holds.")
    arguments.add_argument("directory", help="written by `espalier cache`")
    arguments.add_argument("--check", action="store_true", help="read every window and compare all hashes")
    given = arguments.parse_args()
    try:
        cache = LogitCache(given.directory)
        if given.check:
            cache.check()
    except CacheError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(3)
    h = cache.header
    print(json.dumps({"windows": len(cache), "sequence": h.sequence, "top_k": h.k, "vocab": h.vocab, "temperature": h.temperature, "value_bytes": h.value_bytes, "bos": cache.bos,
                      "teacher": cache.teacher, "text": cache.text, "checked": given.check}))


if __name__ == "__main__":
    main()
