// SPDX-License-Identifier: Apache-2.0
// espalier inspect MODEL: the contents of a model, from headers alone.
#include <algorithm>
#include <sstream>

#include "arch/factors.h"
#include "checkpoint/checkpoint.h"
#include "command_line.h"
#include "core/error.h"
#include "core/notes.h"
#include "core/units.h"
#include "reference.h"
#include "text/template/template.h"
#include "verb.h"

namespace espalier::tool {
namespace {

// "1536" when all layers agree, else the list.
std::string join(const std::vector<std::int64_t>& values) {
  bool same = true;
  std::string out;
  for (std::int64_t v : values) {
    same = same && v == values.front();
    out += (out.empty() ? "" : " ") + std::to_string(v);
  }
  return same && !values.empty() ? std::to_string(values.front()) : out;
}

using Json = nlohmann::ordered_json;

struct InspectFlags {
  std::string model;
  bool tensors = false;
};

using SizesOfLayers = arch::PerAxis<std::vector<std::int64_t>>;
// Empty where the family has no such size.
SizesOfLayers sizes_of_layers(const arch::Arch& arch, const arch::ModelDims& dims) {
  SizesOfLayers sizes;
  for (const arch::Axis axis : arch::kLayerAxes)
    if (arch::has_axis(arch, axis))
      for (const arch::LayerDims& l : dims.layers) sizes[axis].push_back(l[axis]);
  return sizes;
}

// A bare config.json has no files.
Json numbers_of(const checkpoint::Checkpoint& source, const SizesOfLayers& sizes, bool bare) {
  const arch::ModelDims& d = source.dims();
  const std::int64_t parameters = arch::parameters(source.arch(), d),
                     active = arch::active_parameters(source.arch(), d);
  Json out{{"architecture", source.arch().name}, {"parameters", parameters}};
  if (active != parameters) out["active_parameters"] = active;
  out["non_embedding_parameters"] = arch::non_embedding_parameters(source.arch(), d);
  out["layers"] = d.n_layers();
  out["hidden"] = d.hidden;
  for (const arch::Axis axis : arch::kLayerAxes)
    if (!sizes[axis].empty()) out[std::string(arch::axis_name(axis))] = sizes[axis];
  out.update(Json{{"head_dim", d.head_dim},
                  {"vocab", d.vocab},
                  {"positions", d.positions},
                  {"tied", d.tied},
                  {"rope_theta", d.rope_theta},
                  {"file_bytes", bare ? 0 : source.file_bytes()},
                  {"kv_bytes_per_token", arch::kv_bytes_per_token(d)},
                  {"tokenizer", nullptr}});
  for (const arch::Factor& factor : arch::kFactors)
    if (factor.stated_by(source.arch()))
      out["factors"][source.arch().keys.*factor.config] = factor.of(d);
  if (source.has_tokenizer())
    out["tokenizer"] = {{"kind", text::name_of(source.tokenizer().kind)},
                        {"pre", source.tokenizer().pre},
                        {"tokens", source.tokenizer().tokens.size()},
                        {"chat_template", !source.tokenizer().chat_template.empty()}};
  return out;
}

// Says now what chat would say later.
void note_template(const checkpoint::Checkpoint& source, const std::string& model) {
  if (!source.has_tokenizer() || source.tokenizer().chat_template.empty()) return;
  try {
    const text::jinja::Template parsed(source.tokenizer().chat_template, model);
  } catch (const core::Error& error) {
    core::note(error.what());
  }
}

void write_summary(const checkpoint::Checkpoint& source, const std::string& model,
                   const SizesOfLayers& sizes, const Json& numbers, std::ostream& text) {
  const arch::ModelDims& d = source.dims();
  const std::string covers =
      source.arch().models.empty() ? "" : " (" + std::string(source.arch().models) + ")";
  text << model << ": " << source.arch().name << covers << ", "
       << core::human_count(numbers["parameters"].get<std::int64_t>()) << " parameters (";
  if (numbers.contains("active_parameters"))
    text << core::human_count(numbers["active_parameters"].get<std::int64_t>()) << " active, ";
  text << core::human_count(numbers["non_embedding_parameters"].get<std::int64_t>())
       << " without embeddings)\n"
       << "  layers " << d.n_layers() << "  hidden " << d.hidden;
  for (const arch::Axis axis : arch::kLayerAxes)
    if (std::any_of(sizes[axis].begin(), sizes[axis].end(), [](auto n) { return n > 0; }))
      text << "  " << arch::axis_name(axis) << " " << join(sizes[axis]);
  text << "  head_dim " << d.head_dim << "\n  vocab " << d.vocab << (d.tied ? " (tied)" : "")
       << "  context " << d.positions << "  KV cache " << arch::kv_bytes_per_token(d)
       << " bytes a token (f16)\n";
  if (numbers.contains("factors")) {
    for (const auto& [key, value] : numbers["factors"].items())
      text << "  " << key << " " << value.get<double>();
    text << "\n";
  }
}

// Every tensor, as JSON and a line each.
Json list_tensors(const checkpoint::Checkpoint& source, bool bare, std::ostream& text) {
  Json list = Json::array();
  for (const arch::TensorRef& t : arch::tensors(source.arch(), source.dims())) {
    const std::string name = arch::gguf_name(t.spec->role, t.layer),
                      hf = arch::with_layer(t.spec->hf, t.layer);
    const std::string stored =
        bare ? "" : std::string(format::info(source.stored_format(t.spec->role, t.layer)).name);
    const Json shape = t.shape();
    list.push_back({{"name", name}, {"hf_name", hf}, {"shape", shape}, {"format", stored}});
    text << "  " << name << "  " << shape.dump() << "  " << stored << "  (" << hf << ")\n";
  }
  return list;
}

void inspect(const InspectFlags& flags, const Common& common) {
  const bool bare = flags.model.size() > 5 && flags.model.ends_with(".json");
  const auto source = checkpoint::Checkpoint::survey(flags.model, !bare);
  const SizesOfLayers sizes = sizes_of_layers(source.arch(), source.dims());
  note_template(source, flags.model);
  Json out = numbers_of(source, sizes, bare);
  std::ostringstream text;
  write_summary(source, flags.model, sizes, out, text);
  if (!bare)
    text << "  files " << core::human_bytes(static_cast<std::int64_t>(source.file_bytes())) << "\n";
  if (flags.tensors) out["tensors"] = list_tensors(source, bare, text);
  print(common, out, text.str());
}

}  // namespace

void add_inspect(CLI::App& app, Common& common) {
  auto flags = std::make_shared<InspectFlags>();
  CLI::App* verb =
      app.add_subcommand("inspect", "show the contents of a model, from headers alone");
  verb->footer("Example:\n  espalier inspect teacher.gguf");
  verb->add_option("model", flags->model, "Hugging Face directory, .gguf or config.json")
      ->required();
  verb->add_flag("--tensors", flags->tensors, "list every tensor");
  add_common(*verb, common);
  add_pre(*verb);
  describe_json(*verb,
                {{"architecture", "family of the model"},
                 {"parameters", "parameters of the model"},
                 {"non_embedding_parameters", "those outside the embeddings"},
                 {"active_parameters", "those that one token uses, where a layer has experts"},
                 {"layers", "number of layers"},
                 {"hidden", "hidden size"},
                 {"ffn", "inner size of each layer's feed-forward block"},
                 {"kv_groups", "KV groups of each layer"},
                 {"q_per_kv", "query heads of a KV group, in each layer"},
                 {"experts", "experts of each layer, where there are some"},
                 {"expert_ffn", "inner size of an expert, in each layer"},
                 {"experts_per_token", "experts that one token uses, in each layer"},
                 {"head_dim", "size of a head"},
                 {"vocab", "size of the vocabulary"},
                 {"positions", "longest context"},
                 {"tied", "whether output and input embeddings are one"},
                 {"rope_theta", "base of the rotary positions"},
                 {"file_bytes", "size of all files"},
                 {"kv_bytes_per_token", "what one token adds to a KV cache in F16"},
                 {"tokenizer", "kind, pre-tokenizer, tokens, and whether there is a chat template"},
                 {"tensors", "with `--tensors`: name, shape and format of each"}});
  verb->callback([flags, &common] { inspect(*flags, common); });
}

}  // namespace espalier::tool
