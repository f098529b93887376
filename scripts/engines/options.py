# SPDX-License-Identifier: Apache-2.0
"""The options of a training: those of `espalier distill`, from the same YAML file (configs/train/*.yaml) and from flags, with the same names,
defaults and ranges (lib/train/distill/options.h). Keys that are not known are refused."""
import dataclasses
import json
import math
import pathlib
from typing import NamedTuple

import yaml

INTERNAL, USAGE, INPUT, UNSUPPORTED, CHECK_FAILED = 1, 2, 3, 4, 5  # exit codes, as those of espalier


class Fault(Exception):
    """What a user, a file or a machine has caused; `code` is the exit code."""

    def __init__(self, code, *message):
        super().__init__("".join(map(str, message)))
        self.code = code


def require(condition, code, *message):
    if not condition:
        raise Fault(code, *message)


def _distance(a, b):
    """Edits between two names; two letters that changed places are one edit."""
    before, last = None, list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            row.append(min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y)))
            if before and j > 1 and x == b[j - 2] and a[i - 2] == y:
                row[j] = min(row[j], before[j - 2] + 1)
        before, last = last, row
    return last[-1]


def did_you_mean(name, names):
    """"; did you mean 'x'?", or nothing when no name is near."""
    near = sorted((1 if len(name) > 4 and other.startswith(name) else _distance(name, other), other) for other in names)
    return f"; did you mean '{near[0][1]}'?" if near and near[0][0] <= max(2 if len(name) > 5 else 1, len(name) // 3) else ""


COUNTS = {"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12}


def parse_count(text):
    digits = text.rstrip("".join(COUNTS))
    try:
        value = float(digits) * COUNTS[text[len(digits):].strip()]
    except (KeyError, ValueError):
        raise ValueError(f"'{text}': expected a number such as 1200, 120k or 2.5G") from None
    if not (0 <= value < 9e18) or abs(value - round(value)) > 1e-9 * value:
        raise ValueError(f"'{text}': expected a whole number from 0 on")
    return round(value)


def parse_real(text):
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"'{text}' is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"'{text}': expected a finite number")
    return value


def parse_flag(text):
    if text not in ("true", "false"):
        raise ValueError(f"'{text}': expected true or false")
    return text == "true"


class Option(NamedTuple):
    default: object
    parse: object
    least: object = None  # the smallest value, or for texts the choices
    most: object = math.inf
    help: str = ""


def number(default, least, most, text):
    return Option(default, parse_real, least, most, text)


def count(default, least, text):
    return Option(default, parse_count, least, math.inf, text)


def choice(default, *choices, text):
    return Option(default, str, choices, help=text)


OPTIONS = {
    "tokens": count(None, 1, "tokens to train on, rounded up to whole steps"),
    "batch": count(4, 1, "windows of a step over all ranks, times accumulation"),
    "sequence": count(512, 2, "tokens of a window"),
    "accumulation": count(1, 1, "multiplies batch"),
    "learning_rate": number(3e-4, 0, 1, "peak of the learning rate"),
    "schedule": choice("cosine", "cosine", "constant", "linear", "wsd", text="curve from the peak to the last learning rate"),
    "final_learning_rate_ratio": number(0.1, 0, 1, "learning rate of the last step, as a share of the peak"),
    "warmup_ratio": number(0.05, 0, 1, "share of the steps in which the learning rate rises"),
    "beta1": number(0.9, 0, 0.9999, "of AdamW"),
    "beta2": number(0.95, 0, 0.99999, "of AdamW"),
    "epsilon": number(1e-8, 0, 1, "of AdamW"),
    "weight_decay": number(0.0, 0, 1, "of matrices; vectors have none"),
    "clip_norm": number(1.0, 0, 1e9, "largest norm of the gradient; 0: no limit"),
    "kl_weight": number(0.5, 0, 1e3, "weight of the divergence from the teacher"),
    "ce_weight": number(0.5, 0, 1e3, "weight of the cross-entropy of the text"),
    "temperature": number(1.0, 1e-3, 1e3, "divides the logits of both models in the divergence"),
    "loss": choice("forward_kl", "forward_kl", "reverse_kl", "jsd", text="divergence"),
    "checkpoint_every": count(25, 1, "steps between checkpoints"),
    "precision": choice("auto", "auto", "float32", "bfloat16", text="of matrix products; auto leaves it to Accelerate"),
    "tokens_at_once": count(512, 1, "tokens of one forward and backward pass of a rank: whole windows, at least one"),
    "vocab_chunk": count(0, 0, "tokens for which intermediate values of the loss exist at a time; 0: chosen"),
    "train_embeddings": Option(True, parse_flag, help="false: the embeddings do not change"),
}
TrainOptions = dataclasses.make_dataclass("TrainOptions", [(name, object, o.default) for name, o in OPTIONS.items()] + [("seed", int, 0)])


def parse_option(name, text):
    """The value of one option. ValueError says what was expected."""
    option = OPTIONS[name]
    value = option.parse(text)
    if option.parse is str and value not in option.least:
        raise ValueError(f"'{text}': expected {', '.join(option.least[:-1])} or {option.least[-1]}" + did_you_mean(text, option.least))
    if option.parse in (parse_real, parse_count) and not option.least <= value <= option.most:
        raise ValueError(f"{text}: expected " + (f"at least {option.least}" if option.most == math.inf else f"{option.least} to {option.most:g}"))
    return value


def _resolve(name, file):
    """A file that another file names: relative to it, else to any folder above it."""
    for folder in pathlib.Path(file).absolute().parents:
        if (folder / name).exists():
            return folder / name
    return pathlib.Path(name)


def read_config(path, depth=0):
    """{key: (value, place)} of a training file; `use: FILE` takes the keys of another file first."""
    require(depth <= 16, INPUT, path, ": 'use' goes in circles")
    try:
        root = yaml.compose(pathlib.Path(path).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise Fault(INPUT, path, ": cannot be read: ", error) from error
    require(isinstance(root, yaml.MappingNode), INPUT, path, ": expected a map (key: value)")
    out, seen = {}, set()
    for key, value in root.value:
        place = f"{path}:{key.start_mark.line + 1}:{key.start_mark.column + 1}"
        require(isinstance(key, yaml.ScalarNode), INPUT, place, ": expected a key")
        require(key.value not in seen, INPUT, place, f": key '{key.value}' appears twice")
        seen.add(key.value)
        require(isinstance(value, yaml.ScalarNode) and value.value, INPUT, place, f": {key.value}: expected one value")
        if key.value == "use":
            out = {**read_config(_resolve(value.value, path), depth + 1), **out}
            continue
        require(key.value != "seed", INPUT, place, ": seed: a training file has none; give --seed")
        require(key.value in OPTIONS, INPUT, place, f": unknown key '{key.value}'", did_you_mean(key.value, [*OPTIONS, "use"]), " (known here: ", ", ".join([*OPTIONS, "use"]), ")")
        try:
            out[key.value] = parse_option(key.value, value.value)
        except ValueError as error:
            raise Fault(INPUT, place, ": ", key.value, ": ", error) from error
    return out


def train_options(config, flags, seed):
    """From a training file (or None) and flags {name: text or None}, which go first."""
    values = read_config(config) if config else {}
    for name, text in flags.items():
        if text is not None:
            try:
                values[name] = parse_option(name, text)
            except ValueError as error:
                raise Fault(USAGE, "--", name.replace("_", "-"), " ", error) from error
    options = TrainOptions(**values, seed=seed)
    require(options.tokens, USAGE, "give --tokens, or `tokens` in --config")
    require(options.learning_rate > 0 and options.epsilon > 0, USAGE, "learning_rate ", options.learning_rate, " and epsilon ", options.epsilon, " must be positive")
    return options


# Arguments of transformers that options of this program decide, and how to set them.
OWNED = {
    "output_dir": "--out", "per_device_train_batch_size": "batch, tokens_at_once and the number of ranks", "gradient_accumulation_steps": "batch, accumulation and tokens_at_once",
    "max_steps": "tokens", "num_train_epochs": "tokens", "learning_rate": "learning_rate", "lr_scheduler_type": "schedule",
    "lr_scheduler_kwargs": "schedule, warmup_ratio and final_learning_rate_ratio", "warmup_steps": "warmup_ratio", "weight_decay": "weight_decay", "adam_beta1": "beta1", "adam_beta2": "beta2",
    "adam_epsilon": "epsilon", "max_grad_norm": "clip_norm", "seed": "--seed", "data_seed": "--seed", "save_steps": "checkpoint_every", "save_strategy": "checkpoint_every",
    "resume_from_checkpoint": "--resume", "auto_find_batch_size": "tokens_at_once", "dataloader_drop_last": "tokens", "train_sampling_strategy": "--seed",
    "ignore_data_skip": "--resume", "remove_unused_columns": "this program", "label_names": "this program", "average_tokens_across_devices": "this program",
    "bf16": "precision", "fp16": "precision", "label_smoothing_factor": "this program", "save_only_model": "--resume", "parallelism_config": "this program, which splits windows over ranks and nothing else",
}


def trainer_arguments(pairs, names):
    """--trainer KEY=VALUE: {key: value} for TrainingArguments, whose fields are `names`. Values are read as JSON, else they are text."""
    out = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        require(equals and key, USAGE, "--trainer ", pair, ": expected KEY=VALUE")
        require(key in names, USAGE, "--trainer ", pair, f": transformers has no training argument '{key}'", did_you_mean(key, names))
        require(key not in OWNED, USAGE, "--trainer ", pair, ": this is decided by ", OWNED.get(key))
        require(key not in out, USAGE, "--trainer ", pair, f": '{key}' is given twice")
        try:
            out[key] = json.loads(value)
        except ValueError:
            out[key] = value
    require(out.get("save_total_limit", 2) >= 2, USAGE, "--trainer save_total_limit=", out.get("save_total_limit"), ": at least 2, because the last checkpoint may be half-written")
    return out
