// SPDX-License-Identifier: Apache-2.0
// Whatever can change what a stage writes changes its identity: every key that the parser takes,
// one at a time, is in one of two tables here, and so is every file. A key that somebody adds to
// the parser and forgets here, or in identity.cpp, fails.
#include "recipe/identity.h"

#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "core/error.h"
#include "hash/sha256.h"
#include "recipe/stage_keys.h"
#include "verify/verify.h"

namespace espalier::recipe {
namespace {

namespace fs = std::filesystem;

// Models that earlier stages make stand for themselves; files and the teacher are hashed.
std::string hash_of(const Recipe& recipe, const StageInput& input) {
  if (input.kind == StageInput::Kind::file) return hash::sha256_file(input.path);
  if (input.kind == StageInput::Kind::teacher)
    return checkpoint::Checkpoint::open(recipe.teacher).sha256();
  return "made by " + input.name;
}
std::string identity(const Recipe& recipe, const RunOptions& options = {}) {
  const checkpoint::Manifest m =
      identity_of(recipe.stages.back(), recipe, options,
                  [&](const StageInput& input) { return hash_of(recipe, input); });
  return nlohmann::ordered_json{
      {"stage", m.stage}, {"algorithm", m.algorithm}, {"inputs", m.inputs}, {"options", m.options}}
      .dump();
}

struct Change {
  const char *kind, *key;
  Keys before, after;
};

const std::vector<Change>& that_matter() {
  static const std::vector<Change> table = [] {
    std::vector<Change> t{
        {"prune", "from", {}, {{"from", "other"}}},
        {"prune", "text", {}, {{"text", "held.txt"}}},
        {"prune", "held_out", {}, {{"held_out", "train.txt"}}},
        {"prune", "scores", {}, {{"scores", "scored"}, {"compensate", "least_squares"}}},
        {"prune", "dtype", {}, {{"dtype", "f16"}}},
        {"prune", "shard_bytes", {}, {{"shard_bytes", "1MB"}}},
        {"prune", "layers", {}, {{"layers", "1"}}},
        {"prune", "hidden", {}, {{"hidden", "32"}}},
        {"prune", "ffn", {{"ffn", "64"}}, {{"ffn", "32"}}},
        {"prune", "kv_groups", {}, {{"kv_groups", "1"}}},
        {"prune", "q_per_kv", {}, {{"q_per_kv", "2"}}},
        {"prune", "vocab", {}, {{"vocab", "320"}}},
        {"prune", "vocab_coverage", {}, {{"vocab_coverage", "0.9"}}},
        {"prune", "per_layer", {{"ffn", "64"}}, {{"ffn", "64"}, {"per_layer", "true"}}},
        {"prune", "parameters", {{"parameters", "50k"}}, {{"parameters", "60k"}}},
        {"prune", "ffn_granule", {}, {{"ffn_granule", "16"}}},
        {"prune", "hidden_granule", {}, {{"hidden_granule", "16"}}},
        {"prune", "plan", {{"plan", "plan.json"}}, {{"plan", "other.json"}}},
        {"prune", "criterion", {}, {{"criterion", "obs"}}},
        {"prune", "blocks", {{"blocks", "3"}}, {{"blocks", "2"}}},
        {"prune",
         "layer_criterion",
         {{"layers", "1"}},
         {{"layers", "1"}, {"layer_criterion", "perplexity"}}},
        {"prune", "compensate", {}, {{"compensate", "none"}}},
        {"prune", "ridge", {{"ridge", "0.1"}}, {{"ridge", "0.2"}}},
        {"prune", "tokens", {}, {{"tokens", "4096"}}},
        {"prune", "sequence", {}, {{"sequence", "64"}}},
        {"prune", "precision", {}, {{"precision", "float32"}}},
        {"distill", "from", {}, {{"from", "other"}}},
        {"distill", "teacher", {}, {{"teacher", "none"}}},
        {"distill", "cached", {{"cached", "logits"}}, {{"cached", "logits2"}}},
        {"distill", "text", {}, {{"text", "held.txt"}}},
        {"distill", "held_out", {}, {{"held_out", "train.txt"}}},
        {"distill", "loss", {}, {{"loss", "reverse_kl"}}},
        {"distill", "terms", {{"terms", "{ce: 1}"}}, {{"terms", "{ce: 1 to 2}"}}},
        {"distill",
         "hidden_layers",
         {{"terms", "{hidden_mse: 1}"}},
         {{"terms", "{hidden_mse: 1}"}, {"hidden_layers", "[0:1]"}}},
        {"distill",
         "skew_alpha",
         {{"terms", "{skew_kl: 1}"}},
         {{"terms", "{skew_kl: 1}"}, {"skew_alpha", "0.2"}}},
        {"distill", "schedule", {}, {{"schedule", "constant"}}},
        {"distill", "precision", {}, {{"precision", "float32"}}},
        {"distill", "train_embeddings", {}, {{"train_embeddings", "false"}}},
        {"quantize", "from", {}, {{"from", "other"}}},
        {"quantize", "text", {}, {{"text", "held.txt"}}},
        {"quantize", "imatrix", {}, {{"imatrix", "important"}}},
        {"quantize",
         "target_bpw",
         {{"format", ""}, {"target_bpw", "5"}},
         {{"format", ""}, {"target_bpw", "6"}}},
        {"quantize", "sequence", {}, {{"sequence", "64"}}},
        {"quantize", "precision", {}, {{"precision", "float32"}}},
        {"quantize", "tokens", {}, {{"tokens", "2k"}}},
        {"quantize", "format", {}, {{"format", "q4_0"}}},
        {"quantize",
         "target_bytes",
         {{"format", ""}, {"target_bytes", "1MB"}},
         {{"format", ""}, {"target_bytes", "2MB"}}},
        {"quantize",
         "no_larger_than",
         {{"format", ""}, {"no_larger_than", "small"}},
         {{"format", ""}, {"no_larger_than", "large"}}},
        {"quantize",
         "candidates",
         {{"format", ""}, {"target_bytes", "1MB"}},
         {{"format", ""}, {"target_bytes", "1MB"}, {"candidates", "[q8_0]"}}},
        {"quantize",
         "allocation",
         {{"format", ""}, {"target_bytes", "1MB"}},
         {{"format", ""}, {"target_bytes", "1MB"}, {"allocation", "layers"}}},
        {"quantize", "tensors", {}, {{"tensors", "{attn_q.0: f16}"}}},
        {"quantize", "rounding", {}, {{"rounding", "imatrix"}}},
        {"quantize", "no_tokenizer", {}, {{"no_tokenizer", "true"}}},
        {"quantize", "calibration_tokens", {}, {{"calibration_tokens", "2k"}}},
        {"verify", "of", {}, {{"of", "large"}}},
        {"verify", "teacher", {}, {{"teacher", "cut"}}},
        {"verify", "text", {}, {{"text", "train.txt"}}},
        {"average", "from", {}, {{"from", "[other, cut]"}}},
        {"average", "first_share", {}, {{"first_share", "0.5"}}},
        {"average", "dtype", {}, {{"dtype", "f16"}}},
        {"average", "shard_bytes", {}, {{"shard_bytes", "1MB"}}},
        {"external", "command", {}, {{"command", "[y, \"{out}\"]"}}},
        {"external", "inputs", {}, {{"inputs", "{student: other, other: large}"}}},
        {"external", "environment", {}, {{"environment", "{A: b}"}}},
        {"external", "makes", {}, {{"makes", "gguf"}}},
        {"external", "like", {}, {{"like", "student"}}},
        {"eval", "from", {}, {{"from", "cut"}}},
        {"eval", "against", {}, {{"against", "teacher"}}},
        {"eval", "text", {}, {{"text", "train.txt"}}},
        {"eval", "context", {}, {{"context", "64"}}},
        {"eval", "windows", {}, {{"windows", "3"}}},
        {"eval", "protocol", {}, {{"protocol", "llama.cpp"}}},
        {"eval", "engine", {}, {{"engine", "device"}}},
        {"eval", "tasks", {}, {{"tasks", "[task.jsonl]"}}},
        {"score", "from", {}, {{"from", "cut"}}},
        {"score", "text", {}, {{"text", "held.txt"}}},
        {"score", "criterion", {}, {{"criterion", "obs"}}},
        {"score", "tokens", {}, {{"tokens", "4096"}}},
        {"score", "sequence", {}, {{"sequence", "64"}}},
        {"score", "precision", {}, {{"precision", "float32"}}},
        {"calibrate", "from", {}, {{"from", "cut"}}},
        {"calibrate", "text", {}, {{"text", "held.txt"}}},
        {"calibrate", "tokens", {}, {{"tokens", "4096"}}},
        {"calibrate", "sequence", {}, {{"sequence", "64"}}},
        {"calibrate", "precision", {}, {{"precision", "float32"}}},
        {"calibrate", "gram", {}, {{"gram", "true"}}},
        {"cache", "teacher", {}, {{"teacher", "cut"}}},
        {"cache", "text", {}, {{"text", "held.txt"}}},
        {"cache", "student", {}, {{"student", "cut"}}},
        {"cache", "tokens", {}, {{"tokens", "1k"}}},
        {"cache", "sequence", {}, {{"sequence", "64"}}},
        {"cache", "top_k", {}, {{"top_k", "8"}}},
        {"cache", "temperature", {}, {{"temperature", "2"}}},
        {"cache", "values", {}, {{"values", "f32"}}},
        {"cache", "file_tokens", {}, {{"file_tokens", "4096"}}},
        {"verify", "student", {}, {{"student", "cut"}}},
        {"verify", "compare", {}, {{"compare", "[other]"}}},
        {"verify", "context", {}, {{"context", "64"}}},
        {"verify", "windows", {}, {{"windows", "3"}}},
        {"verify", "tasks", {}, {{"tasks", "[task.jsonl]"}}},
        {"verify", "gates", {}, {{"gates", "{kl_mean_max: 1}"}}},
        {"report", "title", {}, {{"title", "Other"}}},
    };
    for (const char* key :
         {"tokens", "batch", "sequence", "accumulation", "tokens_at_once", "vocab_chunk"})
      t.push_back({"distill", key, {{key, "2"}}, {{key, "3"}}});
    for (const char* key :
         {"learning_rate", "final_learning_rate_ratio", "warmup_ratio", "beta1", "beta2", "epsilon",
          "weight_decay", "clip_norm", "kl_weight", "ce_weight", "temperature"})
      t.push_back({"distill", key, {{key, "0.25"}}, {{key, "0.5"}}});
    return t;
  }();
  return table;
}

struct Exempt {
  Change change;
  const char* reason;
};
const std::vector<Exempt>& that_do_not_matter() {
  static const std::vector<Exempt> table = [] {
    std::vector<Exempt> t{
        {{"distill", "checkpoint_every", {{"checkpoint_every", "1"}}, {{"checkpoint_every", "9"}}},
         "a run resumed from a checkpoint ends with the bytes of one left alone"},
        {{"quantize", "deliver", {}, {{"deliver", "a.gguf"}}}, "names a link, made at every run"},
        {{"eval", "deliver", {}, {{"deliver", "a.json"}}}, "names a link, made at every run"},
        {{"score", "deliver", {}, {{"deliver", "a.scores"}}}, "names a link, made at every run"},
        {{"calibrate", "deliver", {}, {{"deliver", "a.gguf"}}}, "names a link, made at every run"},
        {{"quantize", "compat", {}, {{"compat", "espalier"}}}, "decides what is said, and no byte"},
        {{"quantize", "split_bytes", {}, {{"split_bytes", "1GB"}}}, "refused in a recipe"},
        {{"cache", "buffer", {}, {{"buffer", "1MB"}}}, "bounds memory, and changes no bit"},
        {{"verify", "deliver", {}, {{"deliver", "a.json"}}}, "names a link, made at every run"},
        {{"report", "deliver", {}, {{"deliver", "a.html"}}}, "names a link, made at every run"}};
    for (const std::string& kind : kinds())
      t.push_back({{kind.c_str(), "name", {}, {{"name", "another"}}}, "names the folder"});
    return t;
  }();
  return table;
}

// A report shows the recipe's text, in which every change shows.
std::string without_recipe_text(std::string identity) {
  const auto json = nlohmann::ordered_json::parse(identity);
  nlohmann::ordered_json out = json;
  out["options"].erase("recipe");
  return out.dump();
}

TEST(Identity, EveryKeyOfEveryKindIsInOneOfTheTwoTables) {
  const RecipeFolder folder;
  for (const std::string& kind : kinds()) {
    const Recipe recipe = folder.parse(kind, {});
    const std::vector<std::string>& parsed = recipe.stages.back().known_keys;
    std::set<std::string> known(parsed.begin(), parsed.end()), listed{"kind"};
    ASSERT_TRUE(known.contains("name") && known.size() >= 4) << kind;
    for (const Change& c : that_matter()) {
      if (c.kind != kind) continue;
      EXPECT_TRUE(listed.insert(c.key).second) << kind << " " << c.key;
    }
    for (const Exempt& e : that_do_not_matter()) {
      if (e.change.kind != kind) continue;
      EXPECT_TRUE(listed.insert(e.change.key).second) << kind << " " << e.change.key;
    }
    EXPECT_EQ(known, listed) << kind;
  }
  EXPECT_EQ(that_matter().size(), 119u);
  EXPECT_EQ(that_do_not_matter().size(), 21u);
}

TEST(Identity, EveryOptionThatMattersChangesIt) {
  const RecipeFolder folder;
  for (const Change& c : that_matter()) {
    const std::string before = identity(folder.parse(c.kind, c.before)),
                      after = identity(folder.parse(c.kind, c.after));
    EXPECT_NE(without_recipe_text(before), without_recipe_text(after)) << c.kind << " " << c.key;
  }
  std::set<std::string> of_kinds;
  for (const std::string& kind : kinds()) of_kinds.insert(identity(folder.parse(kind, {})));
  EXPECT_EQ(of_kinds.size(), kinds().size());
  std::set<std::string> of_gates;
  for (const std::string& gate : verify::gate_names())
    for (const char* limit : {"1", "2"})
      of_gates.insert(
          identity(folder.parse("verify", {{"gates", "{" + gate + ": " + limit + "}"}})));
  EXPECT_EQ(of_gates.size(), 2 * verify::gate_names().size());
}

TEST(Identity, WhatDoesNotMatterLeavesFinishedStagesAlone) {
  const RecipeFolder folder;
  for (const Exempt& e : that_do_not_matter()) {
    const Change& c = e.change;
    EXPECT_EQ(without_recipe_text(identity(folder.parse(c.kind, c.before))),
              without_recipe_text(identity(folder.parse(c.kind, c.after))))
        << c.kind << " " << c.key << ": " << e.reason;
  }
}

TEST(Identity, KeysBesideTheStages) {
  const RecipeFolder folder;
  const Recipe recipe = folder.parse("prune", {});
  EXPECT_EQ(std::set<std::string>(recipe.known_keys.begin(), recipe.known_keys.end()),
            (std::set<std::string>{"name", "seed", "teacher", "teacher_shape", "text", "text.train",
                                   "text.held_out", "text.train_sha256", "text.held_out_sha256",
                                   "text.control_tokens", "stages"}));
  const auto changed_by = [&](const Keys& top, const Keys& text) {
    std::set<std::string> out;
    for (const std::string& kind : kinds())
      if (without_recipe_text(identity(folder.parse(kind, {}))) !=
          without_recipe_text(identity(folder.parse(kind, {}, top, text))))
        out.insert(kind);
    return out;
  };
  using Set = std::set<std::string>;
  EXPECT_EQ(changed_by({{"seed", "7"}}, {}),
            (Set{"prune", "distill", "quantize", "score", "cache", "calibrate"}));
  EXPECT_EQ(changed_by({{"name", "other"}}, {}), (Set{"report"}));  // its title
  // The sizes that `plan` takes while the teacher is absent, and hashes that are checked, not used.
  EXPECT_EQ(changed_by({{"teacher_shape", "model/config.json"}}, {}), Set{});
  EXPECT_EQ(changed_by({}, {{"train_sha256", "ab"}}), Set{});
  EXPECT_EQ(changed_by({}, {{"held_out_sha256", "ab"}}), Set{});
  // A run adds what a text is read as, where that is not its letters.
  EXPECT_EQ(changed_by({}, {{"control_tokens", "no"}}), Set{});
  // Another path to the same text is the same text; another text is not.
  core::write_text_file(folder.dir.file("third.txt"), RecipeFolder::words("third"));
  EXPECT_EQ(changed_by({}, {{"train", "third.txt"}}),
            (Set{"prune", "distill", "quantize", "score", "cache", "calibrate"}));
  EXPECT_EQ(changed_by({}, {{"held_out", "third.txt"}}),
            (Set{"prune", "distill", "verify", "eval"}));
  EXPECT_THROW(changed_by({}, {{"held_out", ""}}), core::Error);  // verify reads it
  fs::copy_file(folder.dir.file("train.txt"), folder.dir.file("copy.txt"));
  EXPECT_EQ(changed_by({}, {{"train", "copy.txt"}}), Set{});
  support::write_tiny_llama(folder.dir.file("model2"), {.seed = 2});
  // The others read it through the stages before them.
  EXPECT_EQ(changed_by({{"teacher", "model2"}}, {}),
            (Set{"prune", "distill", "verify", "score", "cache", "calibrate", "eval"}));
}

// Each by its own name, and each by its content.
TEST(Identity, EveryTaskOfAList) {
  const RecipeFolder folder;
  fs::copy_file(folder.dir.file("task.jsonl"), folder.dir.file("two.jsonl"));
  const auto of = [&](const char* tasks) {
    return identity(folder.parse("eval", {{"tasks", tasks}}));
  };
  const std::string before = of("[task.jsonl, two.jsonl]");
  EXPECT_EQ(std::set<std::string>({before, of("[two.jsonl, task.jsonl]"), of("[task.jsonl]"),
                                   of("[task.jsonl, other=two.jsonl]")})
                .size(),
            4u);
  for (const char* name : {"task.jsonl", "two.jsonl"}) {
    core::write_text_file(folder.dir.file(name),
                          std::string("{\"text\": \"another ") + name + "\"}\n");
    EXPECT_NE(of("[task.jsonl, two.jsonl]"), before) << name;
  }
}

TEST(Identity, OptionsOfARun) {
  const RecipeFolder folder;
  for (const std::string& kind : kinds()) {
    const Recipe recipe = folder.parse(kind, {});
    const auto changes = [&](const RunOptions& options) {
      return identity(recipe) != identity(recipe, options);
    };
    // Speeds depend on threads. Elsewhere another number of them only rounds sums differently, and
    // models are not made again on a machine with more processors.
    EXPECT_EQ(changes({.out = "", .bench_program = "", .threads = 3}), kind == "verify") << kind;
    EXPECT_FALSE(changes({.out = "elsewhere", .bench_program = "", .threads = 0})) << kind;
    EXPECT_FALSE(changes({.out = "", .bench_program = "other", .threads = 0})) << kind;
  }
}

TEST(Identity, PartsThatAStageUsesAreRead) {
  const RecipeFolder folder;
  const std::vector<std::tuple<std::string, Keys, std::string, std::string>> parts{
      {"distill", {{"use", "part.yaml"}}, "learning_rate: 0.1\n", "learning_rate: 0.2\n"},
      {"prune", {{"use", "part.yaml"}}, "ffn: 64\n", "ffn: 32\n"},
      {"quantize", {{"tensors", "{use: part.yaml}"}}, "attn_q: f16\n", "attn_q: q8_0\n"},
      {"verify", {{"gates", "{use: part.yaml}"}}, "kl_mean_max: 1\n", "kl_mean_max: 2\n"}};
  for (const auto& [kind, keys, one, two] : parts) {
    core::write_text_file(folder.dir.file("part.yaml"), one);
    const std::string before = identity(folder.parse(kind, keys));
    core::write_text_file(folder.dir.file("part.yaml"), two);
    EXPECT_NE(before, identity(folder.parse(kind, keys))) << kind;
  }
}

// So that the file can still be read and only its content tells.
void damage(const std::string& path) {
  std::string bytes = core::read_text_file(path);
  ASSERT_FALSE(bytes.empty()) << path;
  if (path.ends_with(".safetensors"))
    bytes.back() = static_cast<char>(bytes.back() ^ 1);
  else
    bytes += "\n";
  core::write_text_file(path, bytes);
}

TEST(Identity, EveryFileOfEveryKindChangesIt) {
  const RecipeFolder folder;
  const std::string model = folder.dir.file("model") + "/";
  fs::create_directory(model + "additional_chat_templates");
  for (const char* name :
       {"chat_template.jinja", "chat_template.json", "tokenizer.model", "tokenizer_gguf.json",
        "generation_config.json", "additional_chat_templates/tool_use.jinja"})
    if (!fs::exists(model + name)) core::write_text_file(model + name, "{}\n");
  const std::vector<std::string> of_model{"model/config.json",
                                          "model/generation_config.json",
                                          "model/tokenizer.json",
                                          "model/tokenizer_config.json",
                                          "model/special_tokens_map.json",
                                          "model/chat_template.jinja",
                                          "model/tokenizer.model",
                                          "model/tokenizer_gguf.json",
                                          "model/chat_template.json",
                                          "model/additional_chat_templates/tool_use.jinja",
                                          "model/model.safetensors"};
  std::map<std::string, std::vector<std::string>> files{
      {"prune", {"train.txt", "held.txt", "plan.json"}},
      {"distill", {"train.txt", "held.txt"}},
      {"quantize", {"train.txt"}},
      {"verify", {"held.txt"}},
      {"report", {}}};
  for (const char* kind : {"prune", "distill", "quantize", "verify"})
    files[kind].insert(files[kind].end(), of_model.begin(), of_model.end());
  for (const auto& [kind, list] : files) {
    const Keys keys = kind == "prune" ? Keys{{"plan", "plan.json"}, {"compensate", "least_squares"}}
                      : kind == "quantize" ? Keys{{"from", "teacher"}}
                                           : Keys{};
    const Recipe recipe = folder.parse(kind, keys);
    for (const std::string& file : list) {
      const std::string path = folder.dir.file(file), before = identity(recipe),
                        bytes = core::read_text_file(path);
      damage(path);
      EXPECT_NE(before, identity(recipe)) << kind << " " << file;
      core::write_text_file(path, bytes);
      EXPECT_EQ(before, identity(recipe)) << kind << " " << file;
    }
  }
}

// Vocabularies that are read where there is no tokenizer.json.
TEST(Identity, EveryFormOfAVocabularyChangesTheModelsHash) {
  const RecipeFolder folder;
  const std::string model = folder.dir.file("model");
  fs::remove(model + "/tokenizer.json");
  for (const std::vector<std::string>& files : {std::vector<std::string>{"tekken.json"},
                                                {"vocab.json", "merges.txt", "added_tokens.json"},
                                                {"tokenizer.model", "added_tokens.json"}}) {
    for (const std::string& file : files) core::write_text_file(model + "/" + file, "{}\n");
    const std::string before = checkpoint::Checkpoint::open(model).sha256();
    for (const std::string& file : files) {
      damage(model + "/" + file);
      EXPECT_NE(before, checkpoint::Checkpoint::open(model).sha256()) << file;
      core::write_text_file(model + "/" + file, "{}\n");
    }
    EXPECT_EQ(before, checkpoint::Checkpoint::open(model).sha256());
    for (const std::string& file : files) fs::remove(model + "/" + file);
  }
}

// Names of the files in some folders that this process opens while it lives.
class OpenedFiles {
 public:
  explicit OpenedFiles(const std::vector<std::string>& folders) : fd_(inotify_init1(IN_NONBLOCK)) {
    for (const std::string& folder : folders)
      folders_[inotify_add_watch(fd_, folder.c_str(), IN_OPEN)] = folder;
  }
  ~OpenedFiles() { ::close(fd_); }
  OpenedFiles(const OpenedFiles&) = delete;
  OpenedFiles& operator=(const OpenedFiles&) = delete;
  std::set<std::string> paths() {
    std::set<std::string> out;
    alignas(inotify_event) char buffer[1 << 16];
    for (ssize_t n; (n = ::read(fd_, buffer, sizeof buffer)) > 0;)
      for (char* at = buffer; at < buffer + n;) {
        const auto* event = reinterpret_cast<const inotify_event*>(at);
        EXPECT_EQ(event->mask & IN_Q_OVERFLOW, 0u);
        if (event->len > 0 && (event->mask & IN_ISDIR) == 0)
          out.insert(folders_.at(event->wd) + "/" + event->name);
        at += sizeof(inotify_event) + event->len;
      }
    return out;
  }

