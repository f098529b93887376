#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden values of the tokenizers on a long text: 200 kB of many scripts, code, emoji, runs of white space, digits and broken UTF-8.

The text is not stored: tests/base/text/long_text.h makes the same one of the same material. Writes
  tests/golden/text_long/material.json   fragments and ranges of code points the text is stitched from, seed, length and SHA-256 of the text
  tests/golden/text_long/<name>.json     for each fixture of scripts/golden/text.py: count and SHA-256 of its ids for the whole text, and the first
                                         8 digits of the SHA-256 for each 1000 bytes of it, so that a difference points to a place
Ids are hashed as decimal numbers with spaces between them. "plain": added tokens stay text; "parsed": they become their ids. Models of the package
`sentencepiece` know no difference, and have "plain" only.

Command: python scripts/golden/long_text.py [name ...]    (versions are stored beside the values)
"""
import hashlib, importlib.metadata, json, pathlib, sys
import sentencepiece
from tokenizers import Tokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden"
SEED, BYTES, PIECE = 20260801, 200_000, 1000

SENTENCES = [
    "The committee hadn't agreed; \"we'll vote again\", she said (twice!), and they did. ",
    "Größere Übungen: daß die Straße naß ist, weiß jeder außer Jürgen. ",
    "L'été, où l'œuvre fut achevée, « déjà vu » n'était qu'un mot. ",
    "¿Dónde está el niño? ¡Mañana será otro día, señor! ",
    "Não há razão para que a ação não avance às três. ",
    "Zażółć gęślą jaźń; příliš žluťoučký kůň úpěl ďábelské ódy. ",
    "Съешь же ещё этих мягких французских булок, да выпей чаю. ",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία· τι λες; ",
    "İstanbul'da ığdır çiçeği, şöyle böyle. Tiếng Việt có nhiều dấu: ưỡn, ngoằn ngoèo. ",
    "קְטֹרֶת וְסַמִּים: עוף גוזל, שלום! ",
    "نص حكيم له سر قاطع وذو شأن عظيم ـــ قُلْ هُوَ ٱللَّهُ. گچپژ اردو ٹھیک۔ ",
    "यह वाक्य हिन्दी में है; क्षत्रिय ज्ञान श्रम। বাংলা ভাষা সুন্দর। தமிழ் மொழி அழகு. తెలుగు ലിപി ಕನ್ನಡ. ",
    "ภาษาไทยไม่มีช่องว่างระหว่างคำ น้ำใจ เป็นมนุษย์สุดประเสริฐ ພາສາລາວ မြန်မာစာ ភាសាខ្មែរ ",
    "天地玄黃,宇宙洪荒。日月盈昃,辰宿列張。简体与繁體混排,共１２３個字。 ",
    "いろはにほへと ちりぬるを。カタカナとｶﾀｶﾅ、ー〜。東京都千代田区１−２−３ ",
    "다람쥐 헌 쳇바퀴에 타고파. 한국어는 교착어이다! ᄒᆞᆫ글 ",
    "አማርኛ ፊደል፡ ሰላም። ᎣᏏᏲ ᐃᓄᒃᑎᑐᑦ ქართული հայերեն བོད་སྐད། ",
    "👩🏽‍🚀👨‍👩‍👧‍👦🏳️‍⚧️🇺🇳🇩🇪❤️‍🔥☎️✌🏿#️⃣ ᵃᵇ ㎏ ﬃ ① ½ ℃ ™ ",
    "Z̷̢͖a̴͚͐l̵̪̽g̸̨̀o̶͔͠ e\u0301\u0323 o\u0302\u0303 \u1100\u1161\u11a8\u1112\u1161\u11ab ",
    "for (size_t i = 0; i < n; ++i) {\n\tsum += x[i] * 0x7fULL; // O(n)\n}\r\n",
    "    def __init__(self, *, a: int = 1_000) -> None:\n        self.a = a  # TODO?\n\n\n",
    "SELECT COUNT(*) FROM `t` WHERE a<>'b''c' AND d >= 1e-9;\n\n{\"k\": [null, true, -0.5E+10, \"\\u00e9\"]}\n",
    "<div class=\"a-b\">&nbsp;x&lt;y</div><!-- --> $\\frac{\\alpha}{2\\pi}$ \\\\server\\path ~/.rc ",
    "1,234,567.89 € 12:59:59 2024-02-29T00:00Z 007 +49 (0)30/123456-78 v1.2.3-rc4 ٣٫١٤ ९८७ ",
    "<s> </s><unk><bos><|endoftext|><|im_start|>x<|im_end|> <|left|>\t<|right|>  <tool><table> <0x0A> ▁▁a▁b ",
]
RANGES = [  # first and last code point
    (0x21, 0x7E), (0x41, 0x5A), (0x61, 0x7A), (0x61, 0x7A), (0xA0, 0x17F), (0x250, 0x2AF), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x52F),
    (0x531, 0x58A), (0x591, 0x5F4), (0x600, 0x6FF), (0x700, 0x74F), (0x900, 0x97F), (0x980, 0x9FE), (0xB82, 0xBFA), (0xC00, 0xC7F), (0xE01, 0xE5B),
    (0xE81, 0xEDF), (0xF00, 0xFDA), (0x1000, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x137C), (0x1780, 0x17F9), (0x1800, 0x18AA), (0x1E00, 0x1EFF),
    (0x1F00, 0x1FFE), (0x2010, 0x205E), (0x2070, 0x209C), (0x2100, 0x218B), (0x2190, 0x22FF), (0x2460, 0x257F), (0x2700, 0x27BF), (0x3000, 0x303F),
    (0x3041, 0x30FF), (0x3041, 0x3096), (0x4E00, 0x9FFF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFAD9), (0xFB00, 0xFDFF), (0xFE00, 0xFE0F),
    (0xFE70, 0xFEFC), (0xFF01, 0xFFEE), (0x10330, 0x1034A), (0x1D400, 0x1D7FF), (0x1F1E6, 0x1F1FF), (0x1F300, 0x1F64F), (0x1F900, 0x1F9FF),
    (0x20000, 0x2A6DF), (0xE0020, 0xE007F),
]
WHITE = [" ", " ", " ", "\n", "\t", "\r\n", "\r", "\u00a0", "\u2003", "\u3000", "\u200b", "\u2028", "\u0085", "\x0b", "\x0c", "\u2581"]


class Stitcher:
    """Knuth's 64-bit linear congruential generator (MMIX), upper bits, and the text it chooses."""

    def __init__(self, seed, fragments, ranges, white):
        self.state, self.fragments, self.ranges, self.white = seed, fragments, ranges, white

    def below(self, n):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % n

    def part(self):
        kind = self.below(10)
        if kind < 3:  # whole
            return self.fragments[self.below(len(self.fragments))]
        if kind < 6:  # cut anywhere, within a code point too
            fragment = self.fragments[self.below(len(self.fragments))]
            start, length = self.below(len(fragment)), 1 + self.below(40)
            return fragment[start:start + length]
        if kind < 8:
            first, last = self.ranges[self.below(len(self.ranges))]
            run = "".join(chr(first + self.below(last - first + 1)) for _ in range(1 + self.below(12)))
            return (run + (" " if self.below(2) else "")).encode()
        if kind < 9:
            return self.white[self.below(len(self.white))] * (1 + self.below(6))
        return b"".join(b"%d" % self.below(10) for _ in range(1 + self.below(9)))

    def text(self, length):
        out = b""
        while len(out) < length:
            out += self.part()
        return out[:length]


