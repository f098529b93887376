# SPDX-License-Identifier: Apache-2.0
"""DeciLM and OpenELM written down a second time, to judge the first: config and tensors by name in dictionaries, one head after another, rotation
as a product of complex numbers. Slow, plain, and without a line of the modeling file that espalier writes."""
import copy
import json
import math
import pathlib
from types import SimpleNamespace

import torch


def deci_sizes(config):
    for block in config["block_configs"]:
        attention, ffn = block["attention"], block["ffn"]
        heads, groups, width = 0, 0, 0
        if not attention["no_op"]:
            heads = attention.get("num_attention_heads", config["num_attention_heads"])
            groups = heads // attention["n_heads_in_group"]
        if not ffn["no_op"]:
            width = ffn.get("intermediate_size") or 256 * math.ceil(math.floor(2 * ffn["ffn_mult"] * config["hidden_size"] / 3) / 256)
        yield heads, groups, width


def older_deci_sizes(config):
    for groups in config["num_key_value_heads_per_layer"]:
        yield config["num_attention_heads"], groups, config["intermediate_size"]


def openelm_sizes(config):
    d = config["ffn_dim_divisor"]
    for heads, groups, m in zip(config["num_query_heads"], config["num_kv_heads"], config["ffn_multipliers"]):
        exact = m * config["model_dim"]
        width = max(d, math.floor((exact + d / 2) / d) * d)
        yield heads, groups, width if width >= 0.9 * exact else width + d


