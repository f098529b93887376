// SPDX-License-Identifier: Apache-2.0
// What is derived from the tables: presence and shapes of tensors, counts, traits, and rotary
// frequencies.
#include "arch/arch.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"

namespace espalier::arch {

#define ESP_ARCH(name) extern const Arch k_##name;
#include "arch/families.inc"
#undef ESP_ARCH

namespace {

const Arch* const kArchs[] = {
#define ESP_ARCH(name) &k_##name,
#include "arch/families.inc"
#undef ESP_ARCH
};

constexpr std::string_view kGgufNames[] = {
#define ESP_NAME(role, gguf) gguf,
    ESP_ROLES(ESP_NAME, ESP_NAME)
#undef ESP_NAME
};
constexpr std::string_view kRoleNames[] = {
#define ESP_ROLE(name, gguf) #name,
#define ESP_BIAS(weight, gguf) #weight "_bias",
    ESP_ROLES(ESP_ROLE, ESP_BIAS)
#undef ESP_ROLE
#undef ESP_BIAS
};

TensorRef make_ref(const TensorSpec& spec, const ModelDims& dims, int layer) {
  const LayerDims* l = layer >= 0 ? &dims.layers[static_cast<std::size_t>(layer)] : nullptr;
  TensorRef out{&spec, layer, length(spec.rows, dims, l), length(spec.cols, dims, l),
                absent(spec.cols)};
  if (spec.is_stack()) {
    const Axis axis = spec.rows[0].a;
    out.stack = size_of(axis, dims, l);
    out.used = axis == Axis::experts ? (*l)[Axis::experts_per_token] : out.stack;
  }
  return out;
}

// In floating point, because sizes of files may be anything.
double values(const Extent& extent, const ModelDims& dims, const LayerDims* layer) {
  if (absent(extent)) return 1;
  double n = 0;
  for (const Run& r : extent) {
    double product = r.a == Axis::none ? 0 : 1;
    for (const Axis axis : {r.a, r.b, r.c})
      product *= static_cast<double>(size_of(axis, dims, layer));
    n += product;
  }
  return n;
}

}  // namespace

std::vector<std::int64_t> TensorRef::shape() const {
  if (is_vector) return {rows};
  if (spec->is_stack()) return {stack, stack > 0 ? rows / stack : 0, cols};
  return {rows, cols};
}
std::vector<std::int64_t> TensorRef::gguf_shape() const {
  std::vector<std::int64_t> out = shape();
  std::reverse(out.begin(), out.end());
  return out;
}

void not_computed(BlockKind kind) {
  core::fail(core::ErrorKind::internal, "blocks of the kind ", block_name(kind),
             " are not computed, but were asked for");
}

std::string_view role_name(Role role) { return kRoleNames[static_cast<std::size_t>(role)]; }
std::optional<Role> role_by_name(std::string_view name) {
  for (int i = 0; i < kRoles; ++i)
    if (kRoleNames[i] == name) return static_cast<Role>(i);
  return std::nullopt;
}
std::string with_layer(std::string_view pattern, int layer) {
  std::string out(pattern);
  if (const auto at = out.find("{L}"); at != std::string::npos)
    out.replace(at, 3, std::to_string(layer));
  return out;
}
std::string with_indices(std::string_view pattern, int layer, std::int64_t matrix) {
  std::string out = with_layer(pattern, layer);
  if (const auto at = out.find("{E}"); at != std::string::npos)
    out.replace(at, 3, std::to_string(matrix));
  return out;
}
std::string gguf_name(Role role, int layer) {
  return with_layer(kGgufNames[static_cast<std::size_t>(role)], layer);
}

std::span<const Arch* const> all_archs() { return kArchs; }
const Arch* arch_by_name(std::string_view name) {
  for (const Arch* a : kArchs)
    if (a->name == name) return a;
  return nullptr;
}
const Arch* arch_by_gguf_name(std::string_view name) {
  for (const Arch* a : kArchs)
    if (a->gguf == name) return a;
  return nullptr;
}
const Arch* arch_by_hf_model_type(std::string_view type) {
  for (const Arch* a : kArchs)
    if (a->hf_model_type == type || (!type.empty() && a->other_model_type == type)) return a;
  return nullptr;
}

bool present(const TensorSpec& spec, const ModelDims& dims) {
  switch (spec.present) {
    case Present::always:
      return true;
    case Present::untied:
      return !dims.tied;
    case Present::attention_bias:
      return dims.attention_bias;
    case Present::output_bias:
      return dims.output_bias;
    case Present::mlp_bias:
      return dims.mlp_bias;
  }
  return true;
}
bool in_absent_block(const Arch& arch, Role role, const LayerDims& layer) {
  bool absent = false;
  for (const Block& block : arch.blocks) {
    if (block.find(role) == nullptr) continue;
    if (block.in(layer)) return false;
    absent = true;
  }
  return absent;
}
bool lacks(const Arch& arch, const Block& block, const LayerDims& layer) {
  return std::none_of(arch.blocks.begin(), arch.blocks.end(), [&](const Block& other) {
    return other.norm == block.norm && other.in(layer);
  });
}
bool lacks_blocks(const Arch& arch, const ModelDims& dims) {
  for (const LayerDims& layer : dims.layers)
    for (const Block& block : arch.blocks)
      if (lacks(arch, block, layer)) return true;
  return false;
}
void keep_one_block(const Arch& arch, LayerDims& layer) {
  for (const Block& block : arch.blocks)
    for (const Block& other : arch.blocks)
      if (&block < &other && block.norm == other.norm && block.in(layer))
        for (const Axis axis : other.axes) layer[axis] = 0;
}
bool has_axis(const Arch& arch, Axis axis) {
  return !arch.keys.sizes[axis].empty() ||
         std::any_of(arch.blocks.begin(), arch.blocks.end(),
                     [&](const Block& block) { return block.axes.contains(axis); });
}

namespace {
const Block* first_not_computed(const Arch& arch, const ModelDims& dims) {
  for (const LayerDims& layer : dims.layers)
    for (const Block& block : arch.blocks)
      if (block.in(layer) && !is_computed(block.kind)) return &block;
  return nullptr;
}
}  // namespace

bool is_computed(const Arch& arch, const ModelDims& dims) {
  return first_not_computed(arch, dims) == nullptr;
}
void require_computed(const Arch& arch, const ModelDims& dims, const std::string& place) {
  if (const Block* block = first_not_computed(arch, dims))
    core::fail(core::ErrorKind::unsupported, place, ": layers with ", block_name(block->kind),
               ", as in this ", arch.name,
               ", can be inspected and planned, but are not computed yet");
}
void require_sizes(const Arch& arch, const ModelDims& dims, const std::string& place) {
  constexpr double kMost = 0x1p40;
  const auto check = [&](const TensorSpec& spec, int layer) {
    const LayerDims* l = layer >= 0 ? &dims.layers[static_cast<std::size_t>(layer)] : nullptr;
    const double n = values(spec.rows, dims, l) * values(spec.cols, dims, l);
    ESP_CHECK(n <= kMost, input, place, ": ", gguf_name(spec.role, layer), " would have ", n,
              " values, expected at most 2^40");
    const TensorRef t = make_ref(spec, dims, layer);
    ESP_CHECK(t.used <= t.stack, input, place, ": in layer ", layer, " a token uses ", t.used,
              " of only ", t.stack, " ", axis_name(spec.rows[0].a));
  };
  for (const TensorSpec& spec : arch.model) check(spec, -1);
  for (int l = 0; l < static_cast<int>(dims.layers.size()); ++l)
    for (const TensorSpec* spec :
         layer_tensors(arch, dims, dims.layers[static_cast<std::size_t>(l)]))
      check(*spec, l);
}
const Block* find_block(const Arch& arch, BlockKind kind) {
  for (const Block& block : arch.blocks)
    if (block.kind == kind) return &block;
  return nullptr;
}
const Block& block_of(const Arch& arch, Axis axis) {
  for (const Block& block : arch.blocks)
    if (block.axes.contains(axis)) return block;
  core::fail(core::ErrorKind::internal, "no block of ", arch.name, " has the axis ",
             axis_name(axis));
}
std::vector<const TensorSpec*> layer_tensors(const Arch& arch, const ModelDims& dims,
                                             const LayerDims& layer) {
  std::vector<const TensorSpec*> out;
  for (const Block& block : arch.blocks)
    if (block.in(layer))
      for (const TensorSpec& spec : block.tensors)
        if (present(spec, dims)) out.push_back(&spec);
  return out;
}
const Arch* as_unequal_layers(const Arch& arch, const ModelDims& dims) {
  const bool plain =
      embedding_factor(arch, dims) == 1 && dims.residual_factor == 1 && dims.logit_divisor == 1 &&
      !learned_positions(arch) && dims.rotated() == dims.head_dim && !dims.long_rope.used() &&
      dims.attention_softcap == 0 && dims.logit_softcap == 0 &&
      std::fabs(attention_scale(dims) * std::sqrt(static_cast<double>(dims.head_dim)) - 1) < 1e-9;
  const auto usual = [&](const LayerDims& l) {
    return l.rope && (!l.local || dims.window >= dims.positions);
  };
  if (!plain || !std::all_of(dims.layers.begin(), dims.layers.end(), usual)) return nullptr;
  for (const Arch* other : all_archs()) {
    const auto alike = [&](std::span<const TensorSpec> specs) {
      return std::all_of(specs.begin(), specs.end(), [&](const TensorSpec& spec) {
        const TensorSpec* same = find_spec(*other, spec.role);
        return same != nullptr && same->hf == spec.hf;
      });
    };
    if (other->unequal_layers && (other->absent_blocks || !lacks_blocks(arch, dims)) &&
        arch.norm == other->norm && arch.activation == other->activation && alike(arch.model) &&
        std::all_of(arch.blocks.begin(), arch.blocks.end(),
                    [&](const Block& block) { return alike(block.tensors); }))
      return other;
  }
  return nullptr;
}
bool has_optional(const Arch& arch, Present present) {
  const auto depends = [&](const TensorSpec& spec) { return spec.present == present; };
  return std::any_of(arch.model.begin(), arch.model.end(), depends) ||
         std::any_of(arch.blocks.begin(), arch.blocks.end(), [&](const Block& block) {
           return std::any_of(block.tensors.begin(), block.tensors.end(), depends);
         });
}
bool local_by_default(const Arch& arch, std::int64_t layer) {
  return arch.window_period != kNoWindow && (layer + 1) % arch.window_period != 0;
}
bool rope_by_default(const Arch& arch, std::int64_t layer) {
  return !learned_positions(arch) &&
         (arch.no_rope_period == 0 || (layer + 1) % arch.no_rope_period != 0);
}
bool interleaved_in_gguf(const Arch& arch) {
  const Block* attention = find_block(arch, BlockKind::attention);
  return attention != nullptr &&
         attention->find(attention->readers.front())->to_gguf == Transform::rope_permute;
}
bool learned_positions(const Arch& arch) { return find_spec(arch, Role::pos_embd) != nullptr; }
double attention_scale(const ModelDims& dims) {
  return dims.attention_scale > 0 ? dims.attention_scale
                                  : 1 / std::sqrt(static_cast<double>(dims.head_dim));
}
double embedding_factor(const Arch& arch, const ModelDims& dims) {
  return arch.scaled_embedding ? std::sqrt(static_cast<double>(dims.hidden))
                               : dims.embedding_factor;
}

std::vector<TensorRef> tensors(const Arch& arch, const ModelDims& dims) {
  std::vector<TensorRef> out;
  for (const TensorSpec& spec : arch.model)
    if (present(spec, dims)) out.push_back(make_ref(spec, dims, -1));
  for (int l = 0; l < static_cast<int>(dims.layers.size()); ++l)
    for (const TensorSpec* spec :
         layer_tensors(arch, dims, dims.layers[static_cast<std::size_t>(l)]))
      out.push_back(make_ref(*spec, dims, l));
  return out;
}
const TensorSpec* find_spec(const Arch& arch, Role role) {
  for (const TensorSpec& spec : arch.model)
    if (spec.role == role) return &spec;
  for (const Block& block : arch.blocks)
    if (const TensorSpec* spec = block.find(role)) return spec;
  return nullptr;
}
TensorRef tensor_ref(const Arch& arch, const ModelDims& dims, Role role, int layer) {
  const TensorSpec* spec = find_spec(arch, role);
  ESP_CHECK(spec != nullptr, internal, "architecture ", arch.name, " has no tensor ",
            role_name(role));
  return make_ref(*spec, dims, is_layer_spec(*spec) ? layer : -1);
}
std::int64_t parameters(const Arch& arch, const ModelDims& dims) {
  std::int64_t n = 0;
  for (const TensorRef& t : tensors(arch, dims)) n += t.elements();
  return n;
}
std::int64_t active_parameters(const Arch& arch, const ModelDims& dims) {
  std::int64_t n = 0;
  for (const TensorRef& t : tensors(arch, dims)) n += t.elements() / t.stack * t.used;
  return n;
}
std::int64_t non_embedding_parameters(const Arch& arch, const ModelDims& dims) {
  std::int64_t n = 0;
  for (const TensorRef& t : tensors(arch, dims))
    if (!touches(t.spec->rows, Axis::vocab)) n += t.elements();
  return n;
}
std::int64_t kv_bytes_per_token(const ModelDims& dims, std::int64_t bytes_per_value) {
  std::int64_t n = 0;
  for (const LayerDims& l : dims.layers)
    n += 2 * l[Axis::kv_groups] * dims.head_dim * bytes_per_value;
  return n;
}

std::vector<std::int64_t> surviving(const Extent& extent, Axis axis,
                                    std::span<const std::int64_t> keep, const ModelDims& dims,
                                    const LayerDims* layer) {
  std::vector<std::int64_t> out;
  std::int64_t base = 0;
  for (const Run& run : extent) {
    if (run.a == Axis::none) continue;
    const Axis axes[3] = {run.a, run.b, run.c};
    const std::int64_t n[3] = {size_of(run.a, dims, layer), size_of(run.b, dims, layer),
                               size_of(run.c, dims, layer)};
    for (std::int64_t i = 0; i < n[0]; ++i)
      for (std::int64_t j = 0; j < n[1]; ++j)
        for (std::int64_t k = 0; k < n[2]; ++k) {
          const std::int64_t index[3] = {i, j, k};
          bool in = true;
          for (int q = 0; q < 3; ++q)
            if (axes[q] == axis && axis != Axis::none)
              in = std::binary_search(keep.begin(), keep.end(), index[q]);
          if (in) out.push_back(base + (i * n[1] + j) * n[2] + k);
        }
    base += n[0] * n[1] * n[2];
  }
  return out;
}

std::int64_t rope_permuted_row(std::int64_t hf_row, std::int64_t head_dim) {
  const std::int64_t head = hf_row / head_dim, i = hf_row % head_dim, half = head_dim / 2;
  return head * head_dim + (i < half ? 2 * i : 2 * (i - half) + 1);
}
std::int64_t rope_unpermuted_row(std::int64_t gguf_row, std::int64_t head_dim) {
  const std::int64_t head = gguf_row / head_dim, i = gguf_row % head_dim, half = head_dim / 2;
  return head * head_dim + (i % 2 == 0 ? i / 2 : half + i / 2);
}

std::vector<float> rope_frequency_factors(const ModelDims& dims) {
  const RopeScaling& s = dims.rope_scaling;
  if (s.factor == 1) return {};
  std::vector<float> out;
  const double low_wavelength = static_cast<double>(s.original_positions) / s.low_freq_factor;
  const double high_wavelength = static_cast<double>(s.original_positions) / s.high_freq_factor;
  for (std::int64_t i = 0; i < dims.rotated() / 2; ++i) {
    const double frequency = std::pow(
        dims.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(dims.rotated()));
    const double wavelength = 2 * std::numbers::pi / frequency;
    if (wavelength < high_wavelength) {
      out.push_back(1.0f);
    } else if (wavelength > low_wavelength) {
      out.push_back(static_cast<float>(s.factor));
    } else {
      const double smooth =
          (static_cast<double>(s.original_positions) / wavelength - s.low_freq_factor) /
          (s.high_freq_factor - s.low_freq_factor);
      out.push_back(static_cast<float>(1.0 / ((1 - smooth) / s.factor + smooth)));
    }
  }
  return out;
}
double long_rope_attention_factor(double factor, std::int64_t original_positions) {
  return factor <= 1
             ? 1
             : std::sqrt(1 + std::log(factor) / std::log(static_cast<double>(original_positions)));
}
std::vector<RopeTensor> rope_tensors(const ModelDims& dims) {
  if (dims.long_rope.used())
    return {{Role::rope_factors_long, dims.long_rope.long_factors},
            {Role::rope_factors_short, dims.long_rope.short_factors}};
  std::vector<float> factors = rope_frequency_factors(dims);
  if (factors.empty()) return {};
  return {{Role::rope_freqs, std::move(factors)}};
}
std::vector<double> rope_inverse_frequencies(const ModelDims& dims, bool local, bool long_text) {
  const bool own_base = local && dims.local_rope_theta > 0;
  std::vector<float> factors;
  if (dims.long_rope.used())
    factors = long_text ? dims.long_rope.long_factors : dims.long_rope.short_factors;
  else if (!own_base)
    factors = rope_frequency_factors(dims);
  std::vector<double> out;
  for (std::int64_t i = 0; i < dims.rotated() / 2; ++i) {
    const double frequency =
        std::pow(own_base ? dims.local_rope_theta : dims.rope_theta,
                 -2.0 * static_cast<double>(i) / static_cast<double>(dims.rotated()));
    const double slower = own_base ? 1 : dims.rope_linear;
    out.push_back(
        frequency / slower /
        (factors.empty() ? 1 : static_cast<double>(factors[static_cast<std::size_t>(i)])));
  }
  return out;
}

}  // namespace espalier::arch
