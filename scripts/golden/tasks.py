#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What lm-evaluation-harness 0.4.13 makes of small tasks in each layout, with its own task files:

    python3 -m venv /tmp/judge && /tmp/judge/bin/pip install lm-eval==0.4.13 torch transformers accelerate
    /tmp/judge/bin/python scripts/golden/tasks.py

The items are invented here. The model is random, so that only arithmetic decides. It is evaluated twice: `plain` has a tokenizer that adds
nothing, and `bos` one that puts BOS in front, with the same tokens. Items longer than its 128 positions are cut from the left.

golden/tasks/<layout>.jsonl   the tasks, as the datasets have them
golden/tasks/model/           the model, with the tokenizer of `plain`
golden/tasks/bos/             the tokenizer of `bos`
golden/tasks/golden.json      by model and task: of each item the log-likelihoods, what was greedy, and the metrics
"""
import importlib.metadata
import json
import logging
import os
import pathlib
import shutil
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ.setdefault("HF_HOME", tempfile.mkdtemp())

import lm_eval
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/golden/tasks"
POSITIONS, TOKENS = 128, 512

LONG = "The lantern keeper counts the boats that pass below the bridge, first the red ones and then the blue ones, and writes each number down. " * 3

ARC = [
    ("Which of these melts when it is left in the sun?", ["butter", "a brick", "a coin", "a window"], "ABCD", "A"),
    ("What does a gardener water in the morning?", ["the roof", "tomato plants", "the old fence"], "ABC", "B"),
    ("Two plus three is", ["4", "5", "6", "7", "8"], "12345", "2"),
    ("Where do herons look for fish?", ["in shallow water", "in shallow sand", "in shallow words", "in shadow"], "ABCD", "A"),
    ("Welche Farbe hat ein reifer Kürbis? ", ["grün", "orange ", " blau", "weiß"], "ABCD", "B"),
    (LONG + "What does the keeper count?", ["boats", "birds and bells", "stones", "stars"], "ABCD", "A"),
    ("What makes bread rise?", ["yeast", "salt", "yeast and patience", "flour"], "ABCD", "C"),
]
HELLASWAG = [
    ("Washing a dog", "A man stands in a yard. He fills a tub.", "the Dog from Rome", "barks and jumps [substeps] into the tub.",
     ["It shakes itself dry.", "[header] It reads a letter.", "It sings  very  loudly.", "The tub flies away."], "0"),
    ("Home and Garden", "[header] How to plant bulbs [title] Choose a place. [step] Look for sun.", "", "",
     ["Dig a hole twice as deep.", "Pour [x] milk on them. [title] Wait.", "Burn the spade.", "Call the mayor."], "1"),
    ("Baking", " Two women knead dough on a table.", "éCLAIRS are set aside. THEY", "",
     ["laugh and dust the table with flour.", "sink into the sea.", "paint the ceiling blue.", "laugh."], "3"),
    ("Rowing", LONG, "the crew", "", ["pulls together.", "falls asleep at once.", "pulls apart.", "eats."], 2),
]
PIQA = [
    ("To keep a door from squeaking,", "put a drop of oil on its hinges.", "put a drop of honey on its handle.", 0),
    ("how to cool soup quickly", "stir it in a bowl that stands in cold water", "stir it in a bowl that stands in hot sand", 0),
    ("To find a lost ring in the grass,", "walk away", "search in lines, one step at a time", 1),
    ("Wie trocknet man Kräuter? ", "Man hängt sie kopfüber auf.", "Man legt sie in Öl.", 0),
    (LONG, "Use the bridge.", "Use a very long ladder, and wait.", 1),
]
WINOGRANDE = [
    ("The kettle did not fit on the shelf because the _ was too wide.", "kettle", "shelf", "1"),
    ("The kettle did not fit on the shelf because the _ was too narrow.", "kettle", "shelf", "2"),
    ("Nora thanked Ines for the map, and _ smiled.", "Nora", "Ines ", "2"),
    ("_ is taller than the mill, said the miller of the tower.", "The tower", "The mill", "1"),
    (LONG + "The boat missed the pier because the _ was hidden in fog.", "pier", "boat", "1"),
]
MMLU = [
    ("What is the order of the group of symmetries of a square?", "abstract_algebra", ["4", "6", "8", "16"], 2),
    ("  Which treaty line is meant by a meridian?\n", "us_foreign_policy", ["a parallel", "a longitude", "a tariff", "a river"], 1),
    ("How many moons has a planet with none?", "astronomy", ["0", "1", "2", "3"], 0),
    ("How many legs has a stool with three?", "astronomy", ["1", "2", "3", "4"], 2),
    (LONG + "Which boats come first?", "miscellaneous", ["red ones", "blue ones", "both", "neither"], 0),
]
GUESSED = []  # filled by main()
LAMBADA = [
    "The miller asked for his hat, and the boy went up the stairs and brought him the hat",
    "She had planted roses, lilies and one old pear tree, and most of all she loved the pear tree",
    "Hello",
    "In der Küche stand ein Kürbis, und alle lobten den Kürbis",
    "\"Who is there?\" asked the keeper. \"It is me,\" said the  keeper's brother.",
    "<|bos|>The red boat passed below the bridge, then the blue boat",
    LONG + "Then he closed the book and went below the bridge",
]


def guessed(directory):
    """Texts whose last word is what the model of `plain` writes by itself."""
    tokenizer, model = PreTrainedTokenizerFast.from_pretrained(directory), LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32)
    words = (LONG + " ".join(LAMBADA)).split(" ")
    out = []
    for n in range(1, len(words)):
        context = " ".join(words[max(0, n - 9):n])
        ids = tokenizer(context)["input_ids"]
        with torch.no_grad():
            token = model(torch.tensor([ids])).logits[0, -1].argmax().item()
        text = tokenizer.decode([token])
        if len(text) > 1 and text[0] == " " and text[1:].isascii() and text[1:].isalpha() and tokenizer(context + text)["input_ids"] == ids + [token]:
            out.append(context + text)
    return out[:3]


def tasks():
    yield "arc", [{"id": f"a{i}", "question": q, "choices": {"text": c, "label": list(l)}, "answerKey": k} for i, (q, c, l, k) in enumerate(ARC)]
    yield "hellaswag", [{"ind": i, "activity_label": a, "ctx_a": x, "ctx_b": (y + " " + z).strip(), "ctx": x + " " + y, "endings": e, "label": str(l)}
                        for i, (a, x, y, z, e, l) in enumerate(HELLASWAG)]
    yield "piqa", [{"goal": g, "sol1": a, "sol2": b, "label": l} for g, a, b, l in PIQA]
    yield "winogrande", [{"sentence": s, "option1": a, "option2": b, "answer": k} for s, a, b, k in WINOGRANDE]
    yield "mmlu", [{"question": q, "subject": s, "choices": c, "answer": a} for q, s, c, a in MMLU]
    yield "lambada", [{"text": t} for t in LAMBADA + GUESSED]


# The task files of lm-eval itself. Only where the items lie, and what is reported beside, is ours.
FILES = {"arc": "arc/arc_easy", "hellaswag": "hellaswag/hellaswag", "piqa": "piqa/piqa", "winogrande": "winogrande/default",
         "mmlu": "mmlu/default/_default_template_yaml", "lambada": "lambada/lambada_openai"}


def config(layout, folder):
    package = pathlib.Path(lm_eval.__file__).parent / "tasks"
    source = package / (FILES[layout] + ("" if FILES[layout].endswith("_yaml") else ".yaml"))
    lines = [f"include: {source}", f"task: golden_{layout}", "tag: null", "dataset_path: json", "dataset_name: null", "dataset_kwargs:", "  data_files:",
             f"    test: {OUT / (layout + '.jsonl')}", "training_split: null", "validation_split: null", "fewshot_split: null", "test_split: test"]
    if layout == "mmlu":  # as each subject's file says it
        lines.append(r'''description: "The following are multiple choice questions (with answers) about {{subject.replace('_', ' ')}}.\n\n"''')
    if layout != "lambada":
        lines.append("metric_list:")
        for metric in ("acc", "acc_norm", "acc_bytes"):
            lines += [f"  - metric: {metric}", "    aggregation: mean", "    higher_is_better: true"]
    (folder / f"{layout}.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def texts():
    for _, items in tasks():
        for item in items:
            yield from (v for v in item.values() if isinstance(v, str))
            for value in item.values():
                yield from (value if isinstance(value, list) else value["text"] if isinstance(value, dict) else [])


def make_tokenizer(adds_bos):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts(), trainers.BpeTrainer(vocab_size=TOKENS, special_tokens=["<|bos|>", "<|eos|>"],
                                                               initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    if adds_bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<|bos|> $A", pair="<|bos|> $A <|bos|> $B", special_tokens=[("<|bos|>", 0)])
    else:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|bos|>", eos_token="<|eos|>", clean_up_tokenization_spaces=False)


def make_model(directory):
    torch.manual_seed(22)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=TOKENS, hidden_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=12,
                                         intermediate_size=96, max_position_embeddings=POSITIONS, rms_norm_eps=1e-5, tie_word_embeddings=True,
                                         bos_token_id=0, eos_token_id=1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(1 + 0.1 * torch.randn_like(parameter) if parameter.dim() == 1 else 1.5 * torch.randn_like(parameter) / parameter.shape[1] ** 0.5)
    model.to(torch.bfloat16).save_pretrained(directory)


def judge(directory, folder):
    model = HFLM(pretrained=str(directory), dtype="float32", device="cpu", batch_size=1)
    names = [f"golden_{layout}" for layout, _ in tasks()]
    result = lm_eval.simple_evaluate(model=model, tasks=names, num_fewshot=0, log_samples=True, bootstrap_iters=2,
                                     task_manager=TaskManager(include_path=str(folder), include_defaults=False))
    out = {}
    for layout, _ in tasks():
        name = f"golden_{layout}"
        samples = sorted(result["samples"][name], key=lambda s: s["doc_id"])
        metrics = {k.removesuffix(",none"): v for k, v in result["results"][name].items() if isinstance(v, float)}
        metrics.pop("perplexity_stderr", None)  # of a bootstrap
        out[layout] = {"metrics": metrics,
                       "items": [{"log_likelihoods": [float(r[0][0]) for r in s["resps"]], "greedy": [bool(r[0][1]) for r in s["resps"]],
                                  **{k: int(s[k]) for k in ("acc", "acc_norm", "acc_bytes") if k in s}} for s in samples]}
    return out


def main():
    logging.disable(logging.WARNING)
    version = importlib.metadata.version("lm_eval")
    if version != "0.4.13":
        sys.exit(f"lm_eval is {version}; the golden values are of 0.4.13")
    OUT.mkdir(parents=True, exist_ok=True)
    make_model(OUT / "model")
    (OUT / "model/generation_config.json").unlink()
    make_tokenizer(False).save_pretrained(OUT / "model")
    make_tokenizer(True).save_pretrained(OUT / "bos")
    GUESSED.extend(guessed(OUT / "model"))
    for layout, items in tasks():
        (OUT / f"{layout}.jsonl").write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), encoding="utf-8")
    golden = {"command": "scripts/golden/tasks.py",
              "versions": {p: importlib.metadata.version(p) for p in ("lm_eval", "transformers", "tokenizers", "torch", "datasets")}, "models": {}}
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch) / "tasks"
        folder.mkdir()
        for layout, _ in tasks():
            config(layout, folder)
        golden["models"]["plain"] = judge(OUT / "model", folder)
        shutil.copytree(OUT / "model", pathlib.Path(scratch) / "bos")
        shutil.copytree(OUT / "bos", pathlib.Path(scratch) / "bos", dirs_exist_ok=True)
        golden["models"]["bos"] = judge(pathlib.Path(scratch) / "bos", folder)
    (OUT / "golden.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