def digest(ids):
    return hashlib.sha256(" ".join(map(str, ids)).encode()).hexdigest()


def summary(encode, text):
    ids = encode(text.decode(errors="replace"))
    parts = [digest(encode(text[i:i + PIECE].decode(errors="replace")))[:8] for i in range(0, len(text), PIECE)]
    return {"count": len(ids), "sha256": digest(ids), "pieces": " ".join(parts)}


def golden(folder, text):
    if (folder / "tokenizer.json").exists():
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

        def encode(plain):
            tokenizer.encode_special_tokens = plain
            return lambda part: tokenizer.encode(part).ids
        return {"plain": summary(encode(True), text), "parsed": summary(encode(False), text)}
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    return {"plain": summary(model.encode, text)}


def write(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=True, indent=0) + "\n")


def main():
    stress = json.loads((ROOT / "text_stress.json").read_text())
    fragments = [bytes.fromhex(stress[name]) for name in sorted(stress) if stress[name]] + [s.encode() for s in SENTENCES]
    text = Stitcher(SEED, fragments, RANGES, [w.encode() for w in WHITE]).text(BYTES)
    versions = {"command": "python scripts/golden/long_text.py", "versions": {p: importlib.metadata.version(p) for p in ("tokenizers", "sentencepiece")}}
    write(ROOT / "text_long" / "material.json", {"seed": SEED, "bytes": BYTES, "piece": PIECE, "sha256": hashlib.sha256(text).hexdigest(),
                                                 "sentences": SENTENCES, "ranges": [n for pair in RANGES for n in pair], "white": WHITE})
    folders = sorted(f for f in ROOT.glob("text_*") if (f / "golden.json").exists())
    for folder in folders:
        name = folder.name.removeprefix("text_")
        if len(sys.argv) == 1 or name in sys.argv[1:]:
            write(ROOT / "text_long" / f"{name}.json", {**versions, **golden(folder, text)})
            print(name)


if __name__ == "__main__":
    main()
