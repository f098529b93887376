// SPDX-License-Identifier: Apache-2.0
// Whole runs on tiny random models: the loss falls, steps do not depend on how a batch is cut, a
// run killed at any moment and resumed gives the same bytes, and what cannot be trained is refused.
#include "distill/trainer.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "checkpoint/manifest.h"
#include "core/error.h"
#include "core/file.h"
#include "distill/sample_text.h"
#include "hash/sha256.h"
#include "support/edit_tensors.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::distill {
namespace {

namespace fs = std::filesystem;

class Trainer : public testing::Test {
 protected:
  Trainer() {
    support::TinyOptions teacher, student;
    student.layers = 1;
    student.ffn = 32;
    student.seed = 2;
    input_.teacher = support::write_tiny_llama(temp_.file("teacher"), teacher);
    input_.student = support::write_tiny_llama(temp_.file("student"), student);
    input_.text = temp_.file("train.txt");
    core::write_text_file(input_.text, sample_text(1, 1500));
    input_.out = temp_.file("out");
    options_.tokens = 10 * 4 * 32;
    options_.batch = 4;
    options_.sequence = 32;
    options_.learning_rate = 3e-3;
    options_.checkpoint_every = 3;
    options_.precision = "float32";
    input_.threads = 1;  // nothing to share in models this small
  }

  std::string weights(const std::string& out) const {
    return hash::sha256_file(out + "/model.safetensors");
  }
  std::vector<nlohmann::json> metrics(const std::string& out) const {
    std::vector<nlohmann::json> lines;
    std::ifstream in(out + "/metrics.jsonl");
    for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
    return lines;
  }
  void expect_refused(core::ErrorKind kind, const std::string& words) {
    try {
      distill(input_, options_, {});
      FAIL() << "accepted; expected a refusal naming " << words;
    } catch (const core::Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
    }
  }

  support::TempDir temp_;
  TrainInput input_;
  TrainOptions options_;
};

TEST_F(Trainer, LearnsAndLeavesAModelDirectory) {
  options_.tokens = 30 * 4 * 32;
  std::int64_t events = 0;
  const TrainResult result = distill(input_, options_, [&](const core::ProgressEvent& e) {
    if (e.total == 0) return;  // a notice about the text
    ++events;
    EXPECT_EQ(e.total, 30 * 4 * 32);
    EXPECT_TRUE(e.detail.starts_with("loss ")) << e.detail;
    EXPECT_EQ(e.detail.find("tokens/s"), std::string::npos) << e.detail;  // the printer says it
  });
  EXPECT_EQ(events, 30);
  EXPECT_EQ(result.steps, 30);
  EXPECT_EQ(result.tokens, options_.tokens);
  EXPECT_LT(result.loss_last, 0.7 * result.loss_first);
  EXPECT_GT(result.tokens_per_second, 0);
  const auto student = checkpoint::Checkpoint::open(input_.out);
  EXPECT_EQ(student.dims().n_layers(), 1);
  EXPECT_EQ(student.stored_format(arch::Role::attn_q, 0), format::FormatId::f32);
  EXPECT_TRUE(student.has_tokenizer());
  EXPECT_NE(weights(input_.out), weights(input_.student));
  const auto lines = metrics(input_.out);
  ASSERT_EQ(lines.size(), 30u);
  for (const char* key :
       {"step", "tokens", "loss", "kl", "ce", "learning_rate", "grad_norm", "tokens_per_second"})
    EXPECT_TRUE(lines[7].contains(key)) << key;
  EXPECT_EQ(lines[7]["step"], 8);
  EXPECT_NEAR(lines[7]["loss"].get<double>(),
              0.5 * lines[7]["kl"].get<double>() + 0.5 * lines[7]["ce"].get<double>(), 1e-6);
  const checkpoint::Manifest manifest = checkpoint::read_manifest(input_.out);
  EXPECT_EQ(manifest.stage, "distill");
  EXPECT_EQ(manifest.inputs.at("text"), hash::sha256_file(input_.text));
  EXPECT_EQ(manifest.outputs.at("model.safetensors"), weights(input_.out));
  EXPECT_FALSE(fs::exists(input_.out + "/checkpoint"));
}

TEST_F(Trainer, StepsAreRoundedUpAndWholeRunsRepeatByteForByte) {
  options_.tokens = 4 * 32 * 4 + 1;
  input_.threads = 2;
  const TrainResult a = distill(input_, options_, {});
  EXPECT_EQ(a.steps, 5);
  TrainInput again = input_;
  again.out = temp_.file("again");
  distill(again, options_, {});
  EXPECT_EQ(weights(input_.out), weights(again.out));
  EXPECT_EQ(core::read_text_file(input_.out + "/manifest.json"),
            core::read_text_file(again.out + "/manifest.json"));
  options_.seed = 7;
  distill(again, options_, {});
  EXPECT_NE(weights(input_.out), weights(again.out)) << "another seed sees other windows";
}

TEST_F(Trainer, WindowsOneByOneAreTheSameAsAllAtOnce) {
  options_.tokens = 3 * 8 * 32;
  options_.batch = 8;
  options_.tokens_at_once = 8 * 32;
  const TrainResult whole = distill(input_, options_, {});
  TrainInput parts = input_;
  parts.out = temp_.file("parts");
  options_.batch = 2;
  options_.accumulation = 4;
  options_.tokens_at_once = 1;
  const TrainResult cut = distill(parts, options_, {});
  EXPECT_EQ(whole.steps, cut.steps);
  EXPECT_NEAR(whole.loss_first, cut.loss_first, 1e-5 * whole.loss_first);
  EXPECT_NEAR(whole.loss_last, cut.loss_last, 1e-4 * whole.loss_last);
  // Adam's first steps are of size learning_rate whatever the gradient, so gradients near zero may
  // round to either sign: compare in bulk.
  const auto a = checkpoint::Checkpoint::open(input_.out).read(arch::Role::ffn_up, 0),
             b = checkpoint::Checkpoint::open(parts.out).read(arch::Role::ffn_up, 0);
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += std::abs(static_cast<double>(a[i]) - b[i]);
    size += std::abs(static_cast<double>(a[i]));
  }
  EXPECT_LT(difference, 1e-4 * size);
}

