#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every family before its judges, on tiny random checkpoints: stock llama.cpp loads our F32 and Q8_0 GGUF, gives the distributions that
transformers and our runtime give and finds the perplexity we find, and none of it is so for models that are wrong in one thing; what is left after pruning each
axis loads in transformers, which finds our perplexity, and in llama.cpp again. Every triple (family, checkpoint, check) is counted.

The gate has one checkpoint of each family and cuts all its axes at once. With ESPALIER_EVERY_CHECKPOINT set there are two or more, of other sizes,
biases and positions, and each axis is cut alone."""
import json
import math
import os
import pathlib
import sys
import tempfile
import unittest

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import llama_logits
import tool

sys.path.insert(0, str(tool.source / "tests/support"))
from unequal_reference import Reference
from wrong_models import wrong_models

LLAMA = tool.llama_cpp
CONTEXT = 64
EVERY = "ESPALIER_EVERY_CHECKPOINT" in os.environ
TRIPLES = 939 if EVERY else 322  # of a checkpoint 6 checks and 3 for each thing that is wrong in a model of the same; of what pruning leaves 4, or 6 with Q8_0
OWN = ("deci", "nemotron-nas", "openelm")  # not in transformers: tests/support/unequal_reference.py
A = dict(hidden_size=128, num_attention_heads=8, num_key_value_heads=2, head_dim=32, intermediate_size=192, num_hidden_layers=3, max_position_embeddings=256,
         bos_token_id=0, eos_token_id=0, pad_token_id=None)
SEVEN = dict(A, hidden_size=224, num_attention_heads=7, num_key_value_heads=1, intermediate_size=160)
GPT2 = dict(n_embd=128, n_head=8, n_layer=3, n_inner=192, n_positions=256, bos_token_id=0, eos_token_id=0)
LONG = dict(type="longrope", short_factor=[1.0, 1.0, 1.1, 1.1, 1.2, 1.2, 1.3, 1.4], long_factor=[1.0, 1.1, 1.5, 2.5, 4.0, 6.0, 9.0, 12.0])
SHORT = {key: value if key == "type" else value[:6] for key, value in LONG.items()}
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
DENSE = dict(num_local_experts=0, num_experts_per_tok=0, position_embedding_type="rope", mamba_n_heads=4)
PHI3 = dict(A, head_dim=16, original_max_position_embeddings=32, rope_scaling=LONG)  # shorter than the text: the long divisors
# name: (transformers' prefix, settings, axes that pruning may cut)
WIDTHS = [["--ffn", 96], ["--layers", 2]]
ALL = [*WIDTHS, ["--kv-groups", 1], ["--hidden", 96]]
THINNER = ["--hidden", 96, "--kv-groups", 6]  # both in proportion, where readers take heads x head_dim for hidden
MODELS = {
    "llama": ("Llama", dict(A, tie_word_embeddings=True), ALL),
    "llama_seven": ("Llama", dict(SEVEN, tie_word_embeddings=True), [["--hidden", 160]]),  # not a multiple of its heads: leaves as mistral
    "llama_biases": ("Llama", dict(SEVEN, tie_word_embeddings=False, attention_bias=True, mlp_bias=True), WIDTHS),
    "llama_linear": ("Llama", dict(A, tie_word_embeddings=True, rope_scaling=dict(rope_type="linear", factor=4.0)), [["--ffn", 96]]),
    "mistral": ("Mistral", dict(A, sliding_window=None, tie_word_embeddings=False), ALL),
    "mistral_wide_heads": ("Mistral", dict(SEVEN, sliding_window=None, head_dim=64, tie_word_embeddings=True), [*WIDTHS, ["--hidden", 160]]),
    "smollm3": ("SmolLM3", dict(A, num_hidden_layers=4, hidden_size=256, tie_word_embeddings=True), [["--ffn", 96], ["--kv-groups", 1], ["--hidden", 192]]),
    "smollm3_seven": ("SmolLM3", dict(SEVEN, num_hidden_layers=4, head_dim=32, tie_word_embeddings=False), [["--ffn", 96]]),
    "granite": ("Granite", dict(A, tie_word_embeddings=True, embedding_multiplier=3.0, attention_multiplier=0.4, residual_multiplier=0.4, logits_scaling=1.25), ALL),
    "granite_seven": ("Granite", dict(SEVEN, head_dim=64, tie_word_embeddings=False, attention_bias=True, mlp_bias=True, embedding_multiplier=0.3, attention_multiplier=0.06,
                                      residual_multiplier=2.5, logits_scaling=0.625, rope_scaling=LLAMA3), [*WIDTHS, ["--hidden", 160]]),
    "granitemoehybrid": ("GraniteMoeHybrid", dict(A, **DENSE, shared_intermediate_size=192, layer_types=["attention"] * 3, tie_word_embeddings=True, embedding_multiplier=3.0,
                                                  attention_multiplier=0.4, residual_multiplier=0.4, logits_scaling=1.25), ALL),
    "granitemoehybrid_seven": ("GraniteMoeHybrid", dict(SEVEN, **DENSE, head_dim=64, shared_intermediate_size=160, layer_types=["attention"] * 3, tie_word_embeddings=False,
                                                        attention_bias=True, embedding_multiplier=0.3, attention_multiplier=0.06, residual_multiplier=2.5, logits_scaling=0.625),
                               [["--ffn", 96], ["--hidden", 160]]),
    "qwen2": ("Qwen2", dict(A, head_dim=16, tie_word_embeddings=True), ALL),
    "qwen2_wide_heads": ("Qwen2", dict(SEVEN, head_dim=64, tie_word_embeddings=False), [*WIDTHS, ["--hidden", 160]]),
    "qwen3": ("Qwen3", dict(A, tie_word_embeddings=True), ALL),
    "qwen3_seven": ("Qwen3", dict(SEVEN, tie_word_embeddings=False), [*WIDTHS, ["--hidden", 160]]),
    "gemma2": ("Gemma2", dict(A, tie_word_embeddings=True, query_pre_attn_scalar=32, sliding_window=24), ALL),
    "gemma2_folded": ("Gemma2", dict(SEVEN, tie_word_embeddings=True, query_pre_attn_scalar=20, sliding_window=512), WIDTHS),
    "gemma3": ("Gemma3", dict(A, num_hidden_layers=7, tie_word_embeddings=True, query_pre_attn_scalar=32, sliding_window=24), ALL),
    "gemma3_listed": ("Gemma3", dict(SEVEN, tie_word_embeddings=True, query_pre_attn_scalar=48, sliding_window=16,
                                     layer_types=["full_attention", "sliding_attention", "full_attention"]), WIDTHS),
    "gemma3_linear": ("Gemma3", dict(A, num_hidden_layers=7, tie_word_embeddings=True, query_pre_attn_scalar=32, sliding_window=24,
                                     rope_scaling=dict(rope_type="linear", factor=8.0)), [["--ffn", 96], ["--layers", 5]]),
    "phi3": ("Phi3", dict(PHI3, num_key_value_heads=8, tie_word_embeddings=True), [*WIDTHS, THINNER]),
    "phi3_partial": ("Phi3", dict(PHI3, tie_word_embeddings=False, partial_rotary_factor=0.75, max_position_embeddings=1024, original_max_position_embeddings=512,
                                  rope_scaling=SHORT), WIDTHS),
    "phi3_plain": ("Phi3", dict(SEVEN, tie_word_embeddings=False, sliding_window=512), WIDTHS),
    "nemotron": ("Nemotron", dict(A, head_dim=16, num_key_value_heads=8, tie_word_embeddings=False), [*WIDTHS, THINNER]),
    "nemotron_seven": ("Nemotron", dict(SEVEN, tie_word_embeddings=False, partial_rotary_factor=0.25, attention_bias=True, mlp_bias=True), WIDTHS),
    "gpt2": ("GPT2", dict(GPT2, tie_word_embeddings=True), [*WIDTHS, THINNER]),
    "gpt2_seven": ("GPT2", dict(GPT2, n_embd=224, n_head=7, n_inner=None, tie_word_embeddings=False), WIDTHS),
}


def block(group, width, **keys):
    attention = dict(n_heads_in_group=group or None, no_op=not group, replace_with_linear=False, **keys)
    return dict(attention=attention, ffn=dict(ffn_mult=None, intermediate_size=width or None, no_op=not width, replace_with_linear=False))


DECI = dict(model_type="nemotron-nas", hidden_act="silu", max_position_embeddings=256, rms_norm_eps=1e-5, rope_theta=10000.0, vocab_size=499, hidden_size=128,
            num_attention_heads=7, num_key_value_heads=None, head_dim=32, intermediate_size=None)
OPENELM = dict(model_type="openelm", activation_fn_name="swish", ffn_with_glu=True, normalization_layer_name="rms_norm", normalize_qk_projections=True, vocab_size=499,
               max_context_length=256, rope_max_length=512, rope_freq_constant=10000, share_input_output_layers=True)
PUBLISHED_DECI = dict(DECI, model_type="deci", num_attention_heads=8, num_key_value_heads_per_layer=[2, 8, 4], intermediate_size=192, num_hidden_layers=3)
# Families that transformers does not have, with plans of what pruning keeps in each layer (a number n: the first n), and what it is asked to keep at most
# in every layer.
UNEQUAL = {
    "deci_absent": (dict(DECI, num_hidden_layers=5, tie_word_embeddings=True, block_configs=[block(0, 192), block(7, 0), block(1, 160), block(0, 0), block(7, 96)]),
                    [{"keep_layers": [0, 1, 2, 4], "layers": [{"ffn": 64}, {}, {"kv_groups": 3, "ffn": 96}, {}]},
                     {"hidden": 96, "keep_layers": [0, 2, 4], "layers": [{}, {}, {}]}], [["--ffn", 128], ["--layers", 3, "--hidden", 96]]),
    "deci_last": (dict(DECI, num_hidden_layers=3, tie_word_embeddings=False, attention_bias=True, mlp_bias=True,
                       block_configs=[block(7, 64), block(2, 160, num_attention_heads=4), block(7, 0)]),
                  [{"keep_layers": [0, 1], "layers": [{"ffn": 32}, {"q_per_kv": 1}]}], [["--kv-groups", 1]]),
    "deci_published": (dict(PUBLISHED_DECI, tie_word_embeddings=False), [{"keep_layers": [0, 1, 2], "layers": [{}, {"kv_groups": 0}, {"ffn": 0}]}],
                       [["--kv-groups", 3, "--ffn", 96]]),
    "openelm": (dict(OPENELM, model_dim=128, num_transformer_layers=3, num_query_heads=[7, 14, 4], num_kv_heads=[1, 2, 4], head_dim=32, ffn_multipliers=[0.5, 1.25, 1.5],
                     ffn_dim_divisor=32), [{"keep_layers": [0, 2], "layers": [{"ffn": 32}, {"kv_groups": 3}]}], [["--ffn", 96, "--kv-groups", 1], ["--layers", 2]]),
    "openelm_narrow": (dict(OPENELM, model_dim=96, num_transformer_layers=2, num_query_heads=[6, 2], num_kv_heads=[3, 1], head_dim=64, ffn_multipliers=[1.0, 2.0],
                            ffn_dim_divisor=32), [{"hidden": 64, "keep_layers": [0, 1], "layers": [{}, {"ffn": 96}]}], [["--hidden", 64]]),
}
# What unequal pruning makes of families that transformers has.
MADE_UNEQUAL = {"llama": [{"keep_layers": [0, 1, 2], "layers": [{"ffn": 64}, {"kv_groups": 1}, {"ffn": 128, "q_per_kv": 3}]},
                          {"keep_layers": [0, 1, 2], "layers": [{"kv_groups": 0}, {"ffn": 0}, {"kv_groups": 1, "ffn": 0}]}],
                "llama_linear": [{"keep_layers": [0, 1], "layers": [{"ffn": 64}, {"kv_groups": 1}]}],
                "qwen2": [{"hidden": 96, "keep_layers": [0, 2], "layers": [{"ffn": 64}, {"kv_groups": 1}]}],
                "mistral": [{"keep_layers": [0, 1, 2], "layers": [{}, {}, {"kv_groups": 0, "ffn": 32}]}]}


def written_out(plan):
    """The plan as the tool reads it: numbers become lists of what is kept."""
    def indices(n):
        return list(range(n))
    layers = [{axis: indices(n) for axis, n in layer.items()} for layer in plan["layers"]]
    return dict(plan, layers=layers, **({"hidden": indices(plan["hidden"])} if "hidden" in plan else {}))


def chosen(checkpoints, family):
    """All of them, or the first of each family."""
    first = {family(name): name for name in reversed(checkpoints)}
    return {name: value for name, value in checkpoints.items() if EVERY or first[family(name)] == name}


class Families(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        assert (LLAMA / "llama-perplexity").is_file(), f"{LLAMA}: no llama-perplexity; scripts/llama_cpp.sh builds it"
        torch.set_num_threads(2)
        cls.folder = tempfile.TemporaryDirectory()
        cls.dir = pathlib.Path(cls.folder.name)
        words = (tool.docs / "train.txt").read_text()
        cls.train, cls.text = cls.dir / "train.txt", cls.dir / "text.txt"
        cls.train.write_text(words[:40000])
        cls.text.write_text((tool.docs / "heldout.txt").read_text()[:6000])
        bpe = Tokenizer(models.BPE())
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe.decoder = decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        bpe.train_from_iterator([words[:60000]], trainers.BpeTrainer(vocab_size=499, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False))
        cls.tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<|endoftext|>", eos_token="<|endoftext|>")
        cls.ids = torch.tensor(bpe.encode(cls.text.read_text().removesuffix("\n")).ids)
        cls.triples, cls.whole = set(), set()

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()
        families = {family for family, _, _ in cls.triples}
        names = {name for _, name, _ in cls.triples}
        print(f"{len(cls.triples)} triples (family, checkpoint, check) of {len(families)} families and {len(names)} checkpoints", flush=True)
        if len(cls.whole) == 3:  # every test ran
            assert len(cls.triples) == TRIPLES, f"{len(cls.triples)} triples, expected {TRIPLES}"

    def passed(self, directory, *checks):
        """Counts them; `directory` is a checkpoint's or what pruning left of it."""
        family = json.loads((directory / "config.json").read_text())["model_type"]
        family = {"deci": "nemotron-nas"}.get(family, family)  # two styles of one family's config
        self.triples.update((family, directory.name, check) for check in checks)

    def build(self, name):
        family, settings, _ = MODELS[name]
        config_class = getattr(transformers, "Gemma3TextConfig" if family == "Gemma3" else f"{family}Config")
        config = config_class(vocab_size=499, **settings)
        torch.manual_seed(len(name))
        model = getattr(transformers, "GPT2LMHeadModel" if family == "GPT2" else f"{family}ForCausalLM")(config).float().eval()
        with torch.no_grad():
            for key, p in model.named_parameters():
                if p.dim() == 1:
                    p.copy_((0.0 if key.endswith("bias") or family.startswith(("Gemma", "Nemotron")) else 1.0) + 0.2 * torch.randn_like(p))
                else:
                    p.copy_(torch.randn_like(p) * 1.4 / p.shape[0 if ".c_" in key else 1] ** 0.5)  # Conv1D is stored columns first
            # Logits of a spread that 16 nats hold, so that llama-perplexity cuts none of them off.
            gain = 1.0 / model(self.ids[None, :CONTEXT]).logits.std()
            shift = 1.0 if family.startswith(("Gemma", "Nemotron")) else 0.0  # these store gains less one
            last = model.transformer.ln_f if family == "GPT2" else model.model.norm
            last.weight.copy_((last.weight + shift) * gain - shift)
            if getattr(last, "bias", None) is not None:
                last.bias.mul_(gain)
            self.assertGreater(model(self.ids[None, :CONTEXT]).logits.std().item(), 0.8)
        directory = self.dir / name.replace("phi", "fi")  # a file whose name says phi3 must have the tokens of Phi-3 for llama.cpp
        model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)
        return directory

    def build_unequal(self, name):
        torch.manual_seed(len(name))
        model = Reference.random(UNEQUAL[name][0])
        last = model.state["transformer.norm.weight" if model.openelm else "model.norm.weight"]
        last.mul_(1.0 / model(self.ids[None, :CONTEXT]).logits.std())
        self.assertGreater(model(self.ids[None, :CONTEXT]).logits.std().item(), 0.8)
        directory = self.dir / name
        model.save(directory)
        self.tokenizer.save_pretrained(directory)
        return directory

    def theirs(self, directory, model=None):
        """transformers' perplexity by our protocol "windows", or that of `model`."""
        if model is None:
            own_code = (directory / "modeling_espalier.py").exists()
            model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager", trust_remote_code=own_code).eval()
        total, count = 0.0, 0
        with torch.no_grad():
            for w in range(4):  # spread evenly over the text
                begin = w * (len(self.ids) // CONTEXT) // 4 * CONTEXT
                window = self.ids[begin:begin + CONTEXT]
                logits = model(window[None]).logits[0, :-1].double()
                total += torch.nn.functional.cross_entropy(logits, window[1:], reduction="sum").item()
                count += CONTEXT - 1
        return math.exp(total / count)

    def perplexity_agrees(self, directory, theirs, wrong=None):
        """Ours is theirs, and not that of wrong models."""
        ours = tool.run_json("eval", directory, "--text", self.text, "--context", CONTEXT, "--windows", 4)["perplexity"]
        self.assertLess(abs(ours / theirs - 1), 1e-4, str(directory))
        self.passed(directory, "perplexity")
        for name, model in (wrong or {}).items():
            self.assertGreater(abs(ours / self.theirs(directory, model) - 1), 1e-4, f"{directory}: {name}")
            self.passed(directory, f"perplexity, wrong {name}")

    def prune_by_plan(self, directory, plan, index):
        pruned, file = self.dir / f"{directory.name}-planned{index}", self.dir / "plan.json"
        file.write_text(json.dumps(written_out(plan)))
        done = tool.run("prune", directory, "--out", pruned, "--plan", file)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("trust_remote_code", done.stdout)
        self.perplexity_agrees(pruned, self.theirs(pruned))
        self.perplexity_agrees(pruned, self.theirs(pruned, Reference.open(pruned)))
        return pruned

    def generation_agrees(self, directory):
        """What the cache holds does not change what is generated."""
        model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, trust_remote_code=True).eval()
        begin = self.ids[None, :9]
        with_cache, without = (model.generate(begin, max_new_tokens=8, do_sample=False, use_cache=cache, eos_token_id=None, pad_token_id=0) for cache in (True, False))
        self.assertEqual(with_cache.tolist(), without.tolist())

    def directory_agrees(self, directory, wrong=None):
        self.perplexity_agrees(directory, self.theirs(directory), wrong)

    def wrong(self, directory):
        """name: a model that is the directory's but for one thing; at least the three."""
        if json.loads((directory / "config.json").read_text())["model_type"] in OWN:
            out = Reference.open(directory).wrong()
        else:
            out = wrong_models(transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval())
        self.assertGreaterEqual(len(out), 3)
        return out

    def reference(self, directory, tokens):
        """Distributions of transformers in float32, or of the reference where transformers has no such family."""
        if json.loads((directory / "config.json").read_text())["model_type"] in OWN:
            model = Reference.open(directory)
        else:
            model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
        return self.distributions(model, tokens)

    @staticmethod
    def distributions(model, tokens):
        with torch.no_grad():
            logits = torch.cat([model(window[None]).logits for window in tokens])
        return torch.log_softmax(logits[:, CONTEXT // 2:-1].double(), -1)

    def file_agrees(self, directory, fmt, tolerance, most, wrong=None):
        """llama.cpp reads what we wrote as we read it ourselves (both round activations where weights are), and in F32 as transformers reads the directory;
        no wrong model comes as near."""
        file = directory.parent / f"{directory.name}.{fmt}.gguf"
        tool.run_json("quantize", directory, "--out", file, "--format", fmt)
        tokens, log_probabilities = llama_logits.of_llama_cpp(file, self.text, CONTEXT)
        ours, perplexity = llama_logits.of_ours(file, self.text, CONTEXT, log_probabilities.shape)
        judged = {"ours": ours}
        if fmt == "f32":
            judged["reference"] = self.reference(directory, tokens)
        for name, expected in judged.items():
            far = llama_logits.divergence(expected, log_probabilities)
            print(f"{directory.name} {fmt}: mean KL of llama.cpp from {name} {far:.2e}", flush=True)
            self.assertLess(far, most, str(file))
            self.passed(directory, f"{fmt} of llama.cpp and {name}")
        for name, model in (wrong or {}).items():
            far = llama_logits.divergence(self.distributions(model, tokens), log_probabilities)
            print(f"{directory.name} {fmt}: mean KL of llama.cpp from wrong {name} {far:.2e}", flush=True)
            self.assertGreater(far, most, f"{file}: {name}")
            self.passed(directory, f"{fmt} of llama.cpp, wrong {name}")
        theirs = math.exp(-log_probabilities.gather(-1, tokens[:, CONTEXT // 2 + 1:, None]).mean().item())
        self.assertLess(abs(perplexity / theirs - 1), tolerance, (str(file), perplexity, theirs))
        self.passed(directory, f"{fmt} perplexity")
        file.unlink()

    def test_every_family(self):
        self.assertEqual(len(MODELS), 28)
        families = [family for family, _, _ in MODELS.values()]
        self.assertTrue(all(families.count(family) >= 2 for family in families), families)
        for name, (family, _, axes) in chosen(MODELS, lambda name: MODELS[name][0]).items():
            # llama.cpp's GELU reads a table of F16 values
            gelu = family.startswith(("Gemma", "GPT2"))
            exact, same = (1e-3, 1e-5) if gelu else (1e-4, 1e-6)
            with self.subTest(name):
                directory = self.build(name)
                wrong = self.wrong(directory)
                self.directory_agrees(directory, wrong)
                self.file_agrees(directory, "f32", exact, same, wrong)
                self.file_agrees(directory, "q8_0", 5e-3, 1e-3, wrong)
            for cut in axes if EVERY else [sum(axes, [])]:
                with self.subTest(f"{name} {cut}"):
                    pruned = self.dir / f"{directory.name}-{'-'.join(map(str, cut)).replace('--', '')}"
                    tool.run_json("prune", directory, "--out", pruned, "--text", self.train, "--tokens", 2048, "--sequence", CONTEXT, *cut)
                    self.directory_agrees(pruned)
                    self.file_agrees(pruned, "f32", exact, same)
        self.whole.add("every")

    def test_unequal_families(self):
        self.assertEqual(len(UNEQUAL), 5)
        for name, (_, plans, targets) in chosen(UNEQUAL, lambda name: name.split("_")[0]).items():
            with self.subTest(name):
                directory = self.build_unequal(name)
                wrong = self.wrong(directory)
                self.perplexity_agrees(directory, self.theirs(directory, Reference.open(directory)), wrong)
                self.file_agrees(directory, "f32", 1e-4, 1e-6, wrong)
                self.file_agrees(directory, "q8_0", 5e-3, 1e-3, wrong)
            for index, plan in enumerate(plans):
                with self.subTest(f"{name} {plan}"):
                    pruned = self.prune_by_plan(directory, plan, index)
                    self.generation_agrees(pruned)
                    self.file_agrees(pruned, "f32", 1e-4, 1e-6)
            for target in targets:
                with self.subTest(f"{name} {target}"):
                    pruned = self.dir / f"{directory.name}-{'-'.join(map(str, target)).replace('--', '')}"
                    tool.run_json("prune", directory, "--out", pruned, "--text", self.train, "--tokens", 2048, "--sequence", CONTEXT, *target)
                    self.perplexity_agrees(pruned, self.theirs(pruned))
                    self.file_agrees(pruned, "f32", 1e-4, 1e-6)
        self.whole.add("unequal families")

    def test_unequal_pruning(self):
        for name, plans in chosen(MADE_UNEQUAL, lambda name: "made unequal").items():
            directory = self.build(name)
            for index, plan in enumerate(plans):
                with self.subTest(f"{name} {plan}"):
                    pruned = self.prune_by_plan(directory, plan, index)
                    self.generation_agrees(pruned)
                    self.file_agrees(pruned, "f32", 1e-4, 1e-6)
                    self.file_agrees(pruned, "q8_0", 5e-3, 1e-3)
        self.whole.add("unequal pruning")


if __name__ == "__main__":
    tool.main()
