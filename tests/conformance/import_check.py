#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""transformers judges an import: import_check.py SOURCE.gguf IMPORTED_DIRECTORY

The imported directory must give the logits, token ids, special ids and rendered chat that transformers gets from the GGUF by itself.
Exit code 0: all equal, 1: a difference was found (all of them are printed).

transformers' reading of GGUF tokenizers ignores tokenizer.ggml.pre (digits) and changes the white space rule of SPM. Where its ids
differ, --llama-tokenize (stock llama.cpp's program) decides.
"""
import argparse
import json
import pathlib
import subprocess
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = [
    "The quick brown fox jumps over the lazy dog, doesn't it?",
    "def f(x):\r\n\treturn x ** 2  # caf\u00e9\n\n\n   indented   runs   ",
    "\u4f60\u597d\uff0c\u4e16\u754c 12345 \u0661\u0662\u0663 \U0001f469\u200d\U0001f680 e\u0301 \u00a0I'LL",
    "<|im_start|>user\nspecial tokens written out<|im_end|>",
    "",
    " ",
]
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi  there"}, {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Bye"}]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("imported")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="largest difference of logits over their standard deviation")
    parser.add_argument("--llama-tokenize", help="path of stock llama.cpp's llama-tokenize")
    args = parser.parse_args()
    torch.set_num_threads(2)
    source = pathlib.Path(args.source)
    failures = []

    def check(ok, what):
        print(("ok    " if ok else "DIFF  ") + what)
        if not ok:
            failures.append(what)

    theirs = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    ours = AutoTokenizer.from_pretrained(args.imported)
    for text in TEXTS:
        a, b, judge = theirs(text).input_ids, ours(text).input_ids, "transformers"
        if a != b and args.llama_tokenize:
            command = [args.llama_tokenize, "-m", str(source), "-p", text, "--ids"]
            a, judge = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]), "llama-tokenize"
        check(a == b, f"ids of {text[:30]!r} ({judge})" + ("" if a == b else f": {a} / {b}"))
    check(len(theirs) == len(ours), f"vocabulary of {len(theirs)} / {len(ours)}")
    for name in ("bos_token_id", "eos_token_id", "unk_token_id", "pad_token_id"):
        check(getattr(theirs, name) == getattr(ours, name), f"{name} {getattr(theirs, name)} / {getattr(ours, name)}")
    check(theirs.chat_template == ours.chat_template, "chat template")
    if theirs.chat_template:
        for prompt in (False, True):
            a, b = (t.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=prompt) for t in (theirs, ours))
            check(a == b, f"rendered chat, add_generation_prompt={prompt}")

    own = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32).eval()
    model = AutoModelForCausalLM.from_pretrained(args.imported, dtype=torch.float32).eval()
    check(model.generation_config.eos_token_id == ours.eos_token_id, f"generation stops at {model.generation_config.eos_token_id}")
    state, own_state = model.state_dict(), own.state_dict()
    check(set(state) == set(own_state), f"{len(state)} tensors")
    different = [name for name in state if name in own_state and not torch.equal(state[name], own_state[name])]
    check(not different, f"weights equal to the bit{': not ' + ', '.join(different[:5]) if different else ''}")
    ids = torch.randint(3, model.config.vocab_size, (2, 128), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        a, b = own(ids).logits, model(ids).logits
    check(b.std().item() > 0.8, f"standard deviation of logits {b.std().item():.3g}")
    difference = ((a - b).abs().max() / a.std()).item()
    check(difference <= args.tolerance, f"logits differ by {difference:.3g} of their standard deviation")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
