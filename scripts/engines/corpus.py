# SPDX-License-Identifier: Apache-2.0
"""A text as token ids, as espalier reads it (lib/base/text/windows.h): the whole text tokenized once, without special tokens; special tokens
written out in the text are text. The ids are stored as little-endian int32 and mapped into memory by every rank."""
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


def tokenize(directory, path, out):
    """Writes the ids of the text at `path` to `out` and what is known of them to out.json; does nothing when both are there for this text and
    tokenizer. Returns {"text": sha256, "token_ids": sha256, "bos": id or None, "tokens": number}."""
    try:
        content = pathlib.Path(path).read_bytes()
        text = content.decode("utf-8")
    except (OSError, ValueError) as error:
        raise Fault(INPUT, path, ": cannot be read as UTF-8 text: ", error) from error
    require(text, INPUT, path, ": the file is empty")
    about = {"text": hashlib.sha256(content).hexdigest()}
    known = out.with_suffix(".json")
    if known.exists() and out.exists():
        stored = json.loads(known.read_text())
        if stored["text"] == about["text"] and hashlib.sha256(out.read_bytes()).hexdigest() == stored["token_ids"]:
            return stored
    tokenizer = _tokenizer(directory)
    ids = np.asarray(tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"], dtype="<i4")
    require(len(ids), INPUT, path, ": the text has no tokens")
    about.update(token_ids=hashlib.sha256(ids.data).hexdigest(), bos=window_bos(tokenizer), tokens=len(ids), most=int(ids.max()))
    for file, data in ((out, ids.tobytes()), (known, json.dumps(about).encode())):
        unfinished = file.with_name(file.name + ".tmp")
        unfinished.write_bytes(data)
        os.replace(unfinished, file)
    return about


def same_tokenizers(a, b):
    return _tokenizer(a).get_vocab() == _tokenizer(b).get_vocab()