 private:
  int fd_;
  std::map<int, std::string> folders_;
};

class Runs : public testing::Test {
 protected:
  std::map<std::string, std::string> run(const std::string& yaml, const std::string& out = "out",
                                         const core::Progress& progress = {}) {
    core::write_text_file(folder.dir.file("r.yaml"), yaml);
    const auto result = run_recipe(folder.dir.file("r.yaml"),
                                   {.out = folder.dir.file(out),
                                    .bench_program = ESPALIER_BIN_DIR "/espalier-run",
                                    .threads = 2},
                                   progress);
    std::map<std::string, std::string> status;
    for (const auto& stage : result.at("stages"))
      status[stage.at("name")] = stage.at("status").get<std::string>();
    return status;
  }
  std::string hash(const std::string& file) { return hash::sha256_file(folder.dir.file(file)); }
  static std::string stages(const std::string& list) {
    return "name: r\nteacher: model\ntext: {train: train.txt, held_out: held.txt}\nstages:\n" +
           list;
  }
  using Status = std::map<std::string, std::string>;
  RecipeFolder folder;
};

// The tables above name the files that we know of; this one asks the operating system.
TEST_F(Runs, EveryFileThatARunOpensIsInTheIdentityOfAStage) {
  core::write_text_file(folder.dir.file("model/chat_template.jinja"), "{{ messages }}\n");
  fs::create_directory(folder.dir.file("model/additional_chat_templates"));
  core::write_text_file(folder.dir.file("model/additional_chat_templates/tool_use.jinja"),
                        "{{ tools }}\n");
  const std::string yaml = stages(
      "  - {name: cut, kind: prune, plan: plan.json, compensate: least_squares, tokens: 512, "
      "sequence: 64}\n"
      "  - {name: student, kind: distill, from: cut, tokens: 256, batch: 2, sequence: 64}\n"
      "  - {name: file, kind: quantize, from: student, format: q8_0, calibration_tokens: 512}\n"
      "  - {name: card, kind: verify, of: file, context: 64, windows: 2}\n"
      "  - {name: page, kind: report}\n");
  std::set<std::string> opened;
  {
    OpenedFiles watch({folder.dir.path(), folder.dir.file("model"),
                       folder.dir.file("model/additional_chat_templates")});
    run(yaml);
    opened = watch.paths();
  }
  const Recipe recipe = parse_recipe(folder.dir.file("r.yaml"));
  const auto all = [&] {
    std::string out;
    for (const Step& s : recipe.stages) {
      Recipe until = recipe;
      while (until.stages.back().name != s.name) until.stages.pop_back();
      out += identity(until) + "\n";
    }
    return out;
  };
  std::size_t looked = 0;
  for (const std::string& path : opened) {
    const std::string name = fs::path(path).filename().string();
    // The recipe is parsed above. Files without a name measure how fast the disk is.
    if (name == "r.yaml" || name.find(".tmp-") != std::string::npos || name.starts_with('#'))
      continue;
    const std::string bytes = core::read_text_file(path), before = all();
    damage(path);
    EXPECT_NE(before, all()) << path;
    core::write_text_file(path, bytes);
    ++looked;
  }
  EXPECT_GE(looked,
            9u);  // two texts, the plan, config, tokenizer, its config and templates, tensors
}

TEST_F(Runs, AnEditedPlanIsCutAnew) {
  const std::string yaml = stages(
      "  - {name: cut, kind: prune, plan: plan.json}\n"
      "  - {name: file, kind: quantize, from: cut, format: q8_0, rounding: nearest, deliver: "
      "s.gguf}\n");
  EXPECT_EQ(run(yaml), (Status{{"cut", "done"}, {"file", "done"}}));
  EXPECT_EQ(run(yaml), (Status{{"cut", "cached"}, {"file", "cached"}}));
  const std::string first = hash("out/s.gguf");
  core::write_text_file(folder.dir.file("plan.json"), RecipeFolder::plan(32));
  EXPECT_EQ(run(yaml), (Status{{"cut", "done"}, {"file", "done"}}));
  EXPECT_NE(hash("out/s.gguf"), first);
  run(yaml, "fresh");
  EXPECT_EQ(hash("out/s.gguf"), hash("fresh/s.gguf"));
  // A manifest of a version that recorded no algorithm is one of unknown results.
  const std::string path = folder.dir.file("out/stages/cut/manifest.json");
  auto manifest = nlohmann::ordered_json::parse(core::read_text_file(path));
  ASSERT_TRUE(manifest.contains("algorithm"));
  manifest.erase("algorithm");
  core::write_text_file(path, manifest.dump());
  EXPECT_EQ(run(yaml), (Status{{"cut", "done"}, {"file", "cached"}}));  // the same model again
  // What describes the sources is recorded and compared with nothing.
  manifest = nlohmann::ordered_json::parse(core::read_text_file(path));
  manifest["tool_version"] = "espalier 0.0.1 (another)";
  core::write_text_file(path, manifest.dump());
  EXPECT_EQ(run(yaml), (Status{{"cut", "cached"}, {"file", "cached"}}));
}

TEST_F(Runs, AnUnfinishedTrainingWithOtherOptionsOrTextStartsOver) {
  const auto yaml = [](const std::string& more) {
    return stages(
        "  - {name: student, kind: distill, from: teacher, teacher: none, ce_weight: 1, tokens: "
        "256, batch: 2, sequence: 64, checkpoint_every: 1" +
        more + "}\n");
  };
  struct Killed {};
  const auto kill = [](const core::ProgressEvent& e) {
    if (e.stage == "distill" && e.done >= 128) throw Killed();
  };
  const auto killed = [&](const std::string& out) {
    EXPECT_THROW(run(yaml(""), out, kill), Killed);
    EXPECT_TRUE(fs::exists(folder.dir.file(out + "/stages/student/model/checkpoint")));
  };
  const std::string tensors = "/stages/student/model/model.safetensors";
  killed("a");
  EXPECT_EQ(run(yaml(", tokens_at_once: 64"), "a"), (Status{{"student", "done"}}));
  killed("c");
  core::write_text_file(folder.dir.file("held.txt"), RecipeFolder::words("corrected"));
  EXPECT_EQ(run(yaml(""), "c"), (Status{{"student", "done"}}));
  killed("d");  // nothing changed: it goes on
  run(yaml(""), "d");
  EXPECT_EQ(hash("c" + tensors), hash("d" + tensors));
}

TEST_F(Runs, AnUnfinishedQuantizationGoesOn) {
  const std::string yaml = stages(
      "  - {name: file, kind: quantize, from: teacher, format: q4_0, calibration_tokens: 1024}\n");
  struct Killed {};
  EXPECT_THROW(run(yaml, "a",
                   [](const core::ProgressEvent& e) {
                     if (e.stage == "calibrate" && e.done == 1) throw Killed();
                   }),
               Killed);
  const std::string work = folder.dir.file("a/stages/file/checkpoint");
  EXPECT_TRUE(fs::exists(work + "/imatrix/walk.safetensors"));
  std::vector<std::int64_t> done;
  run(yaml, "a", [&](const core::ProgressEvent& e) {
    if (e.stage == "calibrate") done.push_back(e.done);
  });
  ASSERT_FALSE(done.empty());
  EXPECT_EQ(done.front(), 2);
  EXPECT_FALSE(fs::exists(work));
  run(yaml, "b");
  EXPECT_EQ(hash("a/stages/file/model.gguf"), hash("b/stages/file/model.gguf"));
}

TEST_F(Runs, ATextThatIsNotTheRecipesIsRefusedBeforeAnythingIsMade) {
  const std::string yaml =
      "name: r\nteacher: model\ntext: {train: train.txt, held_out: held.txt, held_out_sha256: ab}\n"
      "stages:\n  - {name: cut, kind: prune, ffn: 64, tokens: 512, sequence: 64}\n";
  EXPECT_THROW(run(yaml), core::Error);
  EXPECT_FALSE(fs::exists(folder.dir.file("out")));
}

}  // namespace
}  // namespace espalier::recipe
