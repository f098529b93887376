#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden values of tokenizers that come without tokenizer.json, on the texts of scripts/golden/text.py.

Writes tests/golden/vocab_<name>/ with golden.json (as text.py has it) for
  gpt2         vocab.json, merges.txt, special_tokens_map.json                       ids: transformers' GPT2Tokenizer
  qwen2        vocab.json, merges.txt, added_tokens.json, tokenizer_config.json      ids: transformers' Qwen2Tokenizer
  tekken-v3    tekken.json without special_tokens, with tokens beyond its size       ids: tiktoken by ranks
  tekken-v11   tekken.json with special_tokens, chat_template.json                   ids: tiktoken by ranks
mistral-common must give the same ids for the latter two.

Command: python scripts/golden/vocabulary_files.py    (needs transformers, tiktoken and mistral-common; versions are stored in golden.json)
"""
import base64, importlib.metadata, json, re
import tiktoken
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Tokenizer, Qwen2Tokenizer
from text import QWEN2, ROOT, TEKKEN, stress, training_text, write

END = "<|endoftext|>"


def versions(*packages):
    return {"command": "python scripts/golden/vocabulary_files.py", "versions": {p: importlib.metadata.version(p) for p in packages}}


def trained(pattern, vocab, special=()):
    tokenizer = Tokenizer(models.BPE())
    byte = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    tokenizer.pre_tokenizer = byte if pattern is None else pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), byte])
    tokenizer.train_from_iterator(training_text(), trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=list(special), initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    return json.loads(tokenizer.to_str())["model"]


def write_bpe(folder, model, line_end="\n"):
    folder.mkdir(exist_ok=True)
    write(folder / "vocab.json", model["vocab"])
    lines = ["#version: 0.2"] + [" ".join(m) for m in model["merges"]]
    (folder / "merges.txt").write_bytes((line_end.join(lines) + line_end).encode())


def transformers_golden(tokenizer, texts):
    out = {}
    for name, raw in texts.items():
        text = raw.decode(errors="replace")
        tokenizer.backend_tokenizer.encode_special_tokens = True
        plain = tokenizer.backend_tokenizer.encode(text).ids
        tokenizer.backend_tokenizer.encode_special_tokens = False
        parsed = tokenizer.backend_tokenizer.encode(text).ids
        assert parsed == tokenizer(text)["input_ids"]
        out[name] = {"plain": plain, "parsed": parsed, "decoded": tokenizer.backend_tokenizer.decode(parsed, skip_special_tokens=True).encode().hex()}
    return {**versions("transformers", "tokenizers"), "texts": out}


def files_gpt2(texts):
    folder = ROOT / "vocab_gpt2"
    write_bpe(folder, trained(None, 500, [END, "<s>"]), "\r\n")
    write(folder / "special_tokens_map.json", {"bos_token": "<s>", "eos_token": {"content": END, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}})
    write(folder / "config.json", {"model_type": "gpt2"})
    write(folder / "golden.json", transformers_golden(GPT2Tokenizer.from_pretrained(folder), texts))


def files_qwen2(texts):
    folder = ROOT / "vocab_qwen2"
    model = trained(QWEN2, 500)
    write_bpe(folder, model)
    n = len(model["vocab"])
    added = [(END, True, {}), ("<|im_start|>", True, {}), ("<|im_end|>", True, {}), ("<tool>", False, {}), ("\u2126", False, {}),
             ("<|left|>", True, {"lstrip": True}), ("<|right|>", True, {"rstrip": True}), ("    ", False, {"normalized": False})]
    write(folder / "added_tokens.json", {t: n + i for i, (t, _, _) in enumerate(added)})
    decoder = {str(n + i): {"content": t, "lstrip": False, "normalized": not special, "rstrip": False, "single_word": False, "special": special, **more}
               for i, (t, special, more) in enumerate(added)}
    write(folder / "tokenizer_config.json", {
        "tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": decoder, "additional_special_tokens": ["<|im_start|>", "<|im_end|>"], "bos_token": None,
        "eos_token": "<|im_end|>", "pad_token": END, "unk_token": None, "errors": "replace", "chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}"})
    write(folder / "golden.json", transformers_golden(Qwen2Tokenizer.from_pretrained(folder), texts))


def ranked(model, more):
    """Tokens by rank: the bytes, what merges make in their order, and `more`, which no merge need make."""
    alphabet = {c: b for b, c in tiktoken_alphabet().items()}
    tokens = [bytes([b]) for b in range(256)]
    for left, right in model["merges"]:
        token = bytes(alphabet[c] for c in left + right)
        if token not in tokens:
            tokens.append(token)
    return tokens + [t for t in more if t not in tokens]


def tiktoken_alphabet():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    other = (c for c in range(0x100, 0x200))
    return {b: chr(b) if b in printable else chr(next(other)) for b in range(256)}


def write_tekken(name, texts, version, n_special, specials, beyond):
    folder = ROOT / f"vocab_{name}"
    # A word that only the look-up of whole words finds, and one whose parts come behind it in rank.
    tokens = ranked(trained(TEKKEN, 500), [b"Mistral", b"zzqzzq", b"zzq", b"zzqzz", "n\u0303".encode()])
    config = {"pattern": TEKKEN, "num_vocab_tokens": len(tokens), "default_vocab_size": len(tokens) + n_special - beyond,
              "default_num_special_tokens": n_special, "version": version}
    data = {"config": config, "vocab": [{"rank": i, "token_bytes": base64.b64encode(t).decode(), "token_str": None} for i, t in enumerate(tokens)]}
    if specials:
        data["special_tokens"] = [{"rank": i, "token_str": t, "is_control": True} for i, t in enumerate(specials)]
    write(folder / "tekken.json", data)
    kept = tokens[:len(tokens) - beyond]
    bpe = tiktoken.Encoding(name=name, pat_str=TEKKEN, mergeable_ranks={t: i for i, t in enumerate(kept)}, special_tokens={})
    tekken = Tekkenizer.from_file(folder / "tekken.json")
    names = [str(getattr(t["token_str"], "value", t["token_str"])) for t in tekken._all_special_tokens]
    ids = {t: i for i, t in enumerate(names)}
    split = re.compile("|".join(re.escape(t) for t in sorted(names, key=len, reverse=True)))
    out = {}
    for text_name, raw in texts.items():
        text = raw.decode(errors="replace")
        encode = lambda part: [i + n_special for i in bpe.encode_ordinary(part)]
        plain = [ids["<s>"], *encode(text)]
        assert plain == tekken.encode(text, bos=True, eos=False), text_name
        parsed, at = [ids["<s>"]], 0
        for match in split.finditer(text):
            parsed += encode(text[at:match.start()]) + [ids[match.group()]]
            at = match.end()
        parsed += encode(text[at:])
        decoded = bpe.decode([i - n_special for i in parsed if i >= n_special])
        out[text_name] = {"plain": plain, "parsed": parsed, "decoded": decoded.encode().hex()}
    write(folder / "golden.json", {**versions("tiktoken", "mistral-common"), "texts": out})


def main():
    texts = stress()
    files_gpt2(texts)
    files_qwen2(texts)
    write_tekken("tekken-v3", texts, "v3", 30, [], 3)
    write_tekken("tekken-v11", texts, "v11", 12, ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "<|endoftext|>", "[THINK]", "<tool>"], 0)
    write(ROOT / "vocab_tekken-v11" / "chat_template.json", {"chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}"})


if __name__ == "__main__":
    main()
