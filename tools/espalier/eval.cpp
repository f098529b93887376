// SPDX-License-Identifier: Apache-2.0
// espalier eval MODEL --text FILE: perplexity, and divergence from another model.
#include <filesystem>
#include <optional>
#include <sstream>

#include "core/error.h"
#include "core/units.h"
#include "layerwise/saved.h"
#include "reference.h"
#include "verb.h"
#include "verify/evaluate.h"

namespace espalier::tool {
namespace {

struct EvalFlags {
  std::string model, text, against, protocol = "windows", engine = "training";
  verify::EvalOptions options;
};

void evaluate(EvalFlags& flags, const Common& common) {
  std::error_code unreadable;
  ESP_CHECK(flags.engine != "device" || !std::filesystem::is_directory(flags.model, unreadable),
            usage, flags.model, ": is a directory, but --engine device reads a .gguf; make one",
            " with 'espalier quantize', or use --engine training");
  apply_device(common);
  flags.options.protocol = runtime::protocol_by_name(flags.protocol);
  flags.options.engine =
      flags.engine == "device" ? verify::Engine::device : verify::Engine::training;
  flags.options.threads = common.threads;
  const std::vector<verify::EvalModel> models{{flags.model, flags.options.engine}};
  flags.options.memory = verify::budget_within(
      common.max_ram_bytes(), verify::sizes_of(models, flags.against), flags.options.context, 0);
  std::optional<checkpoint::WorkFolder> work;
  if (const checkpoint::WorkOptions kept = work_options(common, "", "name it with --work");
      !kept.folder.empty()) {
    work.emplace(kept,
                 verify::evaluation_identity(models, flags.against, flags.text, flags.options));
    layerwise::begin(*work);
    work->start();
    flags.options.work = &*work;
  }
  const verify::EvalResult r =
      verify::evaluate(flags.model, flags.against, flags.text, flags.options, common.progress());
  nlohmann::ordered_json out{{"perplexity", r.perplexity}, {"tokens", r.tokens}};
  std::ostringstream text;
  text << "perplexity " << core::number(r.perplexity) << " over " << r.tokens << " tokens\n";
  if (r.has_divergence) {
    out["against_perplexity"] = r.against_perplexity;
    out["kl_mean"] = r.kl_mean;
    out["kl_p99"] = r.kl_p99;
    out["same_top1"] = r.same_top1;
    text << "against " << flags.against << " (perplexity " << core::number(r.against_perplexity)
         << "): KL mean " << core::number(r.kl_mean) << ", 99th percentile "
         << core::number(r.kl_p99) << ", same top token " << core::number(100 * r.same_top1)
         << " %\n";
  }
  out["peak_rss_bytes"] = core::peak_rss_bytes();
  print(common, out, text.str());
  if (work) work->remove();
}

}  // namespace

void add_eval(CLI::App& app, Common& common) {
  auto flags = std::make_shared<EvalFlags>();
  CLI::App* verb = app.add_subcommand(
      "eval", "measure perplexity, and with --against the divergence from that model");
  verb->add_option("model", flags->model, "Hugging Face directory or .gguf")->required();
  verb->add_option("--text", flags->text, "text")->required();
  verb->add_option("--context", flags->options.context, "window length")
      ->check(CLI::Range(4, 1 << 20));
  verb->add_option("--against", flags->against, "reference model (teacher)");
  verb->add_option("--protocol", flags->protocol, "windows or llama.cpp")
      ->check(CLI::IsMember({"windows", "llama.cpp"}));
  verb->add_option("--engine", flags->engine,
                   "training (LibTorch) or device (the runtime; GGUF only)")
      ->check(CLI::IsMember({"training", "device"}));
  verb->add_option("--windows", flags->options.max_windows,
                   "number of windows to read at most, spread evenly over the text (0: all)")
      ->check(CLI::NonNegativeNumber);
  add_common(*verb, common, true);
  add_max_ram(*verb, common);
  add_work(*verb, common, "none, nothing is kept");
  describe_json(*verb, {{"perplexity", "of the model"},
                        {"tokens", "tokens that were scored"},
                        {"against_perplexity", "of the reference, with `--against`"},
                        {"kl_mean", "mean divergence from the reference, nats per token"},
                        {"kl_p99", "its 99th percentile"},
                        {"same_top1", "share of tokens with the same likeliest next token"},
                        {"peak_rss_bytes", "most memory that the process held"}});
  verb->callback([flags, &common] { evaluate(*flags, common); });
}

}  // namespace espalier::tool
