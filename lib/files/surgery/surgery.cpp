// SPDX-License-Identifier: Apache-2.0
// Cuts a tensor to the positions that survive on each of its two extents. Rows are read, gathered
// and written in windows.
#include "surgery/surgery.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "checkpoint/vocabulary.h"
#include "core/error.h"
#include "core/file.h"

namespace espalier::surgery {
namespace {

using arch::Axis;

constexpr std::int64_t kWindowValues = std::int64_t{16} << 20;  // 64 MB as float

struct TensorCut {
  arch::TensorRef before;
  std::vector<std::int64_t> rows, cols;  // sorted positions that are kept
  bool all_cols = false;
};

// The plan's entry for a layer of the source; nullptr for model scope.
const plan::LayerSelection* layer_selection(const plan::PrunePlan& plan, int source_layer) {
  const auto it = std::lower_bound(plan.keep_layers.begin(), plan.keep_layers.end(), source_layer);
  ESP_CHECK(it != plan.keep_layers.end() && *it == source_layer, internal, "layer ", source_layer,
            " is not kept by the plan");
  return &plan.layers[static_cast<std::size_t>(it - plan.keep_layers.begin())];
}

std::vector<std::int64_t> kept_positions(const arch::Extent& extent, const plan::PrunePlan& plan,
                                         const plan::LayerSelection* layer,
                                         const arch::ModelDims& dims,
                                         const arch::LayerDims* layer_dims) {
  std::vector<std::int64_t> kept(static_cast<std::size_t>(arch::length(extent, dims, layer_dims)));
  for (std::size_t i = 0; i < kept.size(); ++i) kept[i] = static_cast<std::int64_t>(i);
  const auto cut = [&](Axis axis, const plan::Selection& selection) {
    if (!selection || !arch::touches(extent, axis)) return;
    const std::vector<std::int64_t> surviving =
        arch::surviving(extent, axis, *selection, dims, layer_dims);
    std::vector<std::int64_t> both;
    std::set_intersection(kept.begin(), kept.end(), surviving.begin(), surviving.end(),
                          std::back_inserter(both));
    kept = std::move(both);
  };
  cut(Axis::vocab, plan.vocab);
  cut(Axis::hidden, plan.hidden);
  if (layer != nullptr)
    for (const Axis axis : arch::kLayerAxes) cut(axis, (*layer)[axis]);
  return kept;
}

TensorCut make_cut(const checkpoint::Checkpoint& source, const plan::PrunePlan& plan,
                   arch::Role role, int source_layer) {
  const arch::ModelDims& dims = source.dims();
  TensorCut cut{arch::tensor_ref(source.arch(), dims, role, source_layer), {}, {}, false};
  const bool in_layer = cut.before.layer >= 0;
  const arch::LayerDims* layer_dims =
      in_layer ? &dims.layers[static_cast<std::size_t>(source_layer)] : nullptr;
  const plan::LayerSelection* layer = in_layer ? layer_selection(plan, source_layer) : nullptr;
  cut.rows = kept_positions(cut.before.spec->rows, plan, layer, dims, layer_dims);
  cut.cols = cut.before.is_vector
                 ? std::vector<std::int64_t>{0}
                 : kept_positions(cut.before.spec->cols, plan, layer, dims, layer_dims);
  cut.all_cols = static_cast<std::int64_t>(cut.cols.size()) == cut.before.cols;
  return cut;
}

// Some families multiply embeddings by sqrt(hidden). Fewer channels make that factor smaller, so
// the embedding is scaled up. Where the embedding is also the output matrix, the gain of the final
// norm undoes the scaling.
void keep_embedding_scale(const checkpoint::Checkpoint& source, const arch::ModelDims& after,
                          arch::Role role, std::vector<float>& values) {
  if (!source.arch().scaled_embedding || after.hidden == source.dims().hidden) return;
  const float factor =
      std::sqrt(static_cast<float>(source.dims().hidden) / static_cast<float>(after.hidden));
  // The stored gain is less by it.
  const float less =
      arch::find_spec(source.arch(), arch::Role::output_norm)->to_gguf == arch::Transform::plus_one
          ? 1.0f
          : 0.0f;
  if (role == arch::Role::token_embd)
    for (float& v : values) v *= factor;
  if (role == arch::Role::output_norm && after.tied)
    for (float& v : values) v = (less + v) / factor - less;
}

// Calls write(rows) with consecutive pieces of the cut tensor.
template <typename Write>
void stream_cut(const checkpoint::Checkpoint& source, const TensorCut& cut, Write&& write) {
  const std::int64_t cols = cut.before.cols;
  // A window holds whole heads, because rows of a head may be interleaved in the file. Elsewhere
  // that is harmless.
  const std::int64_t unit = cut.before.is_vector ? cut.before.rows : source.dims().head_dim;
  const std::int64_t window = std::max<std::int64_t>(1, kWindowValues / (cols * unit)) * unit;
  std::vector<float> values, piece;
  for (std::size_t next = 0; next < cut.rows.size();) {
    const std::int64_t begin = cut.rows[next] / unit * unit;
    std::size_t end = next;
    while (end < cut.rows.size() && cut.rows[end] < begin + window) ++end;
    const std::int64_t first = cut.rows[next], count = cut.rows[end - 1] + 1 - first;
    values.resize(static_cast<std::size_t>(count * cols));
    source.read_rows(cut.before.spec->role, cut.before.layer, first, count, values.data());
    piece.clear();
    for (; next < end; ++next) {
      const float* row = values.data() + (cut.rows[next] - first) * cols;
      if (cut.all_cols)
        piece.insert(piece.end(), row, row + cols);
      else
        for (const std::int64_t col : cut.cols) piece.push_back(row[col]);
    }
    write(piece);
  }
}

// What names tokens by their ids.
struct Texts {
  std::string config, generation;
  text::TokenizerData tokenizer;
};

Texts cut_texts(const checkpoint::Checkpoint& source, const std::vector<std::int64_t>& keep,
                const text::TokenizerData* tokenizer) {
  const auto remap = [&](const std::string& json, const char* file) {
    return checkpoint::remap_token_ids(json, keep, source.dims().vocab,
                                       source.path() + ": " + file);
  };
  Texts out{remap(source.hf_config(), "config.json"),
            remap(source.hf_generation_config(), "generation_config.json"),
            {}};
  if (tokenizer != nullptr) out.tokenizer = checkpoint::cut_tokenizer(*tokenizer, keep);
  return out;
}

arch::ModelDims dims_with(const Replacement& replacement, arch::ModelDims dims) {
  dims.attention_bias |= replacement.attention_bias;
  dims.output_bias |= replacement.output_bias;
  dims.mlp_bias |= replacement.mlp_bias;
  return dims;
}

// Empty where the cut stays. A bias that the source lacks is zero.
std::vector<float> replaced_values(const Replacement& replacement,
                                   const checkpoint::Checkpoint& source, const arch::TensorRef& t,
                                   int source_layer) {
  std::vector<float> out;
  if (replacement.weights) out = replacement.weights(t.spec->role, source_layer);
  if (out.empty() && !arch::present(*t.spec, source.dims()))
    out.resize(static_cast<std::size_t>(t.elements()));
  return out;
}

}  // namespace

std::vector<float> cut_tensor(const checkpoint::Checkpoint& source, const plan::PrunePlan& plan,
                              arch::Role role, int source_layer) {
  const TensorCut cut = make_cut(source, plan, role, source_layer);
  std::vector<float> out;
  out.reserve(cut.rows.size() * cut.cols.size());
  stream_cut(source, cut, [&](const std::vector<float>& rows) {
    out.insert(out.end(), rows.begin(), rows.end());
  });
  return out;
}

std::int64_t prune_checkpoint(const checkpoint::Checkpoint& source, const plan::PrunePlan& plan,
                              const std::string& directory, const checkpoint::WriteOptions& options,
                              const Replacement& replacement, const core::Progress& progress) {
  ESP_CHECK(!core::same_file(source.path(), directory), usage, directory,
            ": the output is the source itself; choose another directory");
  plan::validate(plan, source.dims(), "plan");
  plan::require_source(plan, source.path(), source.sha256(), "the plan");
  const arch::ModelDims after = dims_with(replacement, plan::dims_after(plan, source.dims()));

  const text::TokenizerData* carried = checkpoint::carried_tokenizer(source);
  Texts texts{source.hf_config(), source.hf_generation_config(), {}};
  if (plan.vocab && after.vocab != source.dims().vocab) {
    texts = cut_texts(source, *plan.vocab, carried);
    if (carried != nullptr) carried = &texts.tokenizer;
  }

  checkpoint::CheckpointWriter writer(
      directory, source.arch(), after, options,
      {texts.config, carried, texts.generation,
       checkpoint::derived(source.description(), source.parent_name())});
  const std::vector<arch::TensorRef> tensors = arch::tensors(source.arch(), after);
  std::int64_t written = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const arch::TensorRef& t = tensors[i];
    const arch::Role role = t.spec->role;
    const int source_layer =
        t.layer < 0 ? -1 : static_cast<int>(plan.keep_layers[static_cast<std::size_t>(t.layer)]);
    std::vector<float> replaced = replaced_values(replacement, source, t, source_layer);
    if (!replaced.empty()) {
      ESP_CHECK(static_cast<std::int64_t>(replaced.size()) == t.elements(), internal,
                "replacement of ", arch::role_name(role), " in layer ", source_layer, " has ",
                replaced.size(), " values, expected ", t.elements());
      if (replacement.adjust) replacement.adjust(role, replaced);
      writer.write_rows(role, t.layer, replaced);
      written += t.elements();
    } else {
      stream_cut(source, make_cut(source, plan, role, source_layer), [&](std::vector<float>& rows) {
        keep_embedding_scale(source, after, role, rows);
        if (replacement.adjust) replacement.adjust(role, rows);
        writer.write_rows(role, t.layer, rows);
        written += static_cast<std::int64_t>(rows.size());
      });
    }
    if (progress)
      progress({"prune", static_cast<std::int64_t>(i) + 1,
                static_cast<std::int64_t>(tensors.size()), "tensors", ""});
  }
  writer.finish();
  const std::int64_t predicted = arch::parameters(source.arch(), after);
  ESP_CHECK(written == predicted, internal, directory, ": ", written, " parameters were written, ",
            predicted, " predicted");
  core::write_text_file(directory + "/plan.json",
                        plan::to_json(plan, source.arch(), source.dims()));
  return written;
}

}  // namespace espalier::surgery
