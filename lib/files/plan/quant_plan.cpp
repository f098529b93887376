// SPDX-License-Identifier: Apache-2.0
// Named formats, overrides, sizes and JSON of quantization plans. The mixes of K formats are in
// quant_mix.h.
//
// A table of positions is added to the stream, and a router decides which experts are used: both
// stay F32 beside block formats.
#include "plan/quant_plan.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "core/error.h"
#include "core/units.h"
#include "format/json_input.h"
#include "plan/quant_mix.h"

namespace espalier::plan {
namespace {

using arch::Role;
using format::FormatId;

// The format that an override asks for. "role.layer" outranks "role".
std::optional<FormatId> override_for(const std::map<std::string, FormatId>& overrides, Role role,
                                     int layer) {
  const std::string name(arch::role_name(role));
  if (const auto at = overrides.find(name + "." + std::to_string(layer)); at != overrides.end())
    return at->second;
  if (const auto at = overrides.find(name); at != overrides.end()) return at->second;
  return std::nullopt;
}

// What somebody who wrote `key` meant, as overrides are written: "blk.3.attn_q.weight" is attn_q.3.
// Empty when nothing is near.
std::string meant_by(std::string key, const std::vector<std::string>& roles) {
  std::string layer;
  for (const std::string_view suffix : {".weight", ".bias"})
    if (key.ends_with(suffix)) key.resize(key.size() - suffix.size());
  if (key.starts_with("blk.")) {
    const std::size_t dot = key.find('.', 4);
    if (dot == std::string::npos) return "";
    layer = key.substr(3, dot - 3);
    key = key.substr(dot + 1);
  } else if (const std::size_t dot = key.find('.'); dot != std::string::npos) {
    layer = key.substr(dot);
    key.resize(dot);
  }
  const std::string near = core::nearest_name(key, roles.data(), roles.size());
  return near.empty() ? "" : near + layer;
}

// "0-3,7" from sorted layer numbers.
std::string ranges(const std::vector<int>& layers) {
  std::ostringstream text;
  for (std::size_t i = 0; i < layers.size();) {
    std::size_t j = i;
    while (j + 1 < layers.size() && layers[j + 1] == layers[j] + 1) ++j;
    text << (i == 0 ? "" : ",") << layers[i];
    if (j > i) text << "-" << layers[j];
    i = j + 1;
  }
  return text.str();
}

// Refuses a plan with a tensor whose rows are not a multiple of its format's block. Layers with the
// same problem share a line.
void require_legal(const QuantPlan& plan, const std::vector<arch::TensorRef>& tensors) {
  struct Problem {
    Role role;
    FormatId format;
    std::int64_t length;
    std::vector<int> layers;
  };
  std::vector<Problem> problems;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const FormatId format = plan.tensors[i].format;
    const std::int64_t length = tensors[i].row_length();
    if (length % format::info(format).block == 0) continue;
    const Role role = tensors[i].spec->role;
    const auto same = std::find_if(problems.begin(), problems.end(), [&](const Problem& p) {
      return p.role == role && p.format == format && p.length == length;
    });
    if (same != problems.end())
      same->layers.push_back(tensors[i].layer);
    else
      problems.push_back({role, format, length, {tensors[i].layer}});
  }
  if (problems.empty()) return;
  std::ostringstream text;
  text << "format mix " << plan.name << " does not fit this model; a row must be whole blocks:";
  for (const Problem& p : problems) {
    const std::int64_t block = format::info(p.format).block, below = p.length / block * block;
    text << "\n  " << arch::role_name(p.role);
    if (p.layers.front() >= 0)
      text << (p.layers.size() == 1 ? " of layer " : " of layers ") << ranges(p.layers);
    text << ": row length " << p.length << " is not a multiple of " << block << " ("
         << format::info(p.format).name << "), nearest legal ";
    if (below > 0) text << below << " and ";
    text << below + block;
  }
  text << "\nPrune to a legal size, or give these tensors a format with smaller blocks (";
  for (const format::QuantFormat& f : format::all_formats())
    if (f.block == 32) text << f.name << ' ';
  text << "have 32; f16: any length).";
  core::fail(core::ErrorKind::unsupported, text.str());
}

}  // namespace

