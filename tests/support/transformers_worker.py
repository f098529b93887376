#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the transformers on PYTHONPATH makes of directories: the logits of a sequence and the ids of texts; with code of ours also what it writes behind prompts
with and without a cache, alone and in a batch padded on the left, and what is left after saving and loading again. Reads {"models": {directory: ids}, "tokenizers": {directory:
texts}} from the file named first, writes its answers to the one named second. Run by tests/conformance/transformers_versions_test.py."""
import inspect
import json
import pathlib
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

TOKENS = 32
CACHE = "cache" if "cache" in inspect.signature(transformers.LlamaForCausalLM.forward).parameters else "past_key_values"


def load(directory):
    own_code = (pathlib.Path(directory) / "modeling_espalier.py").exists()
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, trust_remote_code=own_code).eval()


def written(model, prompts, use_cache):
    """Tokens behind each of the prompts, which are padded on the left to one length."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    out = model.generate(ids, attention_mask=mask, max_new_tokens=TOKENS, do_sample=False, use_cache=use_cache, eos_token_id=None,
                         pad_token_id=0)
    return out[:, width:].tolist()


def step_by_step(model, prompt):
    """The same by hand, with the cache that forward() gives back."""
    cache, ids, out = None, torch.tensor([prompt]), []
    for _ in range(TOKENS):
        result = model(ids, **{CACHE: cache})
        cache = getattr(result, CACHE)
        if cache is None:
            return "forward() gave no cache back"
        ids = result.logits[:, -1:].argmax(-1)
        out.append(ids.item())
    return out


def refused(model, **arguments):
    """The error of a forward pass; empty when there is none."""
    try:
        model(**arguments)
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


def judge(directory, ids):
    model = load(directory)
    row = torch.tensor([ids])
    settings = GenerationConfig.from_pretrained(directory) if (pathlib.Path(directory) / "generation_config.json").exists() else model.generation_config
    with torch.no_grad():
        logits = model(row).logits[0]
        mask = torch.tensor([[0, 0, 0] + [1] * len(ids)])
        left = model(torch.tensor([[0, 0, 0] + ids]), attention_mask=mask, position_ids=(mask.cumsum(-1) - 1).clamp(min=0)).logits[0, 3:]
        result = {"class": type(model).__name__, "logits": logits.tolist(), "loss": model(row, labels=row).loss.item(), "left": (left - logits).abs().max().item(),
                  "ends": {"eos": settings.eos_token_id, "bos": settings.bos_token_id}}
        if (pathlib.Path(directory) / "modeling_espalier.py").exists():
            result.update(judge_code(model, directory, ids, logits, result["loss"]))
    return result


def judge_code(model, directory, ids, logits, loss):
    """What can go wrong in code that transformers has not itself."""
    def distance(other):
        return (other - logits).abs().max().item()

    row, prompts, saved = torch.tensor([ids]), [ids[:9], ids[2:6]], f"{sys.argv[2]}-{pathlib.Path(directory).name}"
    model.save_pretrained(saved)
    eager = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, trust_remote_code=True, attn_implementation="eager").eval()
    out = {"saved": saved, "again": distance(load(saved)(row).logits[0]), "eager": distance(eager(row).logits[0]), "by_hand": step_by_step(model, prompts[0]),
           "unknown": refused(model, input_ids=row, kv_store=[1]), "share": model(row, labels=row, num_items_in_batch=2 * (len(ids) - 1)).loss.item() / loss,
           "last": (model(row, logits_to_keep=1).logits[0] - logits[-1:]).abs().max().item(), "tuple": len(model(row, return_dict=False))}
    for name, use_cache in (("cached", True), ("plain", False)):
        out[name] = written(model, prompts[:1], use_cache) + written(model, prompts, use_cache)
    return out


def read(directory, texts):
    tokenizer = AutoTokenizer.from_pretrained(directory)
    return {"ids": [tokenizer(text).input_ids for text in texts], "plain": [tokenizer(text, add_special_tokens=False).input_ids for text in texts],
            "texts": [tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) for text in texts],
            "bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id, "pad": tokenizer.pad_token_id, "template": tokenizer.chat_template or ""}


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    jobs = json.loads(pathlib.Path(sys.argv[1]).read_text())
    answers = {"version": transformers.__version__,
               "models": {directory: judge(directory, ids) for directory, ids in jobs["models"].items()},
               "tokenizers": {directory: read(directory, texts) for directory, texts in jobs["tokenizers"].items()}}
    pathlib.Path(sys.argv[2]).write_text(json.dumps(answers))
