#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden values of the block formats: what the package `gguf` decodes and encodes, and what llama-quantize makes of the K formats.

Writes tests/golden/format_blocks.json, or with --file another of FILES (without `input`):
  input      F32 values, 11 super-blocks of 256, among them odd ones (zeros, constants, ramps, outliers, largest value negative)
  formats    for each format
    encoded  gguf.quants.quantize(input), where the package encodes that format
    peer     the bytes llama-quantize --pure writes for the input (K and IQ formats), or the package (mxfp4), and their relative RMS error
    blocks   random bytes with finite scales; decoded = gguf.quants.dequantize(blocks)
The package does not know q2_0: its peer bytes are of llama-quantize --pure too, and what its bytes decode to is what llama-quantize makes
of them when it converts the file to F32.
All binary data in hexadecimal, little-endian.

Command: python scripts/golden/format.py --llama-quantize PATH [--file NAME]    (versions are stored in the file; mxfp4 needs no PATH)
"""
import argparse, importlib.metadata, json, pathlib, struct, subprocess, tempfile
import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden"
FILES = {"format_blocks.json": "f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q4_k q5_k q6_k q2_0".split(),
         "format_blocks_more.json": "q2_k q3_k iq4_nl iq4_xs".split(),  # the input is that of the first
         "format_blocks_mxfp4.json": ["mxfp4"]}
SCALES = {  # byte offsets of binary16 scales in a block, made finite in the random blocks
    "q8_0": [0], "q4_0": [0], "q5_0": [0], "q4_1": [0, 2], "q5_1": [0, 2], "q4_k": [0, 2], "q5_k": [0, 2], "q6_k": [208], "q2_0": [0], "q2_k": [80, 82],
    "q3_k": [108], "iq4_nl": [0], "iq4_xs": [0]}
Q2_0 = 42  # type number in GGUF, not in the package
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


TENSORS = [f"{name}.weight" for name in ("token_embd", "blk.0.attn_v", "blk.0.ffn_up", "output")]


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
        for tensor in TENSORS:
            writer.add_tensor(tensor, x)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    kind = {"q3_k": "Q3_K_S", "q4_k": "Q4_K_S", "q5_k": "Q5_K_S"}.get(name, name.upper())
    subprocess.run([program, "--pure", str(source), str(target), kind, "1"], check=True, capture_output=True)
    if name == "q2_0":
        begin, size = q2_0_span(target.read_bytes(), x.size)
        return np.frombuffer(target.read_bytes()[begin:begin + size], np.uint8)
    for tensor in gguf.GGUFReader(target).tensors:
        if tensor.name == "blk.0.ffn_up.weight":
            assert tensor.tensor_type == getattr(Type, name.upper()), tensor.tensor_type
            return np.array(tensor.data).view(np.uint8).reshape(-1)
    raise SystemExit("llama-quantize lost the tensor")


# Where the bytes of ffn_up lie in a Q2_0 file; the package's reader refuses the file. A tensor's entry is its name, u32 dimensions, u64 sizes,
# u32 type, u64 offset; the data begin after the last entry, aligned to 32.
def q2_0_span(file, count):
    entry = {name: file.index(name.encode()) + len(name) for name in TENSORS}
    end = max(at + 4 + 16 + 4 + 8 for at in entry.values())
    dimensions, *_, kind, offset = struct.unpack_from("<IQQIQ", file, entry["blk.0.ffn_up.weight"])
    assert (dimensions, kind) == (2, Q2_0), (dimensions, kind)
    return (end + 31) // 32 * 32 + offset, count // 64 * 18


def q2_0_decode(program, blocks, directory):
    quantized, patched, plain = (directory / name for name in ("q2_0.gguf", "patched.gguf", "plain.gguf"))
    file = bytearray(quantized.read_bytes())
    begin, size = q2_0_span(file, 11 * COLS)
    assert len(blocks) <= size
    file[begin:begin + len(blocks)] = blocks.tobytes()
    patched.write_bytes(file)
    subprocess.run([program, "--allow-requantize", str(patched), str(plain), "F32", "1"], check=True, capture_output=True)
    tensor, = (t for t in gguf.GGUFReader(plain).tensors if t.name == "blk.0.ffn_up.weight")
    assert tensor.tensor_type == Type.F32
    return np.array(tensor.data, dtype=np.float32).reshape(-1)[:len(blocks) // 18 * 64]


def random_blocks(rng, name, count, size):
    if name in ("f32", "f16", "bf16"):
        values = (rng.standard_normal(count) * 10.0 ** rng.uniform(-6, 4, count)).astype(np.float32)
        return gguf.quants.quantize(values, getattr(Type, name.upper())).view(np.uint8).reshape(-1)
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    if name == "mxfp4":
        blocks[:, 0] = rng.integers(90, 160, count)
        blocks[:6, 0] = 0, 1, 2, 3, 252, 253  # subnormal scales, the largest one without infinity, and the next
        return blocks.reshape(-1)
    for offset in SCALES[name]:
        exponents = rng.uniform(-7, 3, count)
        scales = (rng.choice([-1.0, 1.0], count) * 10.0 ** exponents).astype(np.float16)  # some subnormal
        blocks[:, offset:offset + 2] = scales.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(-1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--llama-quantize")
    parser.add_argument("--file", choices=FILES, default="format_blocks.json")
    arguments = parser.parse_args()
    program, out = arguments.llama_quantize, OUT / arguments.file
    if not program and FILES[out.name] != ["mxfp4"]:
        parser.error("--llama-quantize is missing")
    rng = np.random.default_rng(20240607)
    x = make_input(rng)
    golden = {"command": "python scripts/golden/format.py" + (" --llama-quantize PATH" if program else "") +
                         (f" --file {out.name}" if out.name != "format_blocks.json" else ""),
              "versions": {"gguf": importlib.metadata.version("gguf"), "numpy": np.__version__},
              "formats": {}}
    if program:
        golden["versions"]["llama-quantize"] = "llama-cpp-python 0.3.36"
    if out.name == "format_blocks.json":
        golden["input"] = x.tobytes().hex()
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        for name in FILES[out.name]:
            if name == "q2_0":
                block, size, decode = 64, 18, lambda blocks: q2_0_decode(program, blocks, directory)
            else:
                kind = getattr(Type, name.upper())
                block, size = gguf.GGML_QUANT_SIZES[kind]
                decode = lambda blocks: gguf.quants.dequantize(blocks.reshape(-1, size) if block > 1 else blocks, kind)
            entry = {}
            if name.endswith("_k") or name in ("q2_0", "mxfp4") or name.startswith("iq"):
                peer = gguf.quants.quantize(x, kind).reshape(-1) if name == "mxfp4" else llama_quantize(program, x, name, directory)
                decoded = decode(peer).reshape(x.shape)
                error = float(np.sqrt(np.mean((decoded.astype(np.float64) - x) ** 2)) / np.sqrt(np.mean(x.astype(np.float64) ** 2)))
                entry["peer"] = {"bytes": peer.tobytes().hex(), "relative_rmse": float("%.9g" % error),
                                 "decoded": decoded.astype(np.float32).tobytes().hex()}
            elif name != "f32":
                entry["encoded"] = gguf.quants.quantize(x, kind).tobytes().hex()
            blocks = random_blocks(rng, name, 512 // block if block > 1 else 96, size)
            decoded = decode(blocks)
            entry["blocks"] = blocks.tobytes().hex()
            entry["decoded"] = np.ascontiguousarray(decoded, dtype=np.float32).tobytes().hex()
            golden["formats"][name] = entry
    out.write_text(json.dumps(golden, indent=0) + "\n")
    print(out, out.stat().st_size, "bytes")
    print({name: entry["peer"]["relative_rmse"] for name, entry in golden["formats"].items() if "peer" in entry})


main()
