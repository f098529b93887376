#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden values of the tokenizers: small tokenizers of each kind, and the ids the packages `tokenizers` and `sentencepiece` give.

Writes
  tests/golden/text_stress.json        named texts as hexadecimal bytes (some are broken UTF-8)
  tests/golden/text_<name>/            tokenizer.json, tokenizer_config.json and golden.json for
    gpt-2 smollm llama-bpe qwen2 qwen35 tekken gpt-4o    byte-level BPE of ~600 tokens, trained on the texts below
    spm metaspace gemma                SentencePiece BPE with byte fallback, as `transformers` would convert it
  tests/golden/text_spm/pieces.json    the SentencePiece model itself: pieces, scores, types, and sentencepiece's ids
  tests/golden/text_model-<name>/      tokenizer.model, tokenizer_config.json and golden.json (sentencepiece's ids) for
    llama gemma                        the models that spm and gemma are converted from
    unigram nmt                        unigram models: identity with byte fallback; nmt_nfkc, extra spaces removed, unknown tokens
    plain                              a small model that is refused (no golden.json)
golden.json: for each text the ids with added tokens left as text ("plain"), parsed ("parsed"), and the text decoded from the latter
("decoded", hexadecimal). Broken UTF-8 is read with errors="replace".

Command: python scripts/golden/text.py    (versions are stored in golden.json)
"""
import importlib.metadata, io, json, pathlib, random
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ROOT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
QWEN35 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEKKEN = rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}|{REST}"
SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
GPT4O = rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{SHORT}|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{SHORT}|\p{{N}}{{1,3}}|{REST}"
PATTERNS = {"llama-bpe": LLAMA3, "qwen2": QWEN2, "qwen35": QWEN35, "tekken": TEKKEN, "gpt-4o": GPT4O}
WHOLE_WORDS = ("llama-bpe", "tekken")
VOCAB = 600

TEXTS = {
    "empty": "",
    "space": " ",
    "spaces": "   ",
    "newline": "\n",
    "english": "The quick brown fox, who hadn't slept for 3 days, jumps over the lazy dog. It's the Fox's 2nd jump; isn't it?",
    "contractions": "I'm you're he's she'll we've they'd can't I'M YOU'RE HE'S SHE'LL WE'VE THEY'D CAN'T it'\u017f 'tis o'clock rock'n'roll ''s",
    "code": "def f(x, *args):\n\tif x >= 0x1F:\n        return x**2  # square\n    return {'a': [1, 2.5e-3]}\n\n\nint main() { printf(\"%d\\n\", i++); }\n",
    "chinese": "我想在苹果公司工作1314151天，你好世界。価格は１２３円です。한국어 문장입니다.",
    "arabic": "مرحبا بالعالم ١٢٣٤٥ السلام عليكم، كيف حالك؟ שלום עולם",
    "indic": "नमस्ते दुनिया १२३ ไทยภาษา กำ កាន់តែពិសេស தமிழ்",
    "emoji": "🦙 👨‍👩‍👧‍👦 🏳️‍🌈 😶‍🌫️ 👍🏽 1️⃣ ✅🚀(normal) \U0001F1E9\U0001F1EA",
    "combining": "e\u0301 e\u0323\u0302 \u00e9 A\u030a \u212b \u2126 \u03a9 \u1e9b\u0323 \u0301alone n\u0303 \u1100\u1161\u11a8 가각 \ufb01 \u0130i\u0307 q\u0307\u0323 q\u0323\u0307",
    "crlf": "line one\r\nline two\r\n\r\nline four\rline five\n\rend\r\n",
    "white": "a  b   c    d\t\te\t \tf \n g\n \nh\n\n\n\n   i  \u00a0j\u2003\u3000k\u180el\u200bm\u2028n\u2029o\x0b\x0cp\x1cq\x85r   ",
    "digits": "0 1 12 123 1234 12345678 3.14 1,000,000 ½ ² Ⅷ ① ٣٤ १२ ๓๔ 𝟘𝟙 \U00011f50\U00011f51 \U0001e4f0 \U00011de0 v2 x86 007abc",
    "new_scripts": "\U00031350\U000313af \u1c89\u1c8a \U0001e030 \U00016d40 \U00010d4a.\U00010d40 \U0002ebf0!",
    "controls": "a\x00b\x01\x7f\x9f\ufeff\u200d\ufffd\uffff\U0010ffff\U000e0041",
    "specials": "<s>hi</s> <unk><|endoftext|><|im_start|>user\nhello<|im_end|> <|im_st <|left|>a <|left|> b  <|right|>  c<|right|>\n\td <tool> <tool>x<tool <0x41>\u2581\u2581x",
    "lookalikes": "\u0120the \u010a \u2581the <0x0A> [PAD5] \\n &amp;",
    "repeated": "a" * 70 + " " * 33 + "ab" * 40 + "\n" * 17 + "the " * 20 + "!" * 19 + "é" * 12,
    "urls": "https://example.org/a_b-c/?q=1&r=%20#top mailto:me@x.io C:\\dir\\file.txt",
}
CASES = {  # neither trained on nor mixed
    "cases": "camelCase HTTPServer iPhone XMLHttpRequest ǅelo ΑΒΓδε ПРИвет ALLCAPS'S McDonald's I'LL we'Ve a/b//c/\n/d +/\r\n ʰʷa \u0301É\u0301e\u0301Xy \u1c89\u1c8aA a\ua7daB",
}
BROKEN = {
    "broken_lone": b"a\x80b\xbf\xffc\xfe\xc0\xaf",
    "broken_truncated": b"\xe4\xbd\xa0\xe4\xbd caf\xc3 \xf0\x9f\xa6",
    "broken_surrogate": b"x\xed\xa0\x80y\xed\xbf\xbf\xf4\x90\x80\x80z\xf8\x88\x80\x80\x80",
    "broken_overlong": b"\xe0\x80\xaf\xf0\x80\x80\xaf\xc1\x81 \xf0\x9f\xff\xe2\x82",
}


def stress():
    """All texts as bytes, with a long random mixture of the others' parts: byte caches and neighbourhoods."""
    texts = {name: text.encode() for name, text in TEXTS.items()}
    texts.update(BROKEN)
    rng = random.Random(20)
    parts = [text[i:i + rng.randint(1, 9)] for text in TEXTS.values() for i in range(0, len(text), 7)]
    texts["mixture"] = "".join(rng.choice(parts) for _ in range(420)).encode()
    texts.update((name, text.encode()) for name, text in CASES.items())
    return texts


def training_text():
    base = [t for n, t in TEXTS.items() if n not in ("specials", "new_scripts", "controls", "lookalikes")]
    return base * 3 + [t.lower() for t in base] + ["the then there these they them this that " * 4, "ing ion ed er est " * 4]


def byte_level(name):
    regex = PATTERNS.get(name)
    tokenizer = Tokenizer(models.BPE(ignore_merges=name in WHOLE_WORDS))
    byte = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex is None)
    if name == "smollm":
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte])
    elif regex:
        split = pre_tokenizers.Split(Regex(regex), "removed", invert=True) if name == "gpt-4o" else pre_tokenizers.Split(Regex(regex), "isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte])
    else:
        tokenizer.pre_tokenizer = byte
    if name in ("qwen2", "qwen35"):
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    # SmolLM's vocabulary lacks bytes that its training text never had: such bytes are dropped.
    alphabet = [] if name == "smollm" else pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(training_text(), trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=special if name == "smollm" else [], initial_alphabet=sorted(alphabet), show_progress=False))
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    if name != "smollm":
        tokenizer.add_special_tokens(special)
    if name in WHOLE_WORDS:
        tokenizer.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", tokenizer.token_to_id("<|endoftext|>"))])])
    if name in ("gpt-2", "qwen2"):
        tokenizer.add_special_tokens([AddedToken("<|left|>", lstrip=True), AddedToken("<|right|>", rstrip=True)])
        tokenizer.add_tokens([AddedToken("<tool>", normalized=True), AddedToken("\u2126", normalized=True), AddedToken("    ", normalized=False)])
    data = json.loads(tokenizer.to_str())
    if name in WHOLE_WORDS:  # tokens that no merge makes any more: only ignore_merges finds them
        data["model"]["merges"] = data["model"]["merges"][:-60]
    return data


