// SPDX-License-Identifier: Apache-2.0
// espalier inspect MODEL: the contents of a model, from headers alone.
#include <cstdio>
#include <sstream>

#include "arch/factors.h"
#include "checkpoint/checkpoint.h"
#include "core/units.h"
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

}  // namespace

void add_inspect(CLI::App& app, Common& common) {
  struct Flags {
    std::string model;
    bool tensors = false;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* verb =
      app.add_subcommand("inspect", "show the contents of a model, from headers alone");
  verb->add_option("model", flags->model, "Hugging Face directory, .gguf or config.json")
      ->required();
  verb->add_flag("--tensors", flags->tensors, "list every tensor");
  add_common(*verb, common);
  verb->callback([flags, &common] {
    const bool bare =
        flags->model.size() > 5 && flags->model.substr(flags->model.size() - 5) == ".json";
    const auto source = checkpoint::Checkpoint::open(flags->model, !bare);
    const arch::ModelDims& d = source.dims();
    arch::PerAxis<std::vector<std::int64_t>> sizes;
    for (const arch::Axis axis : arch::kLayerAxes)
      for (const arch::LayerDims& l : d.layers) sizes[axis].push_back(l[axis]);
    nlohmann::ordered_json out{
        {"architecture", source.arch().name},
        {"parameters", arch::parameters(source.arch(), d)},
        {"non_embedding_parameters", arch::non_embedding_parameters(source.arch(), d)},
        {"layers", d.n_layers()},
        {"hidden", d.hidden}};
    for (const arch::Axis axis : arch::kLayerAxes)
      out[std::string(arch::axis_name(axis))] = sizes[axis];
    out.update(nlohmann::ordered_json{{"head_dim", d.head_dim},
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
    std::ostringstream text;
    const std::string covers =
        source.arch().models.empty() ? "" : " (" + std::string(source.arch().models) + ")";
    text << flags->model << ": " << source.arch().name << covers << ", "
         << core::human_count(out["parameters"].get<std::int64_t>()) << " parameters ("
         << core::human_count(out["non_embedding_parameters"].get<std::int64_t>())
         << " without embeddings)\n"
         << "  layers " << d.n_layers() << "  hidden " << d.hidden;
    for (const arch::Axis axis : arch::kLayerAxes)
      text << "  " << arch::axis_name(axis) << " " << join(sizes[axis]);
    text << "  head_dim " << d.head_dim << "\n  vocab " << d.vocab << (d.tied ? " (tied)" : "")
         << "  context " << d.positions << "  KV cache " << arch::kv_bytes_per_token(d)
         << " bytes a token (f16)\n";
    if (out.contains("factors")) {
      for (const auto& [key, value] : out["factors"].items())
        text << "  " << key << " " << value.get<double>();
      text << "\n";
    }
    if (!bare)
      text << "  files " << core::human_bytes(static_cast<std::int64_t>(source.file_bytes()))
           << "\n";
    if (flags->tensors) {
      out["tensors"] = nlohmann::ordered_json::array();
      for (const arch::TensorRef& t : arch::tensors(source.arch(), d)) {
        const std::string name = arch::gguf_name(t.spec->role, t.layer),
                          hf = arch::with_layer(t.spec->hf, t.layer);
        const std::string stored =
            bare ? "" : std::string(format::info(source.stored_format(t.spec->role, t.layer)).name);
        nlohmann::ordered_json shape =
            t.is_vector ? nlohmann::ordered_json{t.rows} : nlohmann::ordered_json{t.rows, t.cols};
        out["tensors"].push_back(
            {{"name", name}, {"hf_name", hf}, {"shape", shape}, {"format", stored}});
        text << "  " << name << "  " << shape.dump() << "  " << stored << "  (" << hf << ")\n";
      }
    }
    print(common, out, text.str());
  });
}

}  // namespace espalier::tool
