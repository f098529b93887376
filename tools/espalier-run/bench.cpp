// SPDX-License-Identifier: Apache-2.0
// espalier-run bench FILE.gguf: speed of prefill and decode, bytes read, memory.
#include "runtime/bench.h"

#include <algorithm>
#include <memory>
#include <sstream>

#include "command_line.h"
#include "core/duration.h"
#include "core/error.h"
#include "core/notes.h"
#include "core/units.h"
#include "reference.h"
#include "verb.h"

namespace espalier::tool {
namespace {

nlohmann::ordered_json or_null(const std::optional<double>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
}

// Which tests are as long as somebody asked. Others fit into the model's context.
struct Asked {
  bool prompt = false, generate = false;
};

// As many positions as the tests take, unless --context says more.
void choose_context(const Common& common, Asked asked, runtime::BenchOptions& options,
                    runtime::SessionOptions& open) {
  const std::string& model = common.model;
  const std::int64_t positions = positions_of(model);
  const std::int64_t most = open.context > 0 ? std::min(open.context, positions) : positions;
  const auto fit = [&](std::int64_t& tokens, bool is_asked) {
    if (is_asked || options.depth + tokens <= most || options.depth >= most) return;
    tokens = most - options.depth;
    core::note(model + ": a test takes " + std::to_string(tokens) + " tokens, not more, in " +
               std::to_string(most) + " positions");
  };
  fit(options.prompt, asked.prompt);
  fit(options.generate, asked.generate);
  if (open.context != 0) return;
  open.context = options.depth + std::max(options.prompt, options.generate);
  ESP_CHECK(open.context <= most, usage, "bench: --depth ", options.depth,
            " and the larger of --prompt ", options.prompt, " and --generate ", options.generate,
            " are ", open.context, " positions; ", model, " supports at most ", most);
}

std::string readable(const runtime::Session& session, const runtime::BenchOptions& options,
                     const runtime::BenchResult& r) {
  std::ostringstream text;
  const auto n = [](double value) { return core::number(value); };
  text << session.isa() << ", " << session.threads() << " threads, median of " << options.repeat
       << "\n";
  if (options.prompt > 0)
    text << "prefill " << n(r.prefill_tokens_per_second) << " tokens/s  (" << options.prompt
         << " tokens, " << n(r.prefill_min) << " to " << n(r.prefill_max) << ")\n";
  if (options.generate > 0)
    text << "decode  " << n(r.decode_tokens_per_second) << " tokens/s  (" << options.generate
         << " tokens, " << n(r.decode_min) << " to " << n(r.decode_max) << ")  "
         << n(r.read_gb_per_second) << " GB/s of weights\n";
  if (r.read_bandwidth_gb_per_second && options.generate > 0)
    text << "        " << n(100 * r.read_gb_per_second / *r.read_bandwidth_gb_per_second)
         << " % of the " << n(*r.read_bandwidth_gb_per_second) << " GB/s that " << session.threads()
         << " threads read here\n";
  if (options.prompt > 0)
    text << "        " << n(r.prefill_gmac_per_second) << " of the "
         << n(r.int8_peak_gmac_per_second) << " GMAC/s of int8 dot products that " << session.isa()
         << " does here\n";
  if (r.decode_joules_per_token)
    text << "        " << n(*r.decode_joules_per_token) << " J a token of decode, whole package\n";
  if (!r.sustained_tokens_per_second.empty()) {
    text << "sustained for " << core::human_duration(options.sustained_seconds) << ":";
    for (const double speed : r.sustained_tokens_per_second) text << " " << n(speed);
    text << " tokens/s\n";
  }
  text << "weights " << core::human_bytes(r.weight_bytes_per_token) << " a token, KV "
       << core::human_bytes(r.kv_bytes_per_token) << " a position, peak RSS "
       << core::human_bytes(r.peak_rss_bytes) << " ("
       << core::human_bytes(session.predicted_peak_bytes()) << " when all " << session.context()
       << " positions are taken)\n";
  return text.str();
}

nlohmann::ordered_json numbers(const runtime::Session& session, const runtime::BenchResult& r) {
  return {{"prefill_tokens_per_second", r.prefill_tokens_per_second},
          {"prefill_min", r.prefill_min},
          {"prefill_max", r.prefill_max},
          {"decode_tokens_per_second", r.decode_tokens_per_second},
          {"decode_min", r.decode_min},
          {"decode_max", r.decode_max},
          {"weight_bytes_per_token", r.weight_bytes_per_token},
          {"kv_bytes_per_token", r.kv_bytes_per_token},
          {"read_gb_per_second", r.read_gb_per_second},
          {"read_bandwidth_gb_per_second", or_null(r.read_bandwidth_gb_per_second)},
          {"int8_peak_gmac_per_second", r.int8_peak_gmac_per_second},
          {"prefill_gmac_per_second", r.prefill_gmac_per_second},
          {"decode_joules_per_token", or_null(r.decode_joules_per_token)},
          {"sustained_tokens_per_second", r.sustained_tokens_per_second},
          {"isa", session.isa()},
          {"packed_file", session.packed_file().empty()
                              ? nlohmann::ordered_json(nullptr)
                              : nlohmann::ordered_json(session.packed_file())},
          {"threads", session.threads()},
          {"context", session.context()},
          {"peak_rss_bytes", r.peak_rss_bytes},
          {"predicted_peak_bytes", session.predicted_peak_bytes()}};
}

void run(const Common& common, Asked asked, runtime::BenchOptions options) {
  options.seed = common.seed;
  runtime::SessionOptions open = session_options(common);
  open.tokenizer_first = false;
  choose_context(common, asked, options, open);
  runtime::Session session = open_session(common, common.model, open);
  const runtime::BenchResult r = runtime::bench(session, options);
  print(common, numbers(session, r), readable(session, options, r));
}

}  // namespace

void add_bench(CLI::App& app, Common& common) {
  CLI::App* verb =
      add_verb(app, common, "bench", "speed of prefill and decode, each from an empty KV cache");
  auto options = std::make_shared<runtime::BenchOptions>();
  const CLI::Option* prompt =
      verb->add_option("--prompt", options->prompt,
                       "tokens of prefill (0: skip); by default no more than the model's context")
          ->check(whole_number())
          ->capture_default_str();
  const CLI::Option* generate =
      verb->add_option("--generate", options->generate,
                       "tokens of decode (0: skip); by default no more than the model's context")
          ->check(whole_number())
          ->capture_default_str();
  verb->add_option("--depth", options->depth, "tokens in the KV cache before each test")
      ->check(whole_number())
      ->capture_default_str();
  verb->add_option("--repeat", options->repeat, "number of rounds; results are medians")
      ->check(whole_number(1))
      ->capture_default_str();
  verb->add_option("--sustained", options->sustained_seconds,
                   "afterwards decode without a pause for this many seconds, to see throttling")
      ->check(number_between(0, 1e6))
      ->capture_default_str();
  verb->add_option("--context", common.context, "positions in the KV cache (0: as many as needed)")
      ->check(whole_number());
  verb->footer("Example:\n  espalier-run bench student.gguf --prompt 512 --generate 128");
  describe_json(*verb,
                {{"prefill_tokens_per_second", "median speed of reading"},
                 {"prefill_min", "slowest round"},
                 {"prefill_max", "fastest round"},
                 {"decode_tokens_per_second", "median speed of writing"},
                 {"decode_min", "slowest round"},
                 {"decode_max", "fastest round"},
                 {"weight_bytes_per_token", "bytes of weights that one token reads"},
                 {"kv_bytes_per_token", "what one token adds to the KV cache"},
                 {"read_gb_per_second", "weights read in decode"},
                 {"read_bandwidth_gb_per_second",
                  "what the same threads read at most; null where it was not measured"},
                 {"int8_peak_gmac_per_second", "int8 products at most, measured"},
                 {"prefill_gmac_per_second", "int8 products in prefill"},
                 {"decode_joules_per_token", "energy of the package; null where it cannot be read"},
                 {"sustained_tokens_per_second", "speeds over time, with `--sustained`"},
                 {"isa", "instruction set"},
                 {"packed_file", "packed file in use, or null"},
                 {"threads", "threads in use"},
                 {"context", "positions in the KV cache"},
                 {"peak_rss_bytes", "most memory that the process held"},
                 {"predicted_peak_bytes", "the same when all positions are taken"}});
  verb->callback([&common, options, prompt, generate] {
    run(common, {prompt->count() > 0, generate->count() > 0}, *options);
  });
}

}  // namespace espalier::tool
