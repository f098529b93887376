// SPDX-License-Identifier: Apache-2.0
// Finds for each tensor of an adapter the weight that it changes, and merges rows.
#include "checkpoint/adapter.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "checkpoint/adapter_settings.h"
#include "checkpoint/own_output.h"
#include "checkpoint/problems.h"
#include "checkpoint/source.h"
#include "checkpoint/text_part.h"
#include "core/error.h"
#include "core/notes.h"

namespace espalier::checkpoint {
namespace {

using format::SafeTensor;

constexpr std::uint64_t kMaxSettingsBytes = 1 << 20;

// "model.layers.7.mlp.up_proj" -> 7; -1: of no layer.
std::int64_t layer_of(const std::string& module) {
  for (std::size_t dot = module.find('.'); dot != std::string::npos;
       dot = module.find('.', dot + 1)) {
    std::int64_t out = 0;
    std::size_t at = dot + 1;
    for (; at < module.size() && at < dot + 8 && module[at] >= '0' && module[at] <= '9'; ++at)
      out = 10 * out + (module[at] - '0');
    if (at > dot + 1 && at < module.size() && module[at] == '.') return out;
  }
  return -1;
}

// What an adapter holds for one tensor of a Hugging Face model: another tensor in its place, or
// what is added, or both (PEFT saves the embedding that it adds to).
struct Change {
  const SafeTensor *a = nullptr, *b = nullptr, *whole = nullptr;
  bool of_embedding = false;  // a and b
  double scale = 0;
};

// Where a tensor of the table lies in the tensors of a Hugging Face model.
struct Part {
  std::string_view pattern;
  std::int64_t first_row = 0, rows = 0, all_rows = 0;  // of one matrix
  std::int64_t cols = 0, stack = 1;
  bool is_vector = false, transposed = false;
};

// "x.q_proj" and "lora_A" of "base_model.model.x.q_proj.lora_A.weight".
struct AdapterName {
  std::string module, kind;
};
AdapterName split_name(std::string name) {
  for (const std::string_view prefix : {"_orig_mod.", "module.", "base_model.model."})
    if (name.starts_with(prefix)) name.erase(0, prefix.size());
  for (const std::string_view kind :
       {"lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector"})
    for (const char* tail : {"", ".weight", ".default", ".default.weight"}) {
      const std::string ending = std::string(".").append(kind).append(tail);
      if (name.ends_with(ending))
        return {name.substr(0, name.size() - ending.size()), std::string(kind)};
    }
  for (const char* inside : {".modules_to_save.default", ".modules_to_save", ".base_layer"}) {
    const std::size_t at = name.find(inside);
    if (at != std::string::npos) name.erase(at, std::string_view(inside).size());
  }
  for (const char* tail : {".weight", ".bias"})
    if (name.ends_with(tail)) return {name.substr(0, name.rfind('.')), tail + 1};
  return {name, ""};
}

std::vector<float> read_values(const format::SafetensorsSet& set, const SafeTensor& tensor) {
  const StoredValues values = values_of(tensor);
  std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.bytes));
  set.read(tensor, 0, bytes);
  const std::int64_t bad = values.first_not_finite(bytes);
  ESP_CHECK(bad < 0, input, set.shard(tensor.shard).path(), ": tensor ", tensor.name, ", value ",
            bad, " is not finite");
  std::vector<float> out(bytes.size() / static_cast<std::size_t>(values.bytes(1, 1)));
  values.decode(bytes.data(), out.data(), static_cast<std::int64_t>(out.size()));
  return out;
}

}  // namespace

struct Adapter::State {
  std::string directory;
  AdapterSettings settings;
  std::unique_ptr<format::SafetensorsSet> set;
  arch::ModelDims dims;
  std::map<std::string, Change> changes;  // by the name of the Hugging Face tensor
  std::map<std::pair<arch::Role, int>, Part> parts;
  std::set<std::int64_t> changed_layers;
  std::set<std::string> unlisted;  // names of modules that target_modules does not name