bool stays_f32(Role role) { return role == Role::pos_embd || role == Role::ffn_gate_inp; }

void check_overrides(const arch::Arch& arch, const arch::ModelDims& dims,
                     const std::map<std::string, FormatId>& overrides) {
  if (overrides.empty()) return;
  const std::vector<arch::TensorRef> tensors = arch::tensors(arch, dims);
  std::vector<std::string> roles;
  for (const arch::TensorRef& t : tensors) {
    const std::string name(arch::role_name(t.spec->role));
    if (std::find(roles.begin(), roles.end(), name) == roles.end()) roles.push_back(name);
  }
  for (const auto& [key, format] : overrides) {
    bool found = false, vector = false;
    for (const arch::TensorRef& t : tensors) {
      const std::string name(arch::role_name(t.spec->role));
      if (key != name && (t.layer < 0 || key != name + "." + std::to_string(t.layer))) continue;
      found = true;
      vector |= t.is_vector && format != FormatId::f32;
    }
    ESP_CHECK(!vector, unsupported, "format override \"", key, "\": vectors are always f32");
    if (found) continue;
    const std::string role = key.substr(0, key.find('.')), meant = meant_by(key, roles);
    std::string hint;
    if (role == "output" && dims.tied) {
      hint = " (a tied output is token_embd)";
    } else if (std::find(roles.begin(), roles.end(), role) != roles.end() && meant == key) {
      const bool in_layers = std::any_of(tensors.begin(), tensors.end(), [&](const auto& t) {
        return t.layer >= 0 && arch::role_name(t.spec->role) == role;
      });
      hint = in_layers ? "; its layers are 0 to " + std::to_string(dims.n_layers() - 1)
                       : "; it is in no layer: \"" + role + "\"";
    } else if (!meant.empty()) {
      hint = "; did you mean \"" + meant + "\"?";
    }
    core::fail(core::ErrorKind::usage, "format override \"", key,
               "\": this model has no such tensor", hint);
  }
}

FormatId QuantPlan::format_of(Role role, int layer) const {
  for (const TensorFormat& t : tensors)
    if (t.role == role && t.layer == layer) return t.format;
  core::fail(core::ErrorKind::internal, "quantization plan ", name, " has no tensor ",
             arch::role_name(role), " in layer ", layer);
}

std::vector<std::string> mix_names() {
  std::vector<std::string> names;
  for (const format::QuantFormat& f : format::all_formats()) names.emplace_back(f.name);
  for (const std::string_view name : k_mixes())
    if (!format::format_by_name(name)) names.emplace_back(name);
  return names;
}

QuantPlan quant_plan(const arch::Arch& arch, const arch::ModelDims& dims, std::string_view mix,
                     const std::map<std::string, FormatId>& overrides) {
  std::string lower(mix);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  const bool is_mix = is_k_mix(lower);
  const std::optional<FormatId> uniform = format::format_by_name(lower);
  if (!is_mix && !uniform) {
    const std::vector<std::string> names = mix_names();
    const std::string near = core::nearest_name(lower, names.data(), names.size());
    std::string known;
    for (const std::string& n : names) known += " " + n;
    core::fail(core::ErrorKind::usage, "unknown format mix \"", mix, "\"",
               near.empty() ? "" : "; did you mean " + near + "?", " Known:", known);
  }
  const std::vector<arch::TensorRef> tensors = arch::tensors(arch, dims);
  check_overrides(arch, dims, overrides);
  QuantPlan plan{.name = lower, .tensors = {}};
  std::vector<MixFormat> mixed;
  if (is_mix) mixed = k_mix_formats(lower, arch, dims, tensors);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const arch::TensorRef& t = tensors[i];
    FormatId format = FormatId::f32;
    if (!t.is_vector) {
      format = is_mix ? mixed[i].stored : *uniform;
      if (stays_f32(t.spec->role) && !format::info(format).is_float()) format = FormatId::f32;
      if (const auto wanted = override_for(overrides, t.spec->role, t.layer)) format = *wanted;
    }
    plan.tensors.push_back({t.spec->role, t.layer, format});
  }
  require_legal(plan, tensors);
  return plan;
}