// kill -9 of a child process when it has done so many steps; the parent resumes.
class KilledTrainer : public Trainer, public testing::WithParamInterface<bool> {};
void read_states(TrainOptions& options) {
  options.terms = {{"forward_kl", "0.5"}, {"ce", "0.5 to 0.1"}, {"hidden_mse", "0.2"}};
  options.of_terms.lists["hidden_layers"] = {"0:1"};
}
INSTANTIATE_TEST_SUITE_P(WithStates, KilledTrainer, testing::Bool(), [](const auto& param) {
  return param.param ? "AndAProjection" : "OfLogitsAlone";
});
TEST_P(KilledTrainer, ResumesToTheSameBytes) {
  if (GetParam()) {
    support::TinyOptions narrow;
    narrow.hidden = 32;
    narrow.layers = 1;
    narrow.ffn = 32;
    fs::remove_all(input_.student);
    support::write_tiny_llama(input_.student, narrow);
    read_states(options_);
  }
  distill(input_, options_, {});
  const auto undisturbed = metrics(input_.out);
  TrainInput killed = input_;
  killed.out = temp_.file("killed");
  for (const int moment :
       {2, 6, 10}) {  // before the first checkpoint, between two, and after the last
    fs::remove_all(killed.out);
    // The child runs no OpenMP region of the parent's: it starts over by exec.
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::setenv("ESPALIER_TEST_KILL_AT", std::to_string(moment).c_str(), 1);
      ::setenv("ESPALIER_TEST_RUN", (temp_.path()).c_str(), 1);
      if (GetParam()) ::setenv("ESPALIER_TEST_STATES", "1", 1);
      ::execl("/proc/self/exe", "distill_test", "--gtest_filter=TrainerChild.*",
              "--gtest_also_run_disabled_tests", static_cast<char*>(nullptr));
      ::_exit(127);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        << "moment " << moment << ": status " << status;
    EXPECT_FALSE(checkpoint::has_manifest(killed.out));
    EXPECT_EQ(fs::exists(killed.out + "/checkpoint"), moment >= 3);
    std::vector<std::int64_t> resumed_at;
    TrainInput resumed = killed;
    resumed.resume = true;
    resumed.threads = 0;
    distill(resumed, options_, [&](const core::ProgressEvent& e) {
      if (e.total > 0) resumed_at.push_back(e.done / (4 * 32));
    });
    EXPECT_EQ(resumed_at.front(), moment / 3 * 3 + 1);
    EXPECT_EQ(weights(killed.out), weights(input_.out)) << "moment " << moment;
    EXPECT_EQ(core::read_text_file(killed.out + "/manifest.json"),
              core::read_text_file(input_.out + "/manifest.json"));
    const auto lines = metrics(killed.out);
    ASSERT_EQ(lines.size(), undisturbed.size());
    for (std::size_t i = 0; i < lines.size(); ++i)
      for (const auto& [key, value] : undisturbed[i].items())
        if (key != "tokens_per_second") {
          EXPECT_EQ(lines[i][key], value) << i << " " << key;
        }
  }
}
// The child of the test above; does nothing on its own.
TEST(TrainerChild, DISABLED_RunsUntilKilled) {
  const char* directory = std::getenv("ESPALIER_TEST_RUN");
  const char* moment = std::getenv("ESPALIER_TEST_KILL_AT");
  if (directory == nullptr || moment == nullptr)
    GTEST_SKIP() << "only a child of ResumesToTheSameBytes";
  const std::string root = directory;
  TrainInput input;
  input.teacher = root + "/teacher";
  input.student = root + "/student";
  input.text = root + "/train.txt";
  input.out = root + "/killed";
  TrainOptions options;
  options.tokens = 10 * 4 * 32;
  options.sequence = 32;
  options.learning_rate = 3e-3;
  options.checkpoint_every = 3;
  options.precision = "float32";
  input.threads = 1;
  if (std::getenv("ESPALIER_TEST_STATES") != nullptr) read_states(options);
  distill(input, options, [&](const core::ProgressEvent& e) {
    if (e.done == std::atoi(moment) * 4 * 32) ::raise(SIGKILL);
  });
}

