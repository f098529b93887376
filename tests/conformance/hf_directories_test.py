#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Hugging Face directories as other tools leave them: names of tensors with prefixes or without, dtypes that are not computed with, a quantization that was undone,
models that read pictures too, windows as long as the context. What is read is what transformers reads; what is left out is said.

The gate has a part of the variants. With ESPALIER_EVERY_CHECKPOINT set all are tried."""
import copy
import json
import os
import pathlib
import shutil
import tempfile
import unittest

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM

import tool

EVERY = "ESPALIER_EVERY_CHECKPOINT" in os.environ
TEXT = ("The ferry left at nine with forty crates of lemons, two bicycles and a piano.\n"
        "Nobody on the quay could say who had ordered the piano, or why it was green.\n") * 40
SMALL = dict(vocab_size=320, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
             max_position_embeddings=128, bos_token_id=0, eos_token_id=0, pad_token_id=None)


def randomized(model, seed=1):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            gain = p.dim() == 1 and "norm" in name and not type(model).__name__.startswith("Gemma")
            p.copy_((1.0 if gain else 0.0) + 0.15 * torch.randn(p.shape, generator=generator))
    return model.float().eval()


class Directories(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        torch.set_num_threads(2)
        cls.folder = tempfile.TemporaryDirectory()
        cls.dir = pathlib.Path(cls.folder.name)
        (cls.dir / "text.txt").write_text(TEXT)
        bpe = Tokenizer(models.BPE())
        bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        bpe.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=320, special_tokens=["<|endoftext|>"], show_progress=False,
                                                            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
        cls.bpe = bpe
        cls.ids = torch.tensor([bpe.encode(TEXT).ids[:64]])

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def save(self, name, model):
        directory = self.dir / name
        model.save_pretrained(directory)
        self.bpe.save(str(directory / "tokenizer.json"))
        return directory

    def build(self, name, family, **settings):
        shared = {key: SMALL[key] for key in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")} if family == "gpt2" else SMALL
        config = AutoConfig.for_model(family, **{**shared, **settings})
        return self.save(name, randomized(AutoModelForCausalLM.from_config(config)))

    def variant(self, source, name, tensors=None, **keys):
        """A copy with other tensors and keys of config.json."""
        directory = self.dir / name
        shutil.copytree(source, directory)
        if tensors:
            made = tensors(load_file(directory / "model.safetensors"))
            save_file({key: value.contiguous() for key, value in made.items()}, directory / "model.safetensors", metadata={"format": "pt"})
        config = json.loads((directory / "config.json").read_text())
        config.update(keys)
        (directory / "config.json").write_text(json.dumps(config))
        return directory

    def read(self, directory):
        """Tensors and notes of what we read, and the directory that holds them."""
        out = self.dir / f"{directory.name}-read"
        notes = tool.run_json("import", directory, "--out", out)["notes"]
        return load_file(out / "model.safetensors"), [note for note in notes if str(directory) in note], out

    def assert_same(self, tensors, expected):
        self.assertEqual(set(tensors), set(expected))
        for name, value in expected.items():
            self.assertTrue(torch.equal(tensors[name], value.float()), name)

    def refused(self, code, words, *command):
        done = tool.run(*command)
        self.assertEqual(done.returncode, code, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_names(self):
        sources = {"llama": dict(tie_word_embeddings=True), "gemma3_text": dict(query_pre_attn_scalar=16, sliding_window=32), "qwen3": dict(tie_word_embeddings=False),
                   "gpt2": dict(n_embd=64, n_head=4, n_layer=2, n_positions=128)}
        for family, settings in sources.items():
            source = self.build(f"names-{family}", family, **settings)
            expected = load_file(source / "model.safetensors")
            first = "transformer." if family == "gpt2" else "model."
            changes = {"base": (lambda k: k.removeprefix(first), None), "compiled": (lambda k: "_orig_mod." + k, "_orig_mod."),
                       "compiled-inside": (lambda k: k.replace(first, first + "_orig_mod.", 1), "_orig_mod."), "parallel": (lambda k: "module." + k, "module."),
                       "both": (lambda k: "module._orig_mod." + k, "_orig_mod., module."), "base-compiled": (lambda k: "_orig_mod." + k.removeprefix(first), "_orig_mod."),
                       "sharded": (lambda k: "_fsdp_wrapped_module." + k, "_fsdp_wrapped_module."), "adapted": (lambda k: "base_model.model." + k, "base_model.model.")}
            for name, (change, said) in changes.items():
                if family != "llama" and name not in ("base", "base-compiled", "compiled-inside") and not EVERY:
                    continue
                with self.subTest(f"{family} {name}"):
                    tensors, notes, _ = self.read(self.variant(source, f"names-{family}-{name}", lambda sd: {change(k): v for k, v in sd.items()}))
                    self.assert_same(tensors, expected)
                    self.assertEqual(len(notes), 1 if said else 0, notes)
                    if said:
                        self.assertIn(f"without {said} in them", notes[0])
        twice = self.variant(self.dir / "names-llama", "names-twice", lambda sd: {**sd, "module.model.norm.weight": sd["model.norm.weight"] + 1})
        self.refused(3, ["model.norm.weight and module.model.norm.weight are both"], "inspect", twice)

    def test_quantization(self):
        source = self.build("float", "llama", tie_word_embeddings=True)
        expected = load_file(source / "model.safetensors")
        for key, method, shown in (("quantization_config", {"quant_method": "bitsandbytes", "load_in_4bit": True}, "(bitsandbytes)"),
                                   ("quantization", {"group_size": 64, "bits": 4}, "(quantization)"), ("quantization_config", {"bits": 4}, "(quantization_config)")):
            directory = self.variant(source, f"left-{len(list(self.dir.iterdir()))}", **{key: method})
            tensors, notes, out = self.read(directory)
            self.assert_same(tensors, expected)
            self.assertEqual(len(notes), 1)
            self.assertIn(f"quantized {shown}, but all are floats", notes[0])
            self.assertNotIn(key, json.loads((out / "config.json").read_text()))
            AutoModelForCausalLM.from_pretrained(out)
        name = "model.layers.1.mlp.up_proj.weight"
        packed = {"bnb": lambda sd: {**sd, name: torch.zeros(3072, 1, dtype=torch.uint8), name + ".absmax": torch.ones(96)},
                  "int8": lambda sd: {**sd, name: sd[name].to(torch.int8), name.replace("weight", "SCB"): torch.ones(96)},
                  "gptq": lambda sd: {**{k: v for k, v in sd.items() if k != name}, name.replace("weight", "qweight"): torch.zeros(8, 96, dtype=torch.int32)},
                  "fp8": lambda sd: {**sd, name: sd[name].to(torch.float8_e4m3fn), name + "_scale_inv": torch.ones(1, 1)}}
        for kind, change in packed.items():
            directory = self.variant(source, f"packed-{kind}", change, **({"quantization_config": {"quant_method": "bitsandbytes"}} if kind == "bnb" else {}))
            known = "by another tool (bitsandbytes): " if kind == "bnb" else "by another tool: "
            for command in (("inspect", directory), ("import", directory, "--out", self.dir / "never"), ("quantize", directory, "--out", self.dir / "never.gguf", "--format", "q8_0"),
                            ("eval", directory, "--text", self.dir / "text.txt"))[:4 if kind == "bnb" or EVERY else 1]:
                self.refused(4, ["the weights are quantized " + known], *command)

    def test_dtypes(self):
        source = self.build("plain", "llama", tie_word_embeddings=True)
        expected = load_file(source / "model.safetensors")
        tensors, notes, _ = self.read(self.variant(source, "doubles", lambda sd: {k: v.double() + 1e-12 for k, v in sd.items()}))
        self.assert_same(tensors, {k: (v.double() + 1e-12).float() for k, v in expected.items()})
        self.assertIn(f"{len(expected)} tensors are F64", notes[0])
        name = "model.layers.0.mlp.up_proj.weight"
        tensors, notes, _ = self.read(self.variant(source, "one-double", lambda sd: {**sd, name: sd[name].double()}))
        self.assert_same(tensors, expected)
        huge = self.variant(source, "huge", lambda sd: {**sd, name: sd[name].double() * 1e300})
        self.refused(3, [name, "inf as F32"], "eval", huge, "--text", self.dir / "text.txt", "--context", 32)
        # What transformers computes itself, and what has no values, is no part of the model, whatever its dtype.
        extra = {"model.rotary_emb.inv_freq": torch.ones(8, dtype=torch.float64), "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8, dtype=torch.float16),
                 "model.layers.0.self_attn.rotary_emb.cos_cached": torch.ones(4, dtype=torch.int8), "model.layers.1.extra_state": torch.zeros(0)}
        tensors, notes, _ = self.read(self.variant(source, "buffers", lambda sd: {**sd, **extra}))
        self.assert_same(tensors, expected)
        gpt2 = self.build("gpt2", "gpt2", n_embd=64, n_head=4, n_layer=2, n_positions=128)
        expected = load_file(gpt2 / "model.safetensors")
        for dtype in (torch.uint8, torch.bool, torch.float16, torch.int64)[:4 if EVERY else 2]:
            masks = {f"transformer.h.{i}.attn.bias": torch.ones(1, 1, 128, 128).tril().to(dtype) for i in range(2)}
            masks["transformer.h.0.attn.masked_bias"] = torch.tensor(-1e4).to(dtype)
            tensors, notes, _ = self.read(self.variant(gpt2, f"masks-{dtype}", lambda sd: {**sd, **masks}))
            self.assert_same(tensors, expected)
            shorter = {key.removeprefix("transformer."): mask for key, mask in masks.items()}
            tensors, notes, _ = self.read(self.variant(gpt2, f"base-masks-{dtype}", lambda sd: {**{k.removeprefix("transformer."): v for k, v in sd.items()}, **shorter}))
            self.assert_same(tensors, expected)
        self.refused(4, ["layers.0.extra", "is not part of"], "inspect", self.variant(source, "unknown", lambda sd: {**sd, "model.layers.0.extra": torch.ones(2, dtype=torch.int8)}))
        integers = self.variant(source, "integers", lambda sd: {**sd, name: torch.ones_like(sd[name]).to(torch.int16)})
        self.refused(4, [f"tensor {name} is I16"], "inspect", integers)

    def logits(self, directory, of=AutoModelForCausalLM):
        with torch.no_grad():
            return of.from_pretrained(directory, dtype=torch.float32).eval()(input_ids=self.ids).logits

    def test_text_parts(self):
        """The text part of a model that reads pictures or sound too."""
        text = {"llama": dict(SMALL, model_type="llama"), "qwen2": {**SMALL, "model_type": "qwen2"},
                "mistral": dict(SMALL, model_type="mistral", sliding_window=None),
                "gemma3": dict(SMALL, model_type="gemma3_text", query_pre_attn_scalar=16, sliding_window=32, num_hidden_layers=7)}
        clip = dict(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14, model_type="clip_vision_model")
        siglip = dict(clip, model_type="siglip_vision_model")
        rope = dict(rope_type="default", mrope_section=[2, 3, 3], rope_theta=10000.0)
        vl = dict({key: value for key, value in SMALL.items() if key != "head_dim"}, rope_parameters=rope)
        wholes = {"gemma3": dict(text_config=text["gemma3"], vision_config=siglip, mm_tokens_per_image=4), "llava": dict(text_config=text["llama"], vision_config=clip),
                  "llava_next": dict(text_config=text["mistral"], vision_config=clip), "llava_onevision": dict(text_config=text["qwen2"], vision_config=siglip),
                  "idefics3": dict(text_config=text["llama"], vision_config=dict(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)),
                  "qwen2_vl": dict(text_config=vl, vision_config=dict(depth=1, embed_dim=32, num_heads=2, hidden_size=64, mlp_ratio=1)),
                  "qwen2_5_vl": dict(text_config=vl, vision_config=dict(depth=1, hidden_size=32, num_heads=2, intermediate_size=32, out_hidden_size=64)),
                  "qwen3_vl": dict(text_config=dict(vl, head_dim=16), vision_config=dict(depth=1, hidden_size=32, num_heads=2, intermediate_size=32, out_hidden_size=64,
                                                                                        deepstack_visual_indexes=[0]))}
        for name, settings in wholes.items():
            if name not in ("gemma3", "llava_next", "qwen2_vl") and not EVERY:
                continue
            with self.subTest(name):
                whole = randomized(transformers.AutoModelForImageTextToText.from_config(AutoConfig.for_model(name, **copy.deepcopy(settings))))
                directory = self.save(f"whole-{name}", whole)
                with torch.no_grad():
                    expected = whole(input_ids=self.ids).logits
                tied = whole.get_output_embeddings().weight.data_ptr() == whole.get_input_embeddings().weight.data_ptr()
                inner = {key: value for key, value in whole.state_dict().items() if not (tied and key == "lm_head.weight")}
                layouts = {"saved": directory, "inner": self.variant(directory, f"inner-{name}", lambda sd: {k: v.clone() for k, v in inner.items()})}
                for layout, path in layouts.items():
                    tensors, notes, out = self.read(path)
                    self.assertTrue(any("the text part of this " + name in note and "left out (" in note for note in notes), notes)
                    self.assertLess((self.logits(out) - expected).abs().max().item(), 1e-4 * expected.std().item(), layout)
                    self.assertFalse(any("vis" in key for key in tensors))
                tool.run_json("quantize", directory, "--out", self.dir / "part.gguf", "--format", "f32")
                bare = tool.run_json("inspect", directory / "config.json")
                self.assertEqual(bare["parameters"], tool.run_json("inspect", directory)["parameters"])
                self.assertTrue(bare["notes"])
        # A part that is not ours, and a whole that is not known.
        config = json.loads((self.dir / "whole-llava_next/config.json").read_text())
        for change, word in ((dict(text_config=dict(config["text_config"], model_type="persimmon")), "persimmon"), (dict(model_type="mllama"), "mllama")):
            other = self.dir / "other.json"
            other.write_text(json.dumps({**config, **change}))
            self.refused(4, [word], "inspect", other)

    def test_text_part_with_the_keys_that_differ_from_its_class(self):
        """As Gemma 3 4B and LLaVA 1.5 are published: what equals the class's default is left out."""
        for whole, part, parameters in (("gemma3", dict(hidden_size=2560, intermediate_size=10240, model_type="gemma3_text", num_hidden_layers=34,
                                                        rope_scaling=dict(factor=8.0, rope_type="linear"), sliding_window=1024), None),
                                        ("llava", dict(model_type="llama", max_position_embeddings=4096, rms_norm_eps=1e-5, vocab_size=32064, torch_dtype="float16"), None),
                                        ("llava", dict(model_type="mistral", vocab_size=32064), None)):
            path = self.dir / "part.json"
            path.write_text(json.dumps(dict(architectures=["X"], model_type=whole, text_config=part, vision_config=dict(model_type="clip_vision_model"), image_token_index=5)))
            ours = tool.run_json("inspect", path)
            config = AutoConfig.for_model(part["model_type"], **{k: v for k, v in part.items() if k != "model_type"})
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(config)
            self.assertEqual(ours["parameters"], sum(p.numel() for p in model.parameters()), part)
            self.assertEqual(ours["positions"], config.max_position_embeddings)
            self.assertEqual(ours["tied"], config.tie_word_embeddings)

    def test_windows_as_long_as_the_context(self):
        layers = SMALL["num_hidden_layers"]
        for name, family, settings in (("equal", "mistral", dict(sliding_window=128)), ("longer", "mistral", dict(sliding_window=4096)), ("none", "mistral", dict(sliding_window=None)),
                                       ("off", "qwen2", dict(sliding_window=32, use_sliding_window=False)),
                                       ("late", "qwen2", dict(sliding_window=32, use_sliding_window=True, max_window_layers=layers)),
                                       ("on", "qwen2", dict(sliding_window=128, use_sliding_window=True, max_window_layers=0)),
                                       ("on", "qwen3", dict(sliding_window=128, use_sliding_window=True, max_window_layers=0))):
            if (family, name) not in (("mistral", "equal"), ("qwen2", "off"), ("qwen2", "on")) and not EVERY:
                continue
            with self.subTest(f"{family} {name}"):
                source = self.build(f"window-{family}-{name}", family, **settings)
                model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
                file = self.dir / f"{source.name}.gguf"
                tool.run_json("quantize", source, "--out", file, "--format", "f32")
                self.assertEqual(tool.run_json("inspect", file)["architecture"], "llama" if family == "mistral" else family)
                ids = torch.tensor([self.bpe.encode(TEXT).ids[:128]])
                with torch.no_grad():
                    expected = model(ids, labels=ids).loss.exp().item()
                ours = tool.run_json("perplexity", file, "--text", self.dir / "text.txt", "--context", 128, "--kv", "f32", "--windows", 1, program=tool.espalier_run)
                self.assertLess(abs(ours["perplexity"] / expected - 1), 1e-4)
        self.refused(4, ["max_position_embeddings"], "quantize", self.build("window-short", "mistral", sliding_window=100), "--out", self.dir / "x.gguf", "--format", "f32")

    def test_configs_of_every_class(self):
        """What transformers writes for a new model of each family. Its versions are judged in transformers_versions_test.py."""
        for family, more in (("llama", {}), ("mistral", {}), ("smollm3", {}), ("granite", {}), ("qwen2", {}), ("qwen3", {}), ("qwen3_moe", dict(norm_topk_prob=True)), ("gemma2", {}),
                             ("gemma3_text", {}), ("phi3", {}), ("nemotron", {}), ("gpt2", {}),
                             ("granitemoehybrid", dict(num_local_experts=0, position_embedding_type="rope", layer_types=["attention"] * 2, num_hidden_layers=2))):
            for diff in (True, False) if EVERY else (False,):
                with self.subTest(f"{family} {diff}"):
                    path = self.dir / "class.json"
                    AutoConfig.for_model(family, **more).to_json_file(path, use_diff=diff)
                    config = {"model_type": family, **json.loads(path.read_text())}
                    needed = {key: value for key, value in AutoConfig.for_model(family, **more).to_dict().items() if key not in ("layer_types", "time_step_limit")}
                    path.write_text(json.dumps({**needed, **config}))
                    self.assertGreater(tool.run_json("inspect", path)["parameters"], 0)


if __name__ == "__main__":
    tool.main()
