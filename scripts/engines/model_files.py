# SPDX-License-Identifier: Apache-2.0
"""Model directories: their identity, loading them with transformers, and writing the trained student as a directory that espalier reads.

The trained directory is the student's own, file by file: the same config.json (with dtype float32), tokenizer and modeling file, the same
tensors in the same weight files, as float32."""
import hashlib
import json
import pathlib
import shutil

from options import INPUT, UNSUPPORTED, USAGE, Fault, require

MODELING = "modeling_espalier.py"  # brought along by models whose layers differ in size
OURS = pathlib.Path(__file__).resolve().parents[2] / "lib/files/checkpoint" / MODELING
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
LEFT_OUT = {INDEX, "manifest.json", "metrics.jsonl", "plan.json", "importance.json"}  # of another stage, or written anew


def sha256_file(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path):
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Fault(INPUT, path, ": cannot be read: ", error) from error


def check_directory(path, what):
    require((path / "config.json").is_file(), INPUT, what, " ", path, ": there is no config.json; expected a Hugging Face directory (`espalier import` makes one of a GGUF)")


def sizes(directory):
    """(vocabulary, context or None) of a model's configuration."""
    config = read_json(directory / "config.json")
    config = {**config.get("text_config", {}), **config}
    require(isinstance(config.get("vocab_size"), int), INPUT, directory / "config.json", ': key "vocab_size" is missing or not a number')
    return config["vocab_size"], next((config[key] for key in ("max_position_embeddings", "n_positions", "max_context_length") if key in config), None)


def weight_files(directory):
    """{weight file: [tensors in it]} of a directory."""
    from safetensors import SafetensorError, safe_open
    names = [WEIGHTS]
    if (directory / INDEX).exists():
        names = sorted(set(read_json(directory / INDEX).get("weight_map", {}).values()))
    out = {}
    for name in names:
        try:
            with safe_open(directory / name, "pt") as file:
                out[name] = list(file.keys())
        except (OSError, SafetensorError) as error:
            raise Fault(INPUT, directory / name, ": cannot be read: ", error) from error
    return out


def sha256_directory(directory):
    """Of names and contents of configuration, tokenizer and weights; moving the directory does not change it."""
    total = hashlib.sha256()
    for path in sorted(p for p in directory.rglob("*") if p.is_file() and p.name not in LEFT_OUT - {INDEX}):
        total.update(f"{path.relative_to(directory)} {sha256_file(path)}\n".encode())
    return total.hexdigest()


def runs_code(directory, allowed):
    """Whether transformers has to run the directory's own code. Only Espalier's modeling file is run without being asked for."""
    if "auto_map" not in read_json(directory / "config.json"):
        return False
    own = directory / MODELING
    known = OURS.is_file() and own.is_file() and own.read_bytes() == OURS.read_bytes()
    require(known or allowed, USAGE, directory, ": loading this model runs Python code of its directory, which is not the ", MODELING,
            " of these sources; read it, and give --trust-remote-code")
    return True


def load_model(directory, dtype, trusted, attention=None):
    """The model with transformers, without dropout, as espalier trains."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    config = AutoConfig.from_pretrained(directory, trust_remote_code=trusted)
    for key, value in list(vars(config).items()):
        if ("dropout" in key or key.endswith("pdrop")) and isinstance(value, float):
            setattr(config, key, 0.0)
    if attention is None and getattr(config, "attn_logit_softcapping", None):
        attention = "eager"  # others leave the cap out
    return AutoModelForCausalLM.from_pretrained(directory, config=config, dtype=dtype if dtype == "auto" else getattr(torch, dtype), trust_remote_code=trusted,
                                                **({"attn_implementation": attention} if attention else {}))


def check_names(directory, model):
    """The weight files and the loaded model have the same tensors, up to those that share memory."""
    state = model.state_dict()
    stored = {name for names in weight_files(directory).values() for name in names}
    missing = sorted(stored - state.keys())
    require(not missing, UNSUPPORTED, directory, ": transformers knows no tensor ", missing[:1], ", so that it could not be written back")
    shared = {state[name].data_ptr() for name in stored}
    more = sorted(name for name in state.keys() - stored if state[name].data_ptr() not in shared)
    require(not more, INPUT, directory, ": the weights of ", more[:1], " are in no file")


def write_trained(student, out, state):
    """Writes the student's directory with the weights of `state` to `out`, and returns {weight file: sha256}."""
    from safetensors.torch import save_file
    out.mkdir()
    for path in student.iterdir():
        if path.is_dir() and path.name == "additional_chat_templates":
            shutil.copytree(path, out / path.name)
        elif path.is_file() and path.suffix != ".safetensors" and path.name not in LEFT_OUT:
            shutil.copyfile(path, out / path.name)
    config = read_json(out / "config.json")
    config.update({key: "float32" for key in ("dtype", "torch_dtype") if key in config})
    (out / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    files = weight_files(student)
    for file, names in files.items():
        save_file({name: state[name].detach().float().cpu().contiguous() for name in names}, out / file, metadata={"format": "pt"})
        shutil.copymode(out / "config.json", out / file)  # save_file lets nobody else read it
    if INDEX in {p.name for p in student.iterdir()}:
        index = {"metadata": {"total_size": sum(4 * state[name].numel() for names in files.values() for name in names)},
                 "weight_map": {name: file for file, names in files.items() for name in names}}
        (out / INDEX).write_text(json.dumps(index, indent=2) + "\n")
    return {file: sha256_file(out / file) for file in files}