// A run of several terms has the same objective as the short form that stands for them.
TEST_F(Trainer, TermsAreWhatTheShortFormStandsFor) {
  options_.tokens = 4 * 4 * 32;
  distill(input_, options_, {});
  const std::string short_form = weights(input_.out);
  TrainInput named = input_;
  named.out = temp_.file("named");
  options_.terms = {{"forward_kl", "0.5"}, {"ce", "0.5"}};
  std::string detail;
  distill(named, options_, [&](const core::ProgressEvent& e) { detail = e.detail; });
  EXPECT_EQ(weights(named.out), short_form);
  const auto lines = metrics(named.out), before = metrics(input_.out);
  ASSERT_EQ(lines.size(), 4u);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(lines[i]["forward_kl"], before[i]["kl"]);
    EXPECT_EQ(lines[i]["ce"], before[i]["ce"]);
    EXPECT_EQ(lines[i]["loss"], before[i]["loss"]);
    EXPECT_FALSE(lines[i].contains("kl"));
  }
  for (const char* word : {"loss ", "forward_kl ", "ce "})
    EXPECT_NE(detail.find(word), std::string::npos) << detail;
}
TEST_F(Trainer, WeightsMoveOverTheSteps) {
  options_.tokens = 3 * 4 * 32;
  options_.terms = {{"jsd", "1 to 0.2"}, {"forward_kl", "0.3"}, {"ce", "0 to 0.5"}};
  distill(input_, options_, {});
  const auto lines = metrics(input_.out);
  ASSERT_EQ(lines.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    const double progress = static_cast<double>(i) / 2;
    EXPECT_NEAR(lines[i]["loss"].get<double>(),
                (1 - 0.8 * progress) * lines[i]["jsd"].get<double>() +
                    0.3 * lines[i]["forward_kl"].get<double>() +
                    0.5 * progress * lines[i]["ce"].get<double>(),
                1e-6);
  }
}
// A student of half the width learns the states of a layer, through a projection that is not in it.
TEST_F(Trainer, LearnsHiddenStates) {
  support::TinyOptions narrow;
  narrow.hidden = 32;
  narrow.layers = 1;
  fs::remove_all(input_.student);
  support::write_tiny_llama(input_.student, narrow);
  options_.tokens = 30 * 4 * 32;
  options_.terms = {{"hidden_mse", "1"}};
  options_.of_terms.lists["hidden_layers"] = {"0:1"};
  distill(input_, options_, {});
  const auto lines = metrics(input_.out);
  EXPECT_LT(lines.back()["hidden_mse"].get<double>(), 0.9 * lines[0]["hidden_mse"].get<double>());
  EXPECT_EQ(lines[3]["loss"], lines[3]["hidden_mse"]);
  const auto before = checkpoint::Checkpoint::open(input_.student),
             after = checkpoint::Checkpoint::open(input_.out);
  EXPECT_EQ(arch::parameters(after.arch(), after.dims()),
            arch::parameters(before.arch(), before.dims()));
  EXPECT_NE(before.read(arch::Role::ffn_up, 0), after.read(arch::Role::ffn_up, 0));
  EXPECT_EQ(checkpoint::read_manifest(input_.out).options["layer_pairs"]["hidden_mse"],
            nlohmann::json({"0:1"}));
}
// A pruned student knows where its layers come from.
TEST_F(Trainer, PairsOfLayersComeFromThePlan) {
  options_.tokens = 2 * 4 * 32;
  options_.terms = {{"forward_kl", "0.5"}, {"hidden_mse", "0.5"}};
  const auto plan = [&](const std::string& text) {
    core::write_text_file(input_.student + "/plan.json", text);
  };
  const auto pairs = [&] {
    distill(input_, options_, {});
    return checkpoint::read_manifest(input_.out).options["layer_pairs"]["hidden_mse"].dump();
  };
  const std::string sizes = R"("layers": [{"ffn": ["0-31"]}]})";
  expect_refused(core::ErrorKind::input, "student/plan.json is missing");
  expect_refused(core::ErrorKind::input, "give hidden_layers as pairs student:teacher");
  plan(R"({"keep_layers": [1], )" + sizes);
  EXPECT_EQ(pairs(), R"(["0:1"])");
  const double of_second = metrics(input_.out)[0]["hidden_mse"].get<double>();
  plan(R"({"keep_layers": [0], )" + sizes);
  EXPECT_EQ(pairs(), R"(["0:0"])");
  EXPECT_NE(metrics(input_.out)[0]["hidden_mse"].get<double>(), of_second);
  plan(R"({"source_sha256": "ab", "keep_layers": [0], )" + sizes);
  expect_refused(core::ErrorKind::input, "plan.json");
  plan(R"({"keep_layers": "all"})");
  expect_refused(core::ErrorKind::input, "the plan keeps 2 layers, but the student has 1");
  options_.of_terms.lists["hidden_layers"] = {"0:1"};  // needs no plan
  EXPECT_EQ(pairs(), R"(["0:1"])");
}
TEST_F(Trainer, AnOptionOfATermThatIsNotUsedIsRefused) {
  options_.of_terms.lists["hidden_layers"] = {"0:1"};
  expect_refused(core::ErrorKind::usage, "hidden_layers: no effect without the term hidden_mse");
}
TEST_F(Trainer, PeakMemoryCountsStatesAndProjections) {
  const auto student = checkpoint::Checkpoint::open(input_.student);
  const auto memory = [&](std::int64_t teacher_hidden) {
    return peak_memory(student.arch(), student.dims(), 1000, options_, teacher_hidden);
  };
  const std::int64_t before = memory(64);
  options_.terms = {{"forward_kl", "0.5"}, {"ce", "0.5"}};
  EXPECT_EQ(memory(64), before);
  options_.terms["hidden_mse"] = "1";
  const std::int64_t same = memory(64), wide = memory(128),
                     tokens = windows_at_once(options_) * options_.sequence;
  EXPECT_GE(same, before + 4 * tokens * (64 + 64));
  EXPECT_GE(wide, same + 16 * 64 * 128 + 4 * tokens * 64);
  EXPECT_EQ(memory(0), same);
}
TEST_F(Trainer, TheScheduleSetsTheRateOfEveryStep) {
  options_.tokens = 6 * 4 * 32;
  options_.warmup_ratio = 0;
  options_.final_learning_rate_ratio = 0.2;
  options_.schedule = "constant";
  expect_refused(core::ErrorKind::usage, "no effect with schedule constant");
  options_.final_learning_rate_ratio = TrainOptions().final_learning_rate_ratio;
  distill(input_, options_, {});
  const std::string constant = weights(input_.out);
  for (const auto& line : metrics(input_.out)) EXPECT_EQ(line["learning_rate"], 3e-3);
  options_.schedule = "cosine";
  distill(input_, options_, {});
  EXPECT_NE(weights(input_.out), constant);
  EXPECT_NEAR(metrics(input_.out).back()["learning_rate"].get<double>(), 3e-4, 1e-12);
}
TEST_F(Trainer, RefusesTermsThatContradict) {
  options_.terms = {{"ce", "0.5"}};
  expect_refused(core::ErrorKind::usage, "none of them reads the teacher");
  input_.teacher.clear();
  options_.terms["jsd"] = "1";
  expect_refused(core::ErrorKind::usage, "compares with a teacher, and there is none");
  options_.terms = {{"jds", "1"}};
  expect_refused(core::ErrorKind::usage, "'jsd'");
  options_.terms = {{"ce", "a lot"}};
  expect_refused(core::ErrorKind::usage, "terms: ce: 'a lot' is no weight");
  options_.terms = {{"ce", "1"}};
  options_.loss = "jsd";
  expect_refused(core::ErrorKind::usage, "loss: no effect beside terms");
  options_.loss = "forward_kl";
  options_.kl_weight = 1;
  expect_refused(core::ErrorKind::usage, "kl_weight: no effect beside terms");
  options_.kl_weight = 0.5;
  options_.ce_weight = 1;
  expect_refused(core::ErrorKind::usage, "ce_weight: no effect beside terms");
}