RUNS = ["\n" * n for n in range(1, 9)] + ["\u2581" * n for n in range(2, 17)] + ["\t" * n for n in range(2, 5)]
LLAMA = {"allow_whitespace_only_pieces": True}
GEMMA = {"allow_whitespace_only_pieces": True, "add_dummy_prefix": False, "user_defined_symbols": RUNS + ["<tool>", "<table>"],
         "control_symbols": ["<|left|>"], "pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3, "bos_piece": "<bos>", "eos_piece": "<eos>"}


def train_pieces(vocab_size=560, **settings):
    """A SentencePiece model as bytes."""
    lines = [line for text in training_text() for line in text.splitlines() if line]
    out = io.BytesIO()
    settings = {"model_type": "bpe", "byte_fallback": True, "split_digits": True, "normalization_rule_name": "identity",
                "remove_extra_whitespaces": False, "character_coverage": 0.98, **settings}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=out, vocab_size=vocab_size, num_threads=1, minloglevel=2, **settings)
    return out.getvalue()


UNIGRAM = {
    "unigram": {"vocab_size": 480, "model_type": "unigram", "hard_vocab_limit": False},
    "nmt": {"vocab_size": 480, "model_type": "unigram", "hard_vocab_limit": False, "byte_fallback": False, "split_digits": False,
            "normalization_rule_name": "nmt_nfkc", "remove_extra_whitespaces": True, "user_defined_symbols": ["<tool>", "\uff21\uff22"]},
}


def write_model(name, raw, texts):
    """A model with its ids and decoded texts."""
    folder = ROOT / f"text_model-{name}"
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.model").write_bytes(raw)
    model = sentencepiece.SentencePieceProcessor(model_proto=raw)
    ids = {text: model.encode(bytes_.decode(errors="replace")) for text, bytes_ in texts.items()}
    write(folder / "golden.json", {**versions(), "ids": ids, "decoded": {text: model.decode(i).encode().hex() for text, i in ids.items()}})