class Reference:
    def __init__(self, config, state):
        self.config, self.state = config, state
        self.openelm = config["model_type"] == "openelm"
        self.hidden = config["model_dim" if self.openelm else "hidden_size"]
        self.head_dim = config.get("head_dim") or self.hidden // config["num_attention_heads"]
        self.tied = config["share_input_output_layers" if self.openelm else "tie_word_embeddings"]
        rope = config.get("rope_parameters") or config  # as transformers 5 writes it, or older ones
        self.base = config["rope_freq_constant"] if self.openelm else rope["rope_theta"]
        self.scaling = rope if rope.get("rope_type", "default") != "default" else config.get("rope_scaling")
        self.eps = 1e-6 if self.openelm else config["rms_norm_eps"]
        self.sizes = list((openelm_sizes if self.openelm else deci_sizes if "block_configs" in config else older_deci_sizes)(config))

    @staticmethod
    def random(config):
        model = Reference(config, {})
        for name, shape in model.shapes().items():
            if len(shape) == 1:
                model.state[name] = (0.0 if name.endswith("bias") else 1.0) + 0.2 * torch.randn(shape)
            else:
                model.state[name] = torch.randn(shape) * 1.4 / shape[1] ** 0.5
        return model

    @staticmethod
    def open(directory):
        from safetensors.torch import load_file
        directory = pathlib.Path(directory)
        return Reference(json.loads((directory / "config.json").read_text()), load_file(str(directory / "model.safetensors")))

    def save(self, directory):
        from safetensors.torch import save_file
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "config.json").write_text(json.dumps(self.config, indent=2) + "\n")
        save_file({k: v.contiguous() for k, v in self.state.items()}, str(directory / "model.safetensors"), metadata={"format": "pt"})

    def shapes(self):
        H, D, V = self.hidden, self.head_dim, self.config["vocab_size"]
        stem = "transformer" if self.openelm else "model"
        out = {"transformer.token_embeddings.weight" if self.openelm else "model.embed_tokens.weight": (V, H), f"{stem}.norm.weight": (H,)}
        if not self.tied:
            out["lm_head.weight"] = (V, H)
        for l, (n, k, f) in enumerate(self.sizes):
            at = f"{stem}.layers.{l}."
            if self.openelm:
                out.update({at + "attn_norm.weight": (H,), at + "ffn_norm.weight": (H,), at + "attn.qkv_proj.weight": ((n + 2 * k) * D, H), at + "attn.q_norm.weight": (D,),
                            at + "attn.k_norm.weight": (D,), at + "attn.out_proj.weight": (H, n * D), at + "ffn.proj_1.weight": (2 * f, H), at + "ffn.proj_2.weight": (H, f)})
                continue
            if n:
                out[at + "input_layernorm.weight"] = (H,)
                for name, shape in (("q", (n * D, H)), ("k", (k * D, H)), ("v", (k * D, H)), ("o", (H, n * D))):
                    out[f"{at}self_attn.{name}_proj.weight"] = shape
                    if self.config.get("attention_bias"):
                        out[f"{at}self_attn.{name}_proj.bias"] = shape[:1]
            if f:
                out[at + "post_attention_layernorm.weight"] = (H,)
                for name, shape in (("gate", (f, H)), ("up", (f, H)), ("down", (H, f))):
                    out[f"{at}mlp.{name}_proj.weight"] = shape
                    if self.config.get("mlp_bias"):
                        out[f"{at}mlp.{name}_proj.bias"] = shape[:1]
        return out

    def norm(self, name, x):
        return x / (x.pow(2).mean(-1, keepdim=True) + self.eps).sqrt() * self.state[name]

    def linear(self, name, x):
        y = x @ self.state[name + ".weight"].T
        return y + self.state[name + ".bias"] if name + ".bias" in self.state else y

    def turned(self, head):
        """[tokens, head_dim]: value i and value i + half are a complex number."""
        half = self.head_dim // 2
        speed = torch.tensor([self.base ** (-2 * i / self.head_dim) for i in range(half)], dtype=torch.float64)
        scaling = self.scaling
        if scaling and scaling["rope_type"] == "linear":
            speed /= scaling["factor"]
        elif scaling:
            for i in range(half):
                length = 2 * math.pi / speed[i].item()
                low, high = (scaling["original_max_position_embeddings"] / scaling[key] for key in ("low_freq_factor", "high_freq_factor"))
                if length > low:
                    speed[i] /= scaling["factor"]
                elif length > high:
                    share = (low / length - 1) / (low / high - 1)
                    speed[i] = (1 - share) * speed[i] / scaling["factor"] + share * speed[i]
        angle = torch.outer(torch.arange(head.shape[0], dtype=torch.float64), speed)
        z = torch.complex(head[:, :half].double(), head[:, half:].double()) * torch.polar(torch.ones_like(angle), angle)
        return torch.cat([z.real, z.imag], 1).float()

    def mix(self, q, k, v, heads, groups):
        D, T = self.head_dim, q.shape[0]
        out = []
        for h in range(heads):
            g = h * groups // heads
            one = [t[:, i * D:(i + 1) * D] for t, i in ((q, h), (k, g), (v, g))]
            if self.openelm:
                one[0], one[1] = self.norm(self.layer + "attn.q_norm.weight", one[0]), self.norm(self.layer + "attn.k_norm.weight", one[1])
            scores = self.turned(one[0]) @ self.turned(one[1]).T / math.sqrt(D)
            scores = scores + torch.full((T, T), float("-inf")).triu(1)
            out.append(scores.exp() / scores.exp().sum(-1, keepdim=True) @ one[2])
        return torch.cat(out, 1)

    def sequence(self, ids):
        D, stem = self.head_dim, "transformer" if self.openelm else "model"
        table = self.state["transformer.token_embeddings.weight" if self.openelm else "model.embed_tokens.weight"]
        x = table[ids]
        for l, (n, k, f) in enumerate(self.sizes):
            self.layer = at = f"{stem}.layers.{l}."
            if n:
                h = self.norm(at + ("attn_norm.weight" if self.openelm else "input_layernorm.weight"), x)
                if self.openelm:
                    qkv = self.linear(at + "attn.qkv_proj", h)
                    x = x + self.linear(at + "attn.out_proj", self.mix(qkv[:, :n * D], qkv[:, n * D:(n + k) * D], qkv[:, (n + k) * D:], n, k))
                else:
                    q, keys, v = (self.linear(f"{at}self_attn.{name}_proj", h) for name in "qkv")
                    x = x + self.linear(at + "self_attn.o_proj", self.mix(q, keys, v, n, k))
            if f:
                h = self.norm(at + ("ffn_norm.weight" if self.openelm else "post_attention_layernorm.weight"), x)
                if self.openelm:
                    both = self.linear(at + "ffn.proj_1", h)
                    gate, up = both[:, :f], both[:, f:]
                else:
                    gate, up = self.linear(at + "mlp.gate_proj", h), self.linear(at + "mlp.up_proj", h)
                x = x + self.linear(at + ("ffn.proj_2" if self.openelm else "mlp.down_proj"), gate / (1 + (-gate).exp()) * up)
        x = self.norm(stem + ".norm.weight", x)
        return x @ (table if self.tied else self.state["lm_head.weight"]).T

    def __call__(self, ids):
        with torch.no_grad():
            return SimpleNamespace(logits=torch.stack([self.sequence(row) for row in ids]))

    def wrong(self):
        """Models that are wrong in one thing."""
        first = next(l for l, (n, _, _) in enumerate(self.sizes) if n)
        last = max(l for l, (_, _, f) in enumerate(self.sizes) if f)
        shuffled, silent, rebased = copy.deepcopy(self), copy.deepcopy(self), copy.deepcopy(self)
        rebased.base *= 3
        name = f"transformer.layers.{first}.attn.qkv_proj.weight" if self.openelm else f"model.layers.{first}.self_attn.q_proj.weight"
        rows = self.sizes[first][0] * self.head_dim
        shuffled.state[name] = torch.cat([self.state[name][:rows].flip(0), self.state[name][rows:]])
        silent.state[f"transformer.layers.{last}.ffn.proj_2.weight" if self.openelm else f"model.layers.{last}.mlp.down_proj.weight"].zero_()
        return {"rope_base": rebased, "q_rows": shuffled, "zero_mlp": silent}
