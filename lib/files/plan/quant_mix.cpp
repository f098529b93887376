// SPDX-License-Identifier: Apache-2.0
// The rules of llama-quantize as a table: a mix is a row. A fused q, k, v matrix counts as attn_v,
// and a stack of experts as one matrix. The output matrix (the embedding, when tied) gets Q6_K.
#include "plan/quant_mix.h"

#include <algorithm>
#include <map>
#include <sstream>
#include <utility>

#include "arch/gguf_dims.h"
#include "core/error.h"

namespace espalier::plan {
namespace {

using arch::Role;
using format::FormatId;
using enum format::FormatId;

// Of matrices of one kind, which get the first format of a pair. `thirds`: the first and the last
// eighth, and every third in between.
enum class Part : std::uint8_t { none, two, four, sixteenth, eighth, thirds };
struct Promoted {
  FormatId some;
  Part part;
  FormatId others;
};

struct Mix {
  std::string_view name;
  std::uint32_t file_type;
  FormatId base;  // of every matrix without a rule
  Promoted values, down;
  std::optional<FormatId> shared;  // attn_v, where four heads or more share keys and values
  FormatId output, output_of_8;    // attn_output, without and with 8 experts
};
// clang-format off
constexpr Mix kMixes[] = {
    // name   type  base  attn_v                        ffn_down                           shared        attn_output
    {"q2_k",    10, q2_k, {q3_k, Part::none,   q3_k}, {q3_k, Part::none,      q3_k}, q4_k,         q3_k, q5_k},
    {"q2_k_s",  21, q2_k, {q2_k, Part::none,   q2_k}, {q4_k, Part::eighth,    q2_k}, q4_k,         q2_k, q2_k},
    {"q3_k_s",  11, q3_k, {q3_k, Part::none,   q3_k}, {q3_k, Part::none,      q3_k}, std::nullopt, q3_k, q5_k},
    {"q3_k_m",  12, q3_k, {q5_k, Part::two,    q4_k}, {q5_k, Part::sixteenth, q4_k}, std::nullopt, q4_k, q5_k},
    {"q3_k_l",  13, q3_k, {q5_k, Part::none,   q5_k}, {q5_k, Part::none,      q5_k}, std::nullopt, q5_k, q3_k},
    {"q4_k_m",  15, q4_k, {q6_k, Part::thirds, q4_k}, {q6_k, Part::thirds,    q4_k}, std::nullopt, q4_k, q5_k},
    {"q4_k_s",  14, q4_k, {q5_k, Part::four,   q4_k}, {q5_k, Part::eighth,    q4_k}, std::nullopt, q4_k, q5_k},
    {"q5_k_m",  17, q5_k, {q6_k, Part::thirds, q5_k}, {q6_k, Part::thirds,    q5_k}, std::nullopt, q5_k, q5_k},
    {"q5_k_s",  16, q5_k, {q5_k, Part::none,   q5_k}, {q5_k, Part::none,      q5_k}, std::nullopt, q5_k, q5_k},
    {"q6_k",    18, q6_k, {q6_k, Part::none,   q6_k}, {q6_k, Part::none,      q6_k}, std::nullopt, q6_k, q6_k},
};
// clang-format on

// What rows take that are no whole blocks of 256. Rows that are no whole blocks of 32 take F16.
constexpr std::pair<FormatId, FormatId> kSmallerBlocks[] = {
    {q2_k, q4_0}, {q3_k, q4_0}, {q4_k, q5_0}, {q5_k, q5_1}, {q6_k, q8_0}};

const Mix* find_mix(std::string_view name) {
  for (const Mix& m : kMixes)
    if (m.name == name) return &m;
  return nullptr;
}

bool is_values(Role role) { return role == Role::attn_v || role == Role::attn_qkv; }
bool is_down(Role role) { return role == Role::ffn_down || role == Role::ffn_down_exps; }

bool in_part(Part part, std::int64_t index, std::int64_t n) {
  switch (part) {
    case Part::none:
      return false;
    case Part::two:
      return index < 2;
    case Part::four:
      return index < 4;
    case Part::sixteenth:
      return index < n / 16;
    case Part::eighth:
      return index < n / 8;
    case Part::thirds:
      return index < n / 8 || index >= 7 * n / 8 || (index - n / 8) % 3 == 2;
  }
  return false;
}
FormatId of(const Promoted& rule, std::int64_t index, std::int64_t n) {
  return in_part(rule.part, index, n) ? rule.some : rule.others;
}

// What llama-quantize takes for a 70B, whose attn_v is small.
bool is_70b(const arch::Arch& arch, const arch::ModelDims& dims) {
  if (dims.n_layers() != arch::arch_by_gguf_name(arch.gguf)->gguf_70b_layers) return false;
  const arch::Arch& target = arch::gguf_family_for(arch, dims);
  return dims.n_layers() == target.gguf_70b_layers &&
         (!target.gguf_70b_grouped || dims.layers.front()[arch::Axis::q_per_kv] != 1);
}

// The rules for one model, asked in the order of the file.
class Rules {
 public:
  Rules(const Mix& mix, const arch::Arch& arch, const arch::ModelDims& dims,
        const std::vector<arch::TensorRef>& tensors)
      : mix_(mix),
        tied_(dims.tied),
        large_(is_70b(arch, dims)),
        shared_(mix.shared && dims.layers.front()[arch::Axis::q_per_kv] >= 4),
        n_layers_(dims.n_layers()) {
    for (const arch::TensorRef& t : tensors)
      n_values_ += !t.is_vector && is_values(t.spec->role) && t.elements() > 0;
    for (const arch::LayerDims& l : dims.layers)
      n_experts_ = std::max(n_experts_, l[arch::Axis::experts]);
  }