TEST_F(Trainer, AFinishedRunIsNotRepeatedAndAnotherIsRefused) {
  options_.tokens = 2 * 4 * 32;
  const TrainResult first = distill(input_, options_, {});
  const auto written = fs::last_write_time(input_.out + "/model.safetensors");
  input_.resume = true;
  const TrainResult second = distill(input_, options_, [](const core::ProgressEvent& e) {
    EXPECT_EQ(e.total, 0) << "trained again";
  });
  EXPECT_EQ(second.loss_last, first.loss_last);
  EXPECT_EQ(second.steps, first.steps);
  EXPECT_EQ(fs::last_write_time(input_.out + "/model.safetensors"), written);
  options_.learning_rate *= 2;
  expect_refused(core::ErrorKind::input, "other options");
}

TEST_F(Trainer, ContinuedTrainingNeedsNoTeacher) {
  input_.teacher.clear();
  const TrainResult result = distill(input_, options_, {});
  EXPECT_LT(result.loss_last, result.loss_first);
  EXPECT_EQ(metrics(input_.out)[0]["kl"].get<double>(), 0);
}

TEST_F(Trainer, FrozenEmbeddingsStayAsTheyAre) {
  options_.train_embeddings = false;
  distill(input_, options_, {});
  const auto before = checkpoint::Checkpoint::open(input_.student),
             after = checkpoint::Checkpoint::open(input_.out);
  EXPECT_EQ(before.read(arch::Role::token_embd, -1), after.read(arch::Role::token_embd, -1));
  EXPECT_NE(before.read(arch::Role::ffn_up, 0), after.read(arch::Role::ffn_up, 0));
}

