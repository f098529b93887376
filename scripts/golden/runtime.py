#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden values of the device runtime: what stock llama.cpp writes and measures on the teacher stories260K (F32).

Writes tests/golden/runtime_stories260k.json:
  greedy      the first `characters` characters of the prompt and what `tokens` greedy tokens add (llama-completion --temp 0); about half
              of the tokens, because llama.cpp's logger loses the end of the output at exit
  perplexity  llama-perplexity with an F32 KV cache and no flash attention on the first `bytes` bytes of the text

Command: python scripts/golden/runtime.py --llama DIR --shared DIR    (the version of llama.cpp is stored in the file)
"""
import argparse, json, pathlib, re, subprocess, tempfile

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden" / "runtime_stories260k.json"
PROMPT, TOKENS, CHARACTERS = "Once upon a time", 160, 240
TEXT, BYTES, CONTEXT = "tinystories_part.txt", 60000, 256


def run(program, *words, wanted=".", log=False):
    """Output of a program; with `log` stderr too. llama.cpp's logger can lose its last lines at exit: tried again until `wanted` is there."""
    for _ in range(5):
        done = subprocess.run([str(program), *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT if log else subprocess.DEVNULL,
                              text=True, check=True, stdin=subprocess.DEVNULL)
        if found := re.search(wanted, done.stdout):
            return done.stdout, found
    raise SystemExit(f"{program}: no '{wanted}' in {done.stdout[-2000:]}")


p = argparse.ArgumentParser()
p.add_argument("--llama", type=pathlib.Path, required=True, help="folder of llama-completion and llama-perplexity")
p.add_argument("--shared", type=pathlib.Path, required=True, help="folder with data/teachers and data/text")
a = p.parse_args()
model = a.shared / "data/teachers/stories260K.gguf"
full_precision = ["-ctk", "f32", "-ctv", "f32", "-fa", "off", "-t", 1]

text, _ = run(a.llama / "llama-completion", "-m", model, "-p", PROMPT, "-n", TOKENS, "--temp", 0, "-no-cnv", *full_precision,
              wanted=rf"(?s)^.{{{CHARACTERS + 1}}}")
text = text.lstrip()[:CHARACTERS]
assert text.startswith(PROMPT) and "[end of text]" not in text, text

with tempfile.NamedTemporaryFile() as part:
    part.write((a.shared / "data/text" / TEXT).read_bytes()[:BYTES])
    part.flush()
    log, final = run(a.llama / "llama-perplexity", "-m", model, "-f", part.name, "-c", CONTEXT, "-b", CONTEXT, "-ub", CONTEXT, *full_precision,
                     wanted=r"Final estimate: PPL = ([0-9.]+)", log=True)
value = float(final[1])
windows = int(re.search(r"calculating perplexity over (\d+) chunks", log)[1])
_, version = run(a.llama / "llama-perplexity", "--version", wanted=r"version: .*", log=True)

OUT.write_text(json.dumps({
    "command": "python scripts/golden/runtime.py --llama DIR --shared DIR", "llama.cpp": version[0],
    "greedy": {"prompt": PROMPT, "tokens": TOKENS, "characters": CHARACTERS, "text": text},
    "perplexity": {"text": TEXT, "bytes": BYTES, "context": CONTEXT, "value": value, "scored": windows * (CONTEXT - 1 - CONTEXT // 2)},
}, indent=1) + "\n")
