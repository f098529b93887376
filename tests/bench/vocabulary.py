#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a cut vocabulary makes of a text, for the table of docs/vocabulary.md:

    tests/bench/vocabulary.py --before WHOLE.gguf --after CUT.gguf --directory CUT --text FILE [--bytes N]

WHOLE.gguf and CUT.gguf are the model before and after `espalier prune --vocab`, CUT its directory. Prints bytes and characters per token, and compares: the ids of the
file with those of stock llama.cpp, the ids of the directory with those of transformers (or sentencepiece, where it has a tokenizer.model), and the pieces with those
before. Both ways of cutting a text have places in common where a piece ends. Between two of them, where all pieces of before are kept, the pieces must be the same."""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import gguf

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cli"))
import tool


def pieces(file):
    """(text, length in bytes) of every token, as tokenizing counts it."""
    fields = gguf.GGUFReader(file).fields
    kind, tokens = fields["tokenizer.ggml.model"].contents(), fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    out = []
    for token, of_type in zip(tokens, types):
        byte = of_type == 6
        out.append((token, 1 if byte else len(token) if kind == "gpt2" and of_type == 1 else len(token.replace("\u2581", " ").encode())))
    return out


def ends(ids, table):
    place, out = 0, []
    for i in ids:
        place += table[i][1]
        out.append(place)
    return out


def compare(before, after, old, new):
    """(pieces of before in stretches that are all kept, stretches that differ) between common ends."""
    moved = {token: i for i, (token, _) in enumerate(new)}
    ends_before, ends_after = ends(before, old), ends(after, new)
    common = sorted(set(ends_before) & set(ends_after))
    same = differ = a = b = 0
    for end in common:
        first_a, first_b = a, b
        while a < len(before) and ends_before[a] <= end:
            a += 1
        while b < len(after) and ends_after[b] <= end:
            b += 1
        mapped = [moved.get(old[i][0]) for i in before[first_a:a]]
        if None in mapped:
            continue
        same += len(mapped)
        differ += mapped != after[first_b:b]
    return same, differ


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("before", "after", "directory", "text"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    parser.add_argument("--bytes", type=int, default=0, help="of the text, from its end; 0: all")
    given = parser.parse_args()
    given.before, given.after, given.directory = (p.resolve() for p in (given.before, given.after, given.directory))
    data = given.text.read_bytes()
    data = data[-given.bytes:] if given.bytes else data
    text = data.decode(errors="ignore")
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder) / "text.txt"
        place.write_text(text)
        ours = {f: tool.run_json("tokenize", f, "--text", place, "--no-bos", "--text-control-tokens", "no", program=tool.espalier_run)["ids"] for f in (given.before, given.after)}
        done = subprocess.run([tool.llama_cpp / "llama-tokenize", "-m", given.after, "--stdin", "--ids", "--no-bos", "--no-escape", "--no-parse-special", "--log-disable"],
                              input=place.read_bytes(), capture_output=True, check=True)
        llama = json.loads(done.stdout)
    if (given.directory / "tokenizer.json").exists():
        from transformers import AutoTokenizer
        judged = AutoTokenizer.from_pretrained(given.directory).encode(text, add_special_tokens=False)
    else:
        import sentencepiece
        judged = sentencepiece.SentencePieceProcessor(model_file=str(given.directory / "tokenizer.model")).encode(text)
    before, after = ours[given.before], ours[given.after]
    old, new = pieces(given.before), pieces(given.after)
    same, differ = compare(before, after, old, new)
    size = len(text.encode())
    unknown = gguf.GGUFReader(given.after).fields["tokenizer.ggml.token_type"].contents()
    print(json.dumps(dict(bytes=size, vocab=[len(old), len(new)], tokens=[len(before), len(after)], bytes_per_token=[round(size / len(before), 3), round(size / len(after), 3)],
                          characters_per_token=[round(len(text) / len(before), 3), round(len(text) / len(after), 3)],
                          same_as_directory=after == judged, same_as_llama_cpp=after == llama, kept_pieces=same, share_of_kept=round(same / len(before), 4),
                          stretches_that_differ=differ, unknown=sum(unknown[i] == 2 for i in after), file_bytes=[given.before.stat().st_size, given.after.stat().st_size]), indent=1))


if __name__ == "__main__":
    main()