def read_pieces(raw):
    model = sentencepiece.SentencePieceProcessor(model_proto=raw)
    kind = lambda i: 2 if model.is_unknown(i) else 3 if model.is_control(i) else 6 if model.is_byte(i) else 1
    ids = range(model.get_piece_size())
    return model, {"pieces": [model.id_to_piece(i) for i in ids], "scores": [model.get_score(i) for i in ids], "types": [kind(i) for i in ids]}


def merges_of(pieces, order):
    vocab = {piece: i for i, piece in enumerate(pieces["pieces"])}
    merges = []
    for piece, score in zip(pieces["pieces"], pieces["scores"]):
        local = [(piece[:i], piece[i:], score) for i in range(1, len(piece)) if piece[:i] in vocab and piece[i:] in vocab]
        merges += sorted(local, key=lambda m: (vocab[m[0]], vocab[m[1]]))
    return vocab, [(a, b) for a, b, _ in sorted(merges, key=order, reverse=True)]


def convert_pieces(pieces, metaspace):
    """What transformers' converter makes of a SentencePiece BPE model: merges are all splits into two pieces, by score."""
    vocab, merges = merges_of(pieces, lambda m: m[2])
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="first", split=False)
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    tokenizer.add_special_tokens([AddedToken("<|left|>", lstrip=True, normalized=False)])
    tokenizer.add_tokens([AddedToken("<|right|>", rstrip=True, normalized=True)])
    return json.loads(tokenizer.to_str())


def convert_gemma(pieces):
    """The same for Gemma: no space in front, user-defined pieces as added tokens, equal scores by the lengths of the parts."""
    vocab, merges = merges_of(pieces, lambda m: (m[2], len(m[0]), len(m[1])))
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in ("<pad>", "<eos>", "<bos>", "<unk>", "<|left|>")])
    # Some of the runs are added tokens, others ordinary ones: published files have either.
    added = ["\n" * n for n in range(1, 5)] + ["\u2581" * n for n in range(2, 9)] + ["<tool>", "<table>"]
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in added])
    tokenizer.add_tokens([AddedToken("<|right|>", rstrip=True, normalized=True)])
    return json.loads(tokenizer.to_str())


def config(name, data):
    known = {t["content"] for t in data["added_tokens"]}
    end = next(t for t in ("<|endoftext|>", "</s>", "<eos>") if t in known)
    out = {"eos_token": end, "tokenizer_class": "PreTrainedTokenizerFast",
           "chat_template": "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"}
    if name in WHOLE_WORDS:
        out["bos_token"] = {"__type": "AddedToken", "content": "<|endoftext|>", "special": True}
    if "<s>" in known:
        out.update(bos_token="<s>", unk_token="<unk>", add_bos_token=True, add_eos_token=False)
    if name == "gemma":
        out.update(bos_token="<bos>", pad_token="<pad>", unk_token="<unk>")
    return out


def versions():
    return {"command": "python scripts/golden/text.py", "versions": {p: importlib.metadata.version(p) for p in ("tokenizers", "sentencepiece")}}


def golden(data, texts):
    tokenizer = Tokenizer.from_str(json.dumps(data))
    out = {}
    for name, raw in texts.items():
        text = raw.decode(errors="replace")
        tokenizer.encode_special_tokens = True
        plain = tokenizer.encode(text).ids
        tokenizer.encode_special_tokens = False
        parsed = tokenizer.encode(text).ids
        out[name] = {"plain": plain, "parsed": parsed, "decoded": tokenizer.decode(parsed, skip_special_tokens=True).encode().hex()}
    return {**versions(), "texts": out}


def write(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n")


def main():
    texts = stress()
    write(ROOT / "text_stress.json", {name: raw.hex() for name, raw in texts.items()})
    raw = {"llama": train_pieces(**LLAMA), "gemma": train_pieces(600, **GEMMA)}
    for name, data in raw.items():
        write_model(name, data, texts)
        write(ROOT / f"text_model-{name}" / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer", "add_bos_token": name == "gemma"})
    for name, settings in UNIGRAM.items():
        write_model(name, train_pieces(**settings), texts)
    (ROOT / "text_model-plain").mkdir(exist_ok=True)
    (ROOT / "text_model-plain" / "tokenizer.model").write_bytes(train_pieces(260, byte_fallback=False))
    model, pieces = read_pieces(raw["llama"])
    pieces["ids"] = {name: model.encode(text.decode(errors="replace")) for name, text in texts.items()}
    built = {name: byte_level(name) for name in ("gpt-2", "smollm", *PATTERNS)}
    built["spm"], built["metaspace"] = convert_pieces(pieces, False), convert_pieces(pieces, True)
    built["gemma"] = convert_gemma(read_pieces(raw["gemma"])[1])
    for name, data in built.items():
        folder = ROOT / f"text_{name}"
        write(folder / "tokenizer.json", data)
        write(folder / "tokenizer_config.json", config(name, data))
        write(folder / "golden.json", golden(data, texts))
    write(ROOT / "text_spm" / "pieces.json", pieces)


if __name__ == "__main__":
    main()