std::int64_t tensor_bytes(const arch::TensorRef& tensor, FormatId format) {
  return format::matrix_bytes(format, tensor.is_vector ? 1 : tensor.rows, tensor.row_length());
}

std::int64_t tensor_data_bytes(const arch::Arch& arch, const arch::ModelDims& dims,
                               const QuantPlan& plan) {
  std::int64_t bytes = 0;
  for (const arch::TensorRef& t : arch::tensors(arch, dims))
    bytes += tensor_bytes(t, plan.format_of(t.spec->role, t.layer));
  return bytes;
}

double bits_per_weight(const arch::Arch& arch, const arch::ModelDims& dims, const QuantPlan& plan) {
  const std::int64_t n = arch::parameters(arch, dims);
  return n == 0 ? 0
                : 8.0 * static_cast<double>(tensor_data_bytes(arch, dims, plan)) /
                      static_cast<double>(n);
}

std::string to_json(const QuantPlan& plan) {
  nlohmann::ordered_json tensors = nlohmann::ordered_json::array();
  for (const TensorFormat& t : plan.tensors) {
    nlohmann::ordered_json entry;
    entry["role"] = arch::role_name(t.role);
    if (t.layer >= 0) entry["layer"] = t.layer;
    entry["format"] = format::info(t.format).name;
    tensors.push_back(std::move(entry));
  }
  nlohmann::ordered_json out;
  out["name"] = plan.name;
  out["tensors"] = std::move(tensors);
  return out.dump(1) + "\n";
}

QuantPlan quant_plan_from_json(const std::string& text, const arch::Arch& arch,
                               const arch::ModelDims& dims, const std::string& where) {
  const nlohmann::json root = format::parse_json<nlohmann::json>(text, where);
  ESP_CHECK(root.is_object() && root.contains("name") && root["name"].is_string() &&
                root.contains("tensors") && root["tensors"].is_array(),
            input, where,
            ": a quantization plan is a JSON object with \"name\" and the array \"tensors\"");
  std::map<std::pair<Role, int>, FormatId> formats;
  std::size_t index = 0;
  for (const nlohmann::json& entry : root["tensors"]) {
    const std::string at = where + ": tensors[" + std::to_string(index++) + "]";
    ESP_CHECK(entry.is_object() && entry.contains("role") && entry["role"].is_string() &&
                  entry.contains("format") && entry["format"].is_string(),
              input, at, " needs the strings \"role\" and \"format\"");
    const std::string role_text = entry["role"], format_text = entry["format"];
    const std::optional<Role> role = arch::role_by_name(role_text);
    ESP_CHECK(role.has_value(), input, at, ": unknown role \"", role_text, "\"");
    const std::optional<FormatId> format = format::format_by_name(format_text);
    ESP_CHECK(format.has_value(), input, at, ": unknown format \"", format_text, "\"");
    int layer = -1;
    if (entry.contains("layer")) {
      ESP_CHECK(entry["layer"].is_number_integer() && entry["layer"] >= 0 &&
                    entry["layer"] < dims.n_layers(),
                input, at, ": \"layer\" must be 0 to ", dims.n_layers() - 1);
      layer = entry["layer"].get<int>();
    }
    ESP_CHECK(formats.emplace(std::pair(*role, layer), *format).second, input, at, ": ", role_text,
              " is listed twice");
  }
  QuantPlan plan{.name = root["name"], .tensors = {}};
  const std::vector<arch::TensorRef> tensors = arch::tensors(arch, dims);
  for (const arch::TensorRef& t : tensors) {
    const auto found = formats.find({t.spec->role, t.layer});
    ESP_CHECK(found != formats.end(), input, where, ": no format for ",
              arch::gguf_name(t.spec->role, t.layer));
    ESP_CHECK(!t.is_vector || found->second == FormatId::f32, unsupported, where, ": ",
              arch::gguf_name(t.spec->role, t.layer), " is a vector and must be f32");
    plan.tensors.push_back({t.spec->role, t.layer, found->second});
    formats.erase(found);
  }
  ESP_CHECK(formats.empty(), input, where, ": lists ",
            arch::gguf_name(formats.begin()->first.first, formats.begin()->first.second),
            ", which this model does not have");
  require_legal(plan, tensors);
  return plan;
}

}  // namespace espalier::plan
