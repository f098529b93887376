// SPDX-License-Identifier: Apache-2.0
// espalier compare COMPARE.yaml --out DIR: schemes side by side under one protocol.
#include "compare/compare.h"

#include <sstream>

#include "core/error.h"
#include "core/pipe.h"
#include "core/units.h"
#include "reference.h"
#include "verb.h"

namespace espalier::tool {

namespace {

struct CompareFlags {
  std::string path, shard;
  compare::CompareOptions options;
};

// "2/4": the second of four parts; 0/4 begins the count at zero.
void read_shard(CompareFlags& flags) {
  if (flags.shard.empty()) return;
  const auto slash = flags.shard.find('/');
  ESP_CHECK(slash != std::string::npos, usage, "--shard ", flags.shard,
            ": expected i/n, such as 2/4 for the second of four parts");
  flags.options.shard = core::parse_count(flags.shard.substr(0, slash), "--shard");
  flags.options.shards = core::parse_count(flags.shard.substr(slash + 1), "--shard");
  ESP_CHECK(flags.options.shards >= 1 && flags.options.shard >= 0 &&
                flags.options.shard <= flags.options.shards,
            usage, "--shard ", flags.shard,
            ": expected i/n with i from 1 to n, or from 0 to n - 1");
}

std::string value(const nlohmann::ordered_json& v) {
  return v.is_number() ? core::number(v.get<double>()) : "-";
}

std::string rows_for_people(const nlohmann::ordered_json& result) {
  std::ostringstream text;
  for (const auto& row : result.at("rows")) {
    text << row.at("scheme").get<std::string>();
    if (const auto ratio = row.at("ratio").get<std::string>(); !ratio.empty()) text << " " << ratio;
    if (row.at("seed").is_number()) text << " seed " << row["seed"].dump();
    text << ", " << row.at("stage").get<std::string>();
    if (!row.at("error").get<std::string>().empty()) {
      text << ": failed\n";
      continue;
    }
    text << ", " << row.at("text").get<std::string>() << ": perplexity " << value(row["perplexity"])
         << ", " << value(row["perplexity_ratio"]) << " times dense";
    if (const auto standing = row.at("standing").get<std::string>(); !standing.empty())
      text << ", " << standing;
    text << "\n";
  }
  text << result.at("output").get<std::string>() << "\n";
  return text.str();
}

std::string command_of(const CompareFlags& flags) {
  return "espalier compare " + flags.path + " --out " + flags.options.out;
}

}  // namespace

void add_compare(CLI::App& app, Common& common) {
  auto flags = std::make_shared<CompareFlags>();
  CLI::App* verb =
      app.add_subcommand("compare", "compare pruning schemes side by side under one protocol");
  verb->footer("Example:\n  espalier compare compare.yaml --out out");
  verb->add_option("comparison", flags->path, "comparison YAML")->type_name("FILE")->required();
  verb->add_option("--out", flags->options.out, "directory of the results")
      ->type_name("DIR")
      ->required();
  verb->add_option("--shard", flags->shard,
                   "run only part i of n, for arrays of jobs; a run without it joins the parts")
      ->type_name("I/N");
  add_common(*verb, common, true);
  add_max_ram(*verb, common);
  describe_json(*verb, {{"name", "name of the comparison"},
                        {"output", "folder of the results"},
                        {"cells", "schemes times sizes times seeds that were asked for"},
                        {"failed", "how many of them failed"},
                        {"rows",
                         "scheme, ratio, seed, stage, text, parameters, bytes, perplexity, its "
                         "ratio to dense with an interval, divergence, standing, error, seconds, "
                         "memory and speed of each"}});
  verb->callback([flags, &common, verb] {
    refuse_unused(*verb, "on a comparison, which names its seeds", {"--seed"},
                  "change 'seeds' in " + flags->path);
    read_shard(*flags);
    apply_device(common);
    flags->options.command = command_of(*flags);
    flags->path = core::readable_again(flags->path);
    flags->options.bench_program = common.device_program();
    flags->options.threads = common.threads;
    flags->options.max_ram = common.max_ram_bytes();
    const nlohmann::ordered_json result =
        compare::compare(flags->path, flags->options, common.progress());
    print(common, result, rows_for_people(result));
    const auto failed = result.at("failed").get<std::int64_t>();
    ESP_CHECK(failed == 0, check_failed, flags->path, ": ", failed, " of ",
              result.at("cells").get<std::int64_t>(),
              " cells failed; their rows say why, and the same command tries them again");
  });
}

}  // namespace espalier::tool
