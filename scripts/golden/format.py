#!/usr/bin/env python3
"""Golden values of the block formats: what the package `gguf` decodes and encodes, and what llama-quantize makes of the K formats.

Writes tests/golden/format_blocks.json:
  input      F32 values, 11 super-blocks of 256, among them odd ones (zeros, constants, ramps, outliers, largest value negative)
  formats    for each format
    encoded  gguf.quants.quantize(input), where the package encodes that format
    peer     the bytes llama-quantize --pure writes for the input (K formats), and its relative RMS error
    blocks   random bytes with finite scales; decoded = gguf.quants.dequantize(blocks)
All binary data in hexadecimal, little-endian.

Command: python scripts/golden/format.py --llama-quantize PATH    (versions are stored in the file)
"""
import argparse, importlib.metadata, json, pathlib, subprocess, tempfile
import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden" / "format_blocks.json"
FORMATS = "f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q4_k q5_k q6_k".split()
SCALES = {  # byte offsets of binary16 scales in a block, made finite in the random blocks
    "q8_0": [0], "q4_0": [0], "q5_0": [0], "q4_1": [0, 2], "q5_1": [0, 2], "q4_k": [0, 2], "q5_k": [0, 2], "q6_k": [208]}
COLS = 256


def make_input(rng):
    rows = [rng.standard_normal(COLS) * 0.05 for _ in range(4)]
    rows.append(rng.standard_normal(COLS) * np.repeat(10.0 ** rng.uniform(-3, 2, 8), 32))  # groups of very different size
    rows.append(np.where(rng.random(COLS) < 0.03, 5.0, 0.02) * rng.standard_normal(COLS))  # outliers
    rows.append(np.linspace(-1, 1, COLS))
    rows.append(np.concatenate([np.zeros(64), np.full(64, 0.3), np.full(64, -0.7), np.tile([1.0, -1.0], 32)]))
    rows.append(np.abs(rng.standard_normal(COLS)) + 0.5)  # all positive: the min of a K format cannot help
    rows.append(-np.abs(rng.standard_normal(COLS)) - 0.5)
    negative = rng.standard_normal(COLS)
    negative[::32] = -7.5  # the largest magnitude is negative in each block of 32
    rows.append(negative)
    return np.array(rows, dtype=np.float32)


def llama_quantize(program, x, name, directory):
    source, target = directory / "source.gguf", directory / f"{name}.gguf"
    if not source.exists():
        writer = gguf.GGUFWriter(source, "llama")
        writer.add_block_count(1)
        writer.add_context_length(64)
        writer.add_embedding_length(COLS)
        writer.add_feed_forward_length(COLS)
        writer.add_head_count(4)
        writer.add_layer_norm_rms_eps(1e-5)
        for tensor in ("token_embd", "blk.0.attn_v", "blk.0.ffn_up", "output"):
            writer.add_tensor(tensor + ".weight", x)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    subprocess.run([program, "--pure", str(source), str(target), name.upper()[:-1] + ("K_S" if name != "q6_k" else "K"), "1"],
                   check=True, capture_output=True)
    for tensor in gguf.GGUFReader(target).tensors:
        if tensor.name == "blk.0.ffn_up.weight":
            assert tensor.tensor_type == getattr(Type, name.upper()), tensor.tensor_type
            return np.array(tensor.data).view(np.uint8).reshape(-1)
    raise SystemExit("llama-quantize lost the tensor")


def random_blocks(rng, name, count, size):
    if name in ("f32", "f16", "bf16"):
        values = (rng.standard_normal(count) * 10.0 ** rng.uniform(-6, 4, count)).astype(np.float32)
        return gguf.quants.quantize(values, getattr(Type, name.upper())).view(np.uint8).reshape(-1)
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for offset in SCALES[name]:
        exponents = rng.uniform(-7, 3, count)
        scales = (rng.choice([-1.0, 1.0], count) * 10.0 ** exponents).astype(np.float16)  # some subnormal
        blocks[:, offset:offset + 2] = scales.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(-1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--llama-quantize", required=True)
    program = parser.parse_args().llama_quantize
    rng = np.random.default_rng(20240607)
    x = make_input(rng)
    golden = {"command": "python scripts/golden/format.py --llama-quantize PATH",
              "versions": {"gguf": importlib.metadata.version("gguf"), "numpy": np.__version__,
                           "llama-quantize": "llama-cpp-python 0.3.36"},
              "input": x.tobytes().hex(), "formats": {}}
    with tempfile.TemporaryDirectory() as directory:
        for name in FORMATS:
            kind = getattr(Type, name.upper())
            block, size = gguf.GGML_QUANT_SIZES[kind]
            entry = {}
            if name.endswith("_k"):
                peer = llama_quantize(program, x, name, pathlib.Path(directory))
                decoded = gguf.quants.dequantize(peer.reshape(len(x), -1), kind)
                error = float(np.sqrt(np.mean((decoded.astype(np.float64) - x) ** 2)) / np.sqrt(np.mean(x.astype(np.float64) ** 2)))
                entry["peer"] = {"bytes": peer.tobytes().hex(), "relative_rmse": float("%.9g" % error),
                                 "decoded": decoded.astype(np.float32).tobytes().hex()}
            elif name != "f32":
                entry["encoded"] = gguf.quants.quantize(x, kind).tobytes().hex()
            blocks = random_blocks(rng, name, 512 // block if block > 1 else 96, size)
            decoded = gguf.quants.dequantize(blocks.reshape(-1, size) if block > 1 else blocks, kind)
            entry["blocks"] = blocks.tobytes().hex()
            entry["decoded"] = np.ascontiguousarray(decoded, dtype=np.float32).tobytes().hex()
            golden["formats"][name] = entry
    OUT.write_text(json.dumps(golden, indent=0) + "\n")
    print(OUT, OUT.stat().st_size, "bytes")
    print({name: entry["peer"]["relative_rmse"] for name, entry in golden["formats"].items() if "peer" in entry})


main()
