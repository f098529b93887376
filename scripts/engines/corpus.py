# SPDX-License-Identifier: Apache-2.0
"""A text as token ids, as espalier reads it (docs/text.md): documents with the end token between them, each tokenized once without tokens around
it; control tokens that are written out are those tokens. The ids are stored as little-endian int32 and mapped into memory by every rank."""
import hashlib
import json
import os
import pathlib

import numpy as np

from options import INPUT, Fault, require


def _tokenizer(directory):
    from transformers import AutoTokenizer
    try:
        return AutoTokenizer.from_pretrained(str(directory))
    except (OSError, ValueError) as error:
        raise Fault(INPUT, directory, ": transformers cannot read the tokenizer: ", error) from error


def window_bos(tokenizer):
    """What stands over the first token of each window: BOS where the model adds it."""
    ids = tokenizer("a")["input_ids"]
    return tokenizer.bos_token_id if ids and tokenizer.bos_token_id is not None and ids[0] == tokenizer.bos_token_id else None


def _decoded(path):
    try:
        return path.read_bytes().decode("utf-8").removeprefix("\ufeff")
    except (OSError, ValueError) as error:
        raise Fault(INPUT, path, ": cannot be read as UTF-8 text: ", error) from error


def _text_of(line, place):
    try:
        value = json.loads(line)
    except ValueError as error:
        raise Fault(INPUT, place, ": not JSON: ", error) from error
    text = value.get("text") if isinstance(value, dict) else value
    require(isinstance(text, str), INPUT, place, ": expected a text")
    return text


def _files(path):
    """Names that begin with a dot are left out, also of folders."""
    if not path.is_dir():
        return [path]
    return sorted((p for p in path.rglob("*") if p.is_file() and not any(part.startswith(".") for part in p.relative_to(path).parts)), key=str)


def documents(path):
    """The texts at `path`: a file, *.jsonl, or a directory of both. Line breaks are "\\n"; empty ones are left out."""
    out = []
    for file in _files(pathlib.Path(path)):
        text = _decoded(file)
        if file.suffix in (".jsonl", ".ndjson"):
            out += [_text_of(line, f"{file}:{i}") for i, line in enumerate(text.split("\n"), 1) if line.strip()]
        else:
            out.append(text)
    return [text for text in (t.replace("\r\n", "\n").replace("\r", "\n") for t in out) if text]


def text_hash(path):
    path = pathlib.Path(path)
    sha = lambda file: hashlib.sha256(file.read_bytes()).hexdigest()
    if not path.is_dir():
        return sha(path)
    names = sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())
    return hashlib.sha256("".join(f"{name} {sha(path / name)}\n" for name in names).encode()).hexdigest()


def tokenize(directory, path, out, control_tokens=True):
    """Writes the ids of the text at `path` to `out` and what is known of them to out.json; does nothing when both are there for this text and
    tokenizer. Returns {"text": sha256, "token_ids": sha256, "bos": id or None, "tokens": number, "control_tokens": bool}."""
    texts = documents(path)
    require(texts, INPUT, path, ": the text is empty")
    about = {"text": text_hash(path), "control_tokens": control_tokens}
    known = out.with_suffix(".json")
    if known.exists() and out.exists():
        stored = json.loads(known.read_text())
        if all(stored.get(key) == value for key, value in about.items()) and hashlib.sha256(out.read_bytes()).hexdigest() == stored["token_ids"]:
            return stored
    tokenizer = _tokenizer(directory)
    end = tokenizer.eos_token_id
    require(len(texts) == 1 or end is not None, INPUT, path, ": has several documents, and the tokenizer has no end token to put between them")
    pieces = [tokenizer(text, add_special_tokens=False, split_special_tokens=not control_tokens, verbose=False)["input_ids"] for text in texts]
    ids = np.asarray([i for n, piece in enumerate(pieces) for i in ([end] if n else []) + piece], dtype="<i4")
    require(len(ids), INPUT, path, ": the text has no tokens")
    about.update(token_ids=hashlib.sha256(ids.data).hexdigest(), bos=window_bos(tokenizer), tokens=len(ids), most=int(ids.max()))
    for file, data in ((out, ids.tobytes()), (known, json.dumps(about).encode())):
        unfinished = file.with_name(file.name + ".tmp")
        unfinished.write_bytes(data)
        os.replace(unfinished, file)
    return about


def same_tokenizers(a, b):
    return _tokenizer(a).get_vocab() == _tokenizer(b).get_vocab()