TEST_F(Trainer, EveryLossTrains) {
  for (const std::string& loss : objective::divergence_names()) {
    options_.loss = loss;
    const TrainResult result = distill(input_, options_, {});
    EXPECT_LT(result.loss_last, result.loss_first) << loss;
  }
}

TEST_F(Trainer, RefusesOtherVocabularies) {
  support::TinyOptions other;
  other.vocab = 310;  // fewer than the student has
  input_.teacher = support::write_tiny_llama(temp_.file("other"), other);
  expect_refused(core::ErrorKind::input, "vocabulary");
}

// Its first tokens are those of the student, with the same weights.
TEST_F(Trainer, ATeacherOfMoreTokensIsReadOverThoseOfTheStudent) {
  distill(input_, options_, {});
  const std::string expected = weights(input_.out);
  support::TinyOptions more;
  more.vocab = 400;
  input_.teacher = support::write_tiny_llama(temp_.file("more"), more);
  input_.out = temp_.file("over");
  distill(input_, options_, {});
  EXPECT_EQ(weights(input_.out), expected);
}
TEST_F(Trainer, RefusesTextShorterThanAWindow) {
  core::write_text_file(input_.text, "short");
  expect_refused(core::ErrorKind::input, "fewer than one window");
}
TEST_F(Trainer, RefusesHeldOutTextAmongTheTraining) {
  const std::string text = core::read_text_file(input_.text);
  input_.held_out = temp_.file("held_out.txt");
  core::write_text_file(input_.held_out, sample_text(99, 300) + text.substr(2000, 900));
  expect_refused(core::ErrorKind::check_failed, "held-out tokens also occur");
}
TEST_F(Trainer, RefusesAnOutputThatIsAnInput) {
  input_.out = input_.student;
  expect_refused(core::ErrorKind::usage, "the output is an input");
}
TEST_F(Trainer, RefusesAStudentThatEqualsItsTeacher) {
  input_.student = support::write_tiny_llama(temp_.file("twin"), {});
  options_.ce_weight = 0;
  options_.kl_weight = 1;
  expect_refused(core::ErrorKind::check_failed, "the gradient vanishes");
}
TEST_F(Trainer, StopsAtALossThatIsNotFinite) {
  // The weights are finite, and what they compute is not.
  support::set_value(input_.student, "model.norm.weight", 0, 3e38f);
  expect_refused(core::ErrorKind::check_failed, "step 1: the loss is not finite");
}
TEST_F(Trainer, RefusesOptionsOutOfRange) {
  options_.tokens = 0;
  expect_refused(core::ErrorKind::usage, "tokens");
  options_.tokens = 100;
  options_.precision = "float8";
  expect_refused(core::ErrorKind::usage, "float8");
  options_.precision = "float32";
  options_.loss = "kl";
  expect_refused(core::ErrorKind::usage, "'kl' is not known");
}

}  // namespace
}  // namespace espalier::distill