  FormatId next(const arch::TensorRef& t) {
    const Role role = t.spec->role;
    if (role == Role::output || (role == Role::token_embd && tied_)) return q6_k;
    if (is_values(role)) return next_values(t.elements() > 0);
    if (is_down(role)) {
      const std::int64_t index = n_experts_ > 1 ? t.layer : down_;
      down_ += t.elements() > 0;
      return of(mix_.down, index, n_layers_);
    }
    if (role == Role::attn_k && n_experts_ == 8) return q8_0;
    if (role == Role::attn_output) return n_experts_ == 8 ? mix_.output_of_8 : mix_.output;
    return mix_.base;
  }

 private:
  FormatId next_values(bool there) {
    FormatId format = shared_ ? *mix_.shared : of(mix_.values, values_, n_values_);
    values_ += there;
    if (large_ && (format == q3_k || format == q4_k)) format = q5_k;
    return n_experts_ == 8 ? q8_0 : format;
  }

  const Mix& mix_;
  bool tied_, large_, shared_;
  std::int64_t n_layers_, n_values_ = 0, n_experts_ = 0, values_ = 0, down_ = 0;
};

FormatId held_by(std::int64_t row_length, FormatId format) {
  const auto fits = [&](FormatId f) { return row_length % format::info(f).block == 0; };
  if (fits(format)) return format;
  for (const auto& [from, to] : kSmallerBlocks)
    if (from == format) return fits(to) ? to : f16;
  return f16;
}

}  // namespace

std::vector<std::string_view> k_mixes() {
  std::vector<std::string_view> names;
  for (const Mix& m : kMixes) names.push_back(m.name);
  return names;
}
bool is_k_mix(std::string_view name) { return find_mix(name) != nullptr; }

std::optional<std::uint32_t> k_mix_file_type(std::string_view name) {
  const Mix* mix = find_mix(name);
  return mix != nullptr ? std::optional(mix->file_type) : std::nullopt;
}

std::vector<MixFormat> k_mix_formats(std::string_view name, const arch::Arch& arch,
                                     const arch::ModelDims& dims,
                                     const std::vector<arch::TensorRef>& tensors) {
  const Mix* mix = find_mix(name);
  ESP_CHECK(mix != nullptr, internal, "no mix of K formats is called ", name);
  Rules rules(*mix, arch, dims, tensors);
  std::vector<MixFormat> out;
  for (const arch::TensorRef& t : tensors) {
    const FormatId rule = t.is_vector || stays_f32(t.spec->role) ? f32 : rules.next(t);
    out.push_back({rule, held_by(t.row_length(), rule)});
  }
  return out;
}

std::string stored_otherwise(const QuantPlan& plan, const arch::Arch& arch,
                             const arch::ModelDims& dims) {
  if (!is_k_mix(plan.name)) return "";
  const std::vector<arch::TensorRef> tensors = arch::tensors(arch, dims);
  const std::vector<MixFormat> formats = k_mix_formats(plan.name, arch, dims, tensors);
  std::map<std::pair<FormatId, FormatId>, std::vector<std::string_view>> roles;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const auto [rule, stored] = formats[i];
    if (rule == stored || plan.tensors[i].format != stored || tensors[i].elements() == 0) continue;
    std::vector<std::string_view>& names = roles[{stored, rule}];
    const std::string_view name = arch::role_name(tensors[i].spec->role);
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  if (roles.empty()) return "";
  std::ostringstream text;
  text << plan.name << ": some rows are no whole blocks of 256, and take what llama-quantize gives "
       << "them";
  for (const auto& [pair, names] : roles) {
    text << "; " << format::info(pair.first).name << " for " << format::info(pair.second).name
         << " in ";
    for (std::size_t i = 0; i < names.size(); ++i) text << (i > 0 ? ", " : "") << names[i];
  }
  return text.str();
}

}  // namespace espalier::plan