  // Every Hugging Face tensor of the model, and where the tensors of the table lie in them.
  std::map<std::string, Part> list_parts(const arch::Arch& arch, const arch::ModelDims& sizes) {
    parts.clear();
    std::map<std::string, Part> wholes;
    const std::vector<arch::TensorRef> refs = arch::tensors(arch, sizes);
    for (std::size_t i = 0, next = 0; i < refs.size(); i = next) {
      std::int64_t rows = 0;
      for (next = i; next < refs.size() && refs[next].layer == refs[i].layer &&
                     refs[next].spec->hf == refs[i].spec->hf;
           ++next)
        rows += refs[next].rows / refs[next].stack;
      std::int64_t first = 0;
      for (std::size_t j = i; j < next; ++j) {
        const arch::TensorRef& t = refs[j];
        const Part part{.pattern = t.spec->hf,
                        .first_row = first,
                        .rows = t.rows / t.stack,
                        .all_rows = rows,
                        .cols = t.cols,
                        .stack = t.stack,
                        .is_vector = t.is_vector,
                        .transposed = t.spec->to_gguf == arch::Transform::transpose};
        parts[{t.spec->role, t.layer}] = part;
        first += part.rows;
        for (std::int64_t matrix = 0; matrix < t.stack; ++matrix)
          wholes[arch::with_indices(t.spec->hf, t.layer, matrix)] = part;
      }
    }
    return wholes;
  }

  // PEFT leaves out, without a word, what the lists of the config do not name.
  void check_listed(const std::string& tensor, const std::string& module, Problems& problems) {
    const std::int64_t layer = layer_of(module);
    if (layer >= 0) changed_layers.insert(layer);
    if (!settings.layers.empty() && layer >= 0 && settings.layers.count(layer) == 0)
      problems.input("tensor \"", tensor, "\" is of layer ", layer,
                     ", which key \"layers_to_transform\" of adapter_config.json does not list; "
                     "PEFT would leave it out: list the layer, or remove the tensor");
    if (!settings.targets_module(module)) unlisted.insert(module.substr(module.rfind('.') + 1));
  }

  void note_unlisted() const {
    std::string list;
    for (const std::int64_t layer : settings.layers)
      if (changed_layers.count(layer) == 0)
        list += (list.empty() ? "" : ", ") + std::to_string(layer);
    if (!list.empty())
      core::note(directory + ": layers_to_transform of adapter_config.json lists layer " + list +
                 ", for which there are no tensors; it stays as it is");
    list.clear();
    for (const std::string& module : unlisted) list += (list.empty() ? "" : ", ") + module;
    if (!list.empty())
      core::note(directory + ": there are tensors for " + list +
                 ", which target_modules of adapter_config.json does not list; they are merged, "
                 "while PEFT would leave them out");
  }

  // Sorts the tensors of the files by what they change.
  void collect(const std::map<std::string, Part>& wholes, const std::string& first,
               Problems& problems) {
    std::size_t others = 0;
    for (const SafeTensor& tensor : set->tensors()) {
      const AdapterName name = split_name(tensor.name);
      if (!other_part(name.module).empty()) {
        ++others;
        continue;
      }
      if (name.kind == "lora_magnitude_vector") {
        problems.unsupported("tensor \"", tensor.name, "\" is of DoRA, which is not supported");
        continue;
      }
      std::string module = name_in_text_part(name.module, first);
      const std::string ending = name.kind == "bias" ? ".bias" : ".weight";
      if (wholes.count(module + ending) == 0 && wholes.count(first + module + ending) != 0)
        module = first + module;
      if (name.kind.empty() || wholes.count(module + ending) == 0) {
        problems.input("tensor \"", tensor.name, "\" changes ", module, ending,
                       ", which the base does not have");
        continue;
      }
      if (!is_readable(tensor)) {
        problems.unsupported("tensor \"", tensor.name, "\" has dtype ", tensor.stored,
                             "; F32, F16, BF16 and F64 are supported");
        continue;
      }
      if (name.kind.starts_with("lora_")) check_listed(tensor.name, module, problems);
      Change& change = changes[module + ending];
      const SafeTensor*& slot = name.kind.ends_with("_A")   ? change.a
                                : name.kind.ends_with("_B") ? change.b
                                                            : change.whole;
      if (slot != nullptr)
        problems.input("tensors \"", slot->name, "\" and \"", tensor.name, "\" change the same");
      slot = &tensor;
      change.of_embedding = change.of_embedding || name.kind.starts_with("lora_embedding");
    }
    note_unlisted();
    if (others > 0)
      core::note(directory + ": " + std::to_string(others) +
                 " tensors of parts that the base lacks (vision, sound) are left out");
  }

