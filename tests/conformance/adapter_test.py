#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""import --adapter: a LoRA adapter in PEFT's layout, merged. The judge is the formula in float64, rounded once; what cannot be merged is refused by name, and an
adapter given as a model is named."""
import json
import math
import pathlib
import re
import tempfile
import unittest

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

import tool

SMALL = dict(vocab_size=320, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
             max_position_embeddings=128, bos_token_id=0, eos_token_id=0, pad_token_id=None)
FAMILIES = {"llama": dict(tie_word_embeddings=False), "llama-tied": dict(tie_word_embeddings=True), "phi3": dict(tie_word_embeddings=False),
            "qwen2": dict(tie_word_embeddings=False), "gpt2": dict(n_embd=64, n_head=4, n_layer=2, n_positions=128)}


class Adapters(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        torch.set_num_threads(2)
        cls.folder = tempfile.TemporaryDirectory()
        cls.dir = pathlib.Path(cls.folder.name)
        cls.bases = {}
        for name, settings in FAMILIES.items():
            torch.manual_seed(len(name))
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(name.split("-")[0], **{**(SMALL if name != "gpt2" else {"vocab_size": 320, "bos_token_id": 0, "eos_token_id": 0}), **settings})).float()
            for p in model.parameters():
                torch.nn.init.normal_(p, std=0.2)
            model.save_pretrained(cls.dir / name)
            cls.bases[name] = load_file(cls.dir / name / "model.safetensors")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def adapter(self, name, tensors, **config):
        directory = self.dir / name
        directory.mkdir()
        save_file({key: value.contiguous() for key, value in tensors.items()}, directory / "adapter_model.safetensors", metadata={"format": "pt"})
        settings = dict(peft_type="LORA", task_type="CAUSAL_LM", base_model_name_or_path="org/base", r=4, lora_alpha=8, target_modules=["q_proj"], modules_to_save=None, bias="none",
                        lora_dropout=0.05, fan_in_fan_out=False, inference_mode=True, init_lora_weights=True, layers_to_transform=None, layers_pattern=None, rank_pattern={},
                        alpha_pattern={}, use_rslora=False, use_dora=False, revision=None, auto_mapping=None, megatron_config=None, megatron_core="megatron.core", loftq_config={},
                        layer_replication=None, runtime_config=dict(ephemeral_gpu_offload=False), eva_config=None, exclude_modules=None, lora_bias=False)
        (directory / "adapter_config.json").write_text(json.dumps({**settings, **config}))
        return directory

    def pair(self, weight, rank=4, transposed=False):
        rows, cols = reversed(weight.shape) if transposed else weight.shape
        return torch.randn(rank, cols) * 0.3, torch.randn(rows, rank) * 0.3

    def low_rank(self, base, modules, ranks=None, transposed=False):
        out = {}
        for module in modules:
            a, b = self.pair(self.bases[base][module + ".weight"], (ranks or {}).get(module, 4), transposed)
            out[f"base_model.model.{module}.lora_A.weight"], out[f"base_model.model.{module}.lora_B.weight"] = a, b
        return out

    def merged(self, base, adapter, *more):
        out = self.dir / f"{adapter.name}-merged"
        done = tool.run_json("import", self.dir / base, "--adapter", adapter, "--out", out, *more)
        self.assertEqual(done["adapter"]["base"], "org/base")
        return load_file(out / "model.safetensors"), done, out

    def expected(self, base, tensors, scale, transposed=False):
        """The formula: `scale` of a module's name."""
        out = dict(self.bases[base])
        for key, a in tensors.items():
            module = re.fullmatch(r"base_model\.model\.(.*)\.lora_A\.weight", key)
            if module is None:
                continue
            module = module[1]
            b = tensors[key.replace("lora_A", "lora_B")]
            delta = scale(module, a.shape[0]) * (b.double() @ a.double())
            weight = out[module + ".weight"].double()
            out[module + ".weight"] = (weight + (delta.T if transposed else delta)).float()
        return out

    def assert_near(self, ours, expected):
        """Sums in another order, in double: at most the last bit of the rounding differs."""
        self.assertEqual(set(ours), set(expected))
        for name, value in expected.items():
            self.assertLessEqual(((ours[name].double() - value.double()).abs() / value.double().abs().clamp_min(1e-3)).max().item(), 1.2e-7, name)

    def test_every_layout_of_weights(self):
        modules = {"llama": ["self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"], "phi3": ["self_attn.qkv_proj", "mlp.gate_up_proj"], "qwen2": ["self_attn.k_proj", "mlp.up_proj"],
                   "gpt2": ["attn.c_attn", "mlp.c_proj"]}
        for base, parts in modules.items():
            for root in (False, True):
                with self.subTest(f"{base} {root}"):
                    names = [f"{'transformer.h' if base == 'gpt2' else 'model.layers'}.{layer}.{part}" for layer in range(2) for part in parts]
                    tensors = self.low_rank(base, names, transposed=base == "gpt2")
                    adapter = self.adapter(f"{base}-{root}", tensors, use_rslora=root, fan_in_fan_out=base == "gpt2", target_modules=parts)
                    ours, done, out = self.merged(base, adapter)
                    self.assertEqual(done["adapter"]["tensors"], len(names))
                    self.assert_near(ours, self.expected(base, tensors, lambda _, r: 8 / (math.sqrt(r) if root else r), base == "gpt2"))
                    # Not the base, and not another scale.
                    self.assertFalse(torch.equal(ours[names[0] + ".weight"], self.bases[base][names[0] + ".weight"]))
                    AutoModelForCausalLM.from_pretrained(out)

    def test_patterns_of_rank_and_alpha(self):
        names = [f"model.layers.{layer}.{part}" for layer in range(2) for part in ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj")]
        ranks = {name: 6 if name.endswith("v_proj") else 2 if name == "model.layers.1.self_attn.q_proj" else 4 for name in names}
        alphas = {name: 3 if name.endswith("layers.0.mlp.up_proj") else 5.5 if "layers.1" in name and "self_attn" in name else 8 for name in names}
        tensors = self.low_rank("llama", names, ranks)
        adapter = self.adapter("patterns", tensors, rank_pattern={"v_proj": 6, "^model.layers.1.self_attn.q_proj": 2, "q_proj": 4},
                               alpha_pattern={"layers.0.mlp.up_proj": 3, r".*layers\.1\.self_attn\.[qv]_proj": 5.5})
        ours, _, _ = self.merged("llama", adapter)
        self.assert_near(ours, self.expected("llama", tensors, lambda module, r: alphas[module] / r))

    def test_embeddings_biases_and_whole_modules(self):
        a, b = torch.randn(4, 320) * 0.3, torch.randn(64, 4) * 0.3
        tensors = {"base_model.model.model.embed_tokens.lora_embedding_A": a, "base_model.model.model.embed_tokens.lora_embedding_B": b,
                   "base_model.model.lm_head.weight": torch.randn(320, 64), "base_model.model.model.norm.modules_to_save.default.weight": torch.randn(64)}
        ours, _, _ = self.merged("llama", self.adapter("embeddings", tensors, modules_to_save=["lm_head", "norm"]))
        expected = {**self.bases["llama"], "lm_head.weight": tensors["base_model.model.lm_head.weight"], "model.norm.weight": tensors["base_model.model.model.norm.modules_to_save.default.weight"]}
        expected["model.embed_tokens.weight"] = (expected["model.embed_tokens.weight"].double() + 2.0 * (b.double() @ a.double()).T).float()
        self.assert_near(ours, expected)
        # PEFT saves the embedding to which it adds, too.
        saved = {**tensors, "base_model.model.model.embed_tokens.base_layer.weight": self.bases["llama"]["model.embed_tokens.weight"]}
        ours, _, _ = self.merged("llama", self.adapter("saved-embeddings", saved))
        self.assert_near(ours, expected)
        bias = torch.randn(64)
        for name in ("base_layer.bias", "bias"):
            ours, _, _ = self.merged("qwen2", self.adapter(f"biases-{name}", {**self.low_rank("qwen2", ["model.layers.0.self_attn.q_proj"]),
                                                                              f"base_model.model.model.layers.0.self_attn.q_proj.{name}": bias}, bias="lora_only"))
            self.assertTrue(torch.equal(ours["model.layers.0.self_attn.q_proj.bias"], bias))
        whole = {"base_model.model.transformer.h.0.mlp.c_fc.weight": torch.randn(64, 256)}
        ours, _, _ = self.merged("gpt2", self.adapter("conv-whole", whole))
        self.assertTrue(torch.equal(ours["transformer.h.0.mlp.c_fc.weight"], next(iter(whole.values()))))

    def test_tied_bases(self):
        head, embedding = torch.randn(320, 64), torch.randn(320, 64)
        output, inputs = "base_model.model.lm_head.weight", "base_model.model.model.embed_tokens.weight"
        for name, tensors, tied in (("head", {output: head}, False), ("both", {output: head, inputs: embedding}, False), ("same", {output: head, inputs: head.clone()}, True)):
            ours, _, out = self.merged("llama-tied", self.adapter(f"tied-{name}", tensors, modules_to_save=["lm_head"]))
            self.assertEqual(json.loads((out / "config.json").read_text())["tie_word_embeddings"], tied)
            self.assertEqual("lm_head.weight" in ours, not tied)
            self.assertTrue(torch.equal(ours["model.embed_tokens.weight"], tensors.get(inputs, self.bases["llama-tied"]["model.embed_tokens.weight"])))
            model = AutoModelForCausalLM.from_pretrained(out)
            self.assertTrue(torch.equal(model.lm_head.weight, head))
        for name, tensors in (("embedding", {inputs: embedding}), ("low", {"base_model.model.lm_head.lora_A.weight": torch.randn(4, 64), "base_model.model.lm_head.lora_B.weight": torch.randn(320, 4)})):
            self.refused(4, ["as embedding and as output"], "llama-tied", self.adapter(f"tied-{name}", tensors))

    def refused(self, code, words, base, adapter):
        done = tool.run("import", self.dir / base, "--adapter", adapter, "--out", self.dir / "never")
        self.assertEqual(done.returncode, code, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertFalse((self.dir / "never").exists() and list((self.dir / "never").iterdir()))

    def test_refusals(self):
        module = "model.layers.0.self_attn.q_proj"
        good = self.low_rank("llama", [module])
        a, b = good.values()
        cases = {"dora": (4, ["use_dora"], good, dict(use_dora=True)), "dora-tensor": (4, ["DoRA"], {**good, f"base_model.model.{module}.lora_magnitude_vector": torch.ones(64)}, {}),
                 "ia3": (4, ["peft_type", "IA3"], good, dict(peft_type="IA3")), "pissa": (4, ["init_lora_weights"], good, dict(init_lora_weights="pissa")),
                 "lora-bias": (4, ["lora_bias"], good, dict(lora_bias=True)), "replicated": (4, ["layer_replication"], good, dict(layer_replication=[[0, 2], [0, 2]])),
                 "parameters": (4, ["target_parameters"], good, dict(target_parameters=["mlp.experts"])), "unknown": (4, ["unknown key", "use_magic"], good, dict(use_magic=True)),
                 "rank": (3, ["has rank 4, but"], good, dict(r=8)), "no-b": (3, ["no matrix B"], {k: v for k, v in good.items() if "lora_A" in k}, {}),
                 "shape": (3, ["do not fit", module], {k: v[:, :-1] for k, v in good.items()}, {}), "other": (3, ["which the base does not have"], {k.replace("layers.0", "layers.7"): v for k, v in good.items()}, {}),
                 "resized": (3, ["vocabulary"], {"base_model.model.lm_head.weight": torch.ones(322, 64)}, {}), "nan": (3, ["not finite"], {k: v * float("nan") for k, v in good.items()}, {}),
                 "classifier": (4, ["task_type", "SEQ_CLS"], good, dict(task_type="SEQ_CLS")), "no-task": (3, ["task_type", "CLASSIFY"], good, dict(task_type="CLASSIFY")),
                 "layers": (3, ["is of layer 0", "layers_to_transform"], good, dict(layers_to_transform=[1])), "layer": (3, ["is of layer 0"], good, dict(layers_to_transform=1)),
                 "no-layer": (3, ["layers_to_transform", "expected the index"], good, dict(layers_to_transform=["0"])),
                 "pattern": (3, ["rank_pattern", "regular expression"], good, dict(rank_pattern={"(": 4})), "twice": (3, ["change the same"], {**good, f"base_model.model.{module}.lora_A.default.weight": a.clone()}, {})}
        for name, (code, words, tensors, config) in cases.items():
            with self.subTest(name):
                self.refused(code, words, "llama", self.adapter(f"bad-{name}", tensors, **config))
        self.assertEqual(len(cases), 21)
        done = tool.run("import", self.dir / "llama", "--adapter", self.adapter("good", good), "--out", self.dir / "good")
        self.assertNotEqual(done.returncode, 0)  # onto the adapter itself

    def test_lists_that_differ_from_the_tensors_are_noted(self):
        tensors = self.low_rank("llama", ["model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj"])
        for name, config, words in (("listed", dict(layers_to_transform=[0, 1], target_modules=["q_proj", "mlp.up_proj"]), ["lists layer 1, for which there are no tensors"]),
                                    ("untargeted", dict(layers_to_transform=0), ["there are tensors for up_proj", "target_modules"]),
                                    ("embedder", dict(task_type="FEATURE_EXTRACTION", target_modules="all-linear"), ["FEATURE_EXTRACTION"]),
                                    ("plain", dict(task_type=None, layers_to_transform=[], target_modules=["up_proj", "self_attn.q_proj"]), [])):
            with self.subTest(name):
                _, done, _ = self.merged("llama", self.adapter(f"noted-{name}", tensors, **config))
                notes = [n for n in done["notes"] if "adapter" in n or "target_modules" in n]
                self.assertEqual(len(notes), bool(words), notes)
                for word in words:
                    self.assertIn(word, notes[0])

    def test_an_adapter_is_named_elsewhere(self):
        adapter = self.adapter("alone", self.low_rank("llama", ["model.layers.0.self_attn.q_proj"]))
        for command in (("inspect", adapter), ("quantize", adapter, "--out", self.dir / "x.gguf", "--format", "q8_0"), ("import", adapter, "--out", self.dir / "x")):
            done = tool.run(*command)
            self.assertEqual(done.returncode, 3)
            self.assertIn(f"is an adapter (PEFT), which changes a model and is none itself; merge it into its base first: espalier import BASE --adapter {adapter} --out MERGED", done.stderr)
        for file in ("config.json", "model.safetensors"):
            (adapter / file).write_bytes((self.dir / "llama" / file).read_bytes())
        self.assertTrue(any("the adapter beside the model (adapter_config.json) is read by import --adapter alone" in note for note in tool.run_json("inspect", adapter)["notes"]))

    def test_a_base_in_a_gguf_file_and_in_bf16(self):
        tensors = self.low_rank("phi3", ["model.layers.1.self_attn.qkv_proj", "model.layers.0.mlp.gate_up_proj"])
        adapter = self.adapter("onto-gguf", tensors)
        file = self.dir / "base.gguf"
        tool.run_json("quantize", self.dir / "phi3", "--out", file, "--format", "f32", "--no-tokenizer")
        out = self.dir / "of-gguf"
        tool.run_json("import", file, "--adapter", adapter, "--out", out)
        expected = self.expected("phi3", tensors, lambda _, r: 8 / r)
        self.assert_near(load_file(out / "model.safetensors"), expected)
        ours, _, _ = self.merged("phi3", adapter, "--dtype", "bf16")
        for name, value in expected.items():
            self.assertTrue(torch.equal(ours[name], value.bfloat16()) or (ours[name].float() - value).abs().max() < 0.01, name)


if __name__ == "__main__":
    tool.main()