  void check_pair(const std::string& name, Change& change, const Part& part, Problems& problems) {
    if (change.a == nullptr || change.b == nullptr)
      return problems.input("of ", name, " there is ",
                            change.a == nullptr ? "no matrix A" : "no matrix B");
    const std::vector<std::int64_t>&a = change.a->shape, &b = change.b->shape;
    const std::string module = name.substr(0, name.rfind('.'));
    const std::int64_t out = change.of_embedding ? part.cols : part.all_rows,
                       in = change.of_embedding ? part.all_rows : part.cols,
                       rank = a.size() == 2 ? a[0] : 0;
    if (part.is_vector || rank < 1 || a != std::vector{rank, in} || b != std::vector{out, rank})
      return problems.input("tensors \"", change.a->name, "\" ", shape_text(a), " and \"",
                            change.b->name, "\" ", shape_text(b), " do not fit ", name, " [",
                            part.all_rows, ", ", part.cols, "]");
    if (rank != settings.rank_of(module))
      return problems.input("tensor \"", change.a->name, "\" has rank ", rank,
                            ", but by adapter_config.json it is ", settings.rank_of(module));
    change.scale = settings.scale_of(module, rank);
  }

  void check_whole(const Change& change, const Part& part, Problems& problems) const {
    std::vector<std::int64_t> want{part.all_rows};
    if (!part.is_vector) want.push_back(part.cols);
    if (part.transposed) std::swap(want.front(), want.back());
    if (change.whole->shape != want)
      problems.input("tensor \"", change.whole->name, "\" has shape ",
                     shape_text(change.whole->shape), ", but the base's is ", shape_text(want),
                     part.is_vector ? ""
                                    : "; was the vocabulary enlarged for training? Then give the "
                                      "base with the same vocabulary");
  }

  const Change* change_of(const Part& part, int layer, std::int64_t matrix) const {
    const auto found = changes.find(arch::with_indices(part.pattern, layer, matrix));
    return found == changes.end() ? nullptr : &found->second;
  }

  // Rows from `first` on of one matrix, which lie in `rows`.
  void merge_rows(const Part& part, const Change& change, std::int64_t first,
                  std::span<float> rows) const {
    const auto cols = static_cast<std::size_t>(part.cols), n = rows.size() / cols,
               at = static_cast<std::size_t>(part.first_row + first);
    if (change.whole != nullptr) {
      const std::vector<float> whole = read_values(*set, *change.whole);
      const auto all = static_cast<std::size_t>(part.all_rows);
      for (std::size_t r = 0; r < n; ++r)
        for (std::size_t c = 0; c < cols; ++c)
          rows[r * cols + c] = whole[part.transposed ? c * all + at + r : (at + r) * cols + c];
    }
    if (change.a == nullptr) return;
    const std::vector<float> a = read_values(*set, *change.a), b = read_values(*set, *change.b);
    const std::size_t rank =
        a.size() / static_cast<std::size_t>(change.of_embedding ? part.all_rows : part.cols);
    std::vector<double> sum(cols);
    for (std::size_t r = 0; r < n; ++r) {
      std::fill(sum.begin(), sum.end(), 0.0);
      for (std::size_t k = 0; k < rank; ++k) {
        const bool turned = change.of_embedding;
        const double left =
            static_cast<double>(turned ? a[k * static_cast<std::size_t>(part.all_rows) + at + r]
                                       : b[(at + r) * rank + k]);
        const float* right = turned ? b.data() + k : a.data() + k * cols;
        const std::size_t step = turned ? rank : 1;
        for (std::size_t c = 0; c < cols; ++c)
          sum[c] += left * static_cast<double>(right[c * step]);
      }
      for (std::size_t c = 0; c < cols; ++c)
        rows[r * cols + c] =
            static_cast<float>(static_cast<double>(rows[r * cols + c]) + change.scale * sum[c]);
    }
  }
};

namespace {

// A base that uses its embedding as output stays so, or gets the adapter's own output. A change of
// one of the two alone would change the other.
bool unties(const std::map<std::string, Change>& changes, const format::SafetensorsSet& set,
            const std::string& embedding, const std::string& output, Problems& problems) {
  const auto find = [&](const std::string& name) -> const Change* {
    const auto found = changes.find(name);
    return found == changes.end() ? nullptr : &found->second;
  };
  const Change *in = find(embedding), *out = find(output);
  if (in == nullptr && out == nullptr) return false;
  const bool added = (in != nullptr && in->a != nullptr) || (out != nullptr && out->a != nullptr);
  if (!added && out != nullptr && (in == nullptr || in->whole != nullptr))
    return in == nullptr || !same_values(set, *in->whole, *out->whole);
  problems.unsupported("the adapter changes ", in != nullptr ? embedding : output,
                       ", which the base uses as embedding and as output; merge it with PEFT "
                       "(merge_and_unload) instead");
  return false;
}

}  // namespace

Adapter::Adapter(const std::string& directory, const Checkpoint& base)
    : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.directory = directory;
  const std::string config = directory + "/" + kAdapterConfig,
                    weights = directory + "/adapter_model.safetensors";
  ESP_CHECK(file_exists(config), input, directory, ": there is no ", kAdapterConfig,
            "; expected the directory of a LoRA adapter in PEFT's layout");
  s.settings = parse_adapter_settings(core::read_text_file(config, kMaxSettingsBytes), config);
  ESP_CHECK(file_exists(weights) || !file_exists(directory + "/adapter_model.bin"), unsupported,
            directory,
            ": the weights are an adapter_model.bin; save them as safetensors first "
            "(save_pretrained does)");
  s.set = std::make_unique<format::SafetensorsSet>(
      format::SafetensorsSet::open_file(weights, format::SafetensorsSet::Allowed::any));
  const arch::Arch& arch = base.arch();
  const std::string embedding(arch::find_spec(arch, arch::Role::token_embd)->hf),
      output = arch::find_spec(arch, arch::Role::output) == nullptr
                   ? std::string()
                   : std::string(arch::find_spec(arch, arch::Role::output)->hf);
  Problems problems(directory);
  s.dims = base.dims();
  arch::ModelDims untied = s.dims;
  untied.tied = false;  // an adapter may bring the output matrix
  const std::map<std::string, Part> wholes = s.list_parts(arch, untied);
  s.collect(wholes, embedding.substr(0, embedding.find('.') + 1), problems);
  if (s.changes.empty() && problems.empty()) problems.input("there are no tensors of an adapter");
  for (auto& [name, change] : s.changes) {
    const Part& part = wholes.at(name);
    if (change.whole != nullptr) s.check_whole(change, part, problems);
    if (change.whole == nullptr || change.a != nullptr || change.b != nullptr)
      s.check_pair(name, change, part, problems);
  }
  if (problems.empty() && s.dims.tied)
    s.dims.tied = !unties(s.changes, *s.set, embedding, output, problems);
  problems.raise();
  // The output of a model that stays tied is the embedding.
  s.list_parts(arch, s.dims);
  for (const char* file : {"tokenizer.json", "tokenizer.model", "chat_template.jinja"})
    if (!core::same_file(directory, base.path()) && file_exists(directory + "/" + file)) {
      core::note(directory +
                 ": the tokenizer's files beside the adapter are not read; the merged "
                 "model has those of the base");
      break;
    }
}

Adapter::~Adapter() = default;
Adapter::Adapter(Adapter&&) noexcept = default;
Adapter& Adapter::operator=(Adapter&&) noexcept = default;

const arch::ModelDims& Adapter::dims() const { return state_->dims; }
const std::string& Adapter::base() const { return state_->settings.base; }
int Adapter::n_changed() const { return static_cast<int>(state_->changes.size()); }

bool Adapter::replaces(arch::Role role, int layer) const {
  const Part& part = state_->parts.at({role, layer});
  const Change* change = part.stack == 1 ? state_->change_of(part, layer, 0) : nullptr;
  return change != nullptr && change->whole != nullptr;
}

void Adapter::merge(arch::Role role, int layer, std::int64_t row, std::span<float> rows) const {
  const Part& part = state_->parts.at({role, layer});
  const std::int64_t end = row + static_cast<std::int64_t>(rows.size()) / part.cols;
  while (row < end) {
    const std::int64_t matrix = row / part.rows, first = row % part.rows,
                       n = std::min(end - row, part.rows - first);
    const std::span<float> values = rows.first(static_cast<std::size_t>(n * part.cols));
    if (const Change* change = state_->change_of(part, layer, matrix))
      state_->merge_rows(part, *change, first, values);
    rows = rows.subspan(values.size());
    row += n;
  }
}

}  // namespace espalier::checkpoint
