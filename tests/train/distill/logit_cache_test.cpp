// SPDX-License-Identifier: Apache-2.0
// Directories of teacher logits: one killed and resumed has the same bytes, a student trained from
// it is trained as with the teacher in memory, and what it was not made for is refused.
#include "distill/logit_cache.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "checkpoint/manifest.h"
#include "distill/cache_logits.h"
#include "distill/refused.h"
#include "distill/sample_text.h"
#include "distill/trainer.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::distill {
namespace {

namespace fs = std::filesystem;
using torch::Tensor;

class Cache : public testing::Test {
 protected:
  Cache() {
    support::TinyOptions teacher, student;
    student.layers = 1;
    student.ffn = 32;
    student.seed = 2;
    input_.teacher = support::write_tiny_llama(temp_.file("teacher"), teacher);
    student_ = support::write_tiny_llama(temp_.file("student"), student);
    input_.text = temp_.file("train.txt");
    core::write_text_file(input_.text, sample_text(1, 1500));
    input_.out = temp_.file("cache");
    input_.threads = 1;
    options_ = cache_options();
    train_.tokens = 10 * 4 * 32;
    train_.sequence = 32;
    train_.learning_rate = 3e-3;
    train_.checkpoint_every = 3;
    train_.precision = "float32";
  }
  static CacheOptions cache_options() {
    CacheOptions o;
    o.sequence = 32;
    o.top_k = 16;
    o.file_tokens = 40 * 32;
    return o;
  }
  TrainInput student(bool cached, const std::string& out) const {
    TrainInput in;
    in.student = student_;
    in.text = input_.text;
    in.out = temp_.file(out);
    in.threads = 1;
    (cached ? in.cached : in.teacher) = cached ? input_.out : input_.teacher;
    return in;
  }
  static std::map<std::string, std::string> files(const std::string& directory) {
    std::map<std::string, std::string> out;
    for (const auto& entry : fs::directory_iterator(directory))
      out[entry.path().filename().string()] = core::read_text_file(entry.path().string());
    return out;
  }

  support::TempDir temp_;
  CacheInput input_;
  CacheOptions options_;
  std::string student_;
  TrainOptions train_;
};

// Of a teacher whose logits have a divisor.
TEST_F(Cache, HoldsTheTeachersDistributions) {
  options_.top_k = 320;
  options_.value_bytes = 4;
  support::with_factors(input_.teacher);
  const CacheResult result = cache_logits(input_, options_, {});
  const auto source = checkpoint::Checkpoint::open(input_.teacher);
  const data::Corpus corpus = data::load_corpus(input_.text, text::Tokenizer(source.tokenizer()));
  const auto available = static_cast<std::int64_t>(corpus.tokens.size());
  EXPECT_EQ(result.tokens, available / 32 * 32);
  EXPECT_GT(result.tokens_per_second, 0);
  const LogitCache cache(input_.out);
  EXPECT_EQ(cache.windows(), available / 32);
  const auto model = model::Transformer::load(source, {});
  const data::WindowSampler sampler(available, 32, 0);
  for (std::int64_t w = 0; w < 3; ++w) {  // the first windows that training draws
    const std::int64_t start = sampler.start_from_end(w);
    ASSERT_EQ(cache.on_grid(start), start);
    ASSERT_TRUE(cache.has(start));
    Tensor ids = torch::empty({1, 32}, torch::kInt64);
    for (std::int64_t t = 0; t < 32; ++t)
      ids[0][t] = corpus.tokens[static_cast<std::size_t>(start + t)];
    const Tensor expected =
        torch::log_softmax(model.forward(ids).squeeze(0).detach().to(torch::kFloat64), -1);
    EXPECT_LT((cache.window(start).log_probabilities - expected).abs().max().item<double>(), 2e-5);
  }
  EXPECT_GT(files(input_.out).size(), 2u);
}

// The first tokens of a larger teacher are those of the student, with the same weights.
TEST_F(Cache, OfMoreTokensThanTheStudentHas) {
  cache_logits(input_, options_, {});
  distill(student(true, "expected"), train_, {});
  support::TinyOptions more;
  more.vocab = 400;
  input_.teacher = support::write_tiny_llama(temp_.file("more"), more);
  input_.out = temp_.file("whole");
  cache_logits(input_, options_, {});
  expect_refused(core::ErrorKind::input, {"400", "--student"},
                 [&] { distill(student(true, "refused"), train_, {}); });
  input_.out = temp_.file("over");
  input_.student = student_;
  cache_logits(input_, options_, {});
  EXPECT_EQ(LogitCache(input_.out).shape().vocab, 320);
  distill(student(true, "over-student"), train_, {});
  EXPECT_EQ(files(temp_.file("over-student")).at("model.safetensors"),
            files(temp_.file("expected")).at("model.safetensors"));
  std::swap(input_.teacher, input_.student);
  input_.out = temp_.file("reverse");
  expect_refused(core::ErrorKind::input, {"not a part"},
                 [&] { cache_logits(input_, options_, {}); });
}

TEST_F(Cache, ChunksDoNotMatter) {
  options_.sequence = 50;  // batches that are no whole blocks of the output's products
  options_.file_tokens = 1 << 20;
  cache_logits(input_, options_, {});
  CacheInput again = input_;
  again.out = temp_.file("again");
  options_.buffer_bytes = 1;  // one batch of windows at a time
  std::int64_t events = 0;
  cache_logits(again, options_, [&](const core::ProgressEvent&) { ++events; });
  EXPECT_GT(events, 3) << "more chunks than one";
  EXPECT_EQ(files(input_.out), files(again.out));
}

TEST_F(Cache, KilledAndResumedGivesTheSameBytes) {
  cache_logits(input_, options_, {});
  const auto undisturbed = files(input_.out);
  ASSERT_GE(undisturbed.size(), 4u);
  CacheInput killed = input_;
  killed.out = temp_.file("killed");
  for (const int moment :
       {2, 6, 9}) {  // events of the progress: in the first file, and in later ones
    fs::remove_all(killed.out);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {  // starts over by exec: it runs no OpenMP region of the parent's
      ::setenv("ESPALIER_TEST_KILL_AT", std::to_string(moment).c_str(), 1);
      ::setenv("ESPALIER_TEST_RUN", temp_.path().c_str(), 1);
      ::execl("/proc/self/exe", "distill_test", "--gtest_filter=CacheChild.*",
              "--gtest_also_run_disabled_tests", static_cast<char*>(nullptr));
      ::_exit(127);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        << "moment " << moment << ": status " << status;
    EXPECT_FALSE(checkpoint::has_manifest(killed.out));
    const bool some = fs::exists(killed.out + "/logits-00000.bin");
    EXPECT_EQ(some, moment > 3);
    const auto stamp =
        some ? fs::last_write_time(killed.out + "/logits-00000.bin") : fs::file_time_type{};
    expect_refused(core::ErrorKind::input, {"not a finished cache"},
                   [&] { LogitCache unfinished(killed.out); });
    killed.resume = true;
    killed.threads = 0;
    cache_logits(killed, options_, {});
    EXPECT_EQ(files(killed.out), undisturbed) << "moment " << moment;
    if (some) {
      EXPECT_EQ(fs::last_write_time(killed.out + "/logits-00000.bin"), stamp) << "computed again";
    }
  }
  EXPECT_EQ(cache_logits(killed, options_, {}).tokens_per_second, 0) << "nothing was left to do";
  killed.threads = 2;
  expect_refused(core::ErrorKind::usage, {"--threads 2"},
                 [&] { cache_logits(killed, options_, {}); });
  killed.threads = 0;
  options_.top_k = 17;
  expect_refused(core::ErrorKind::input, {"other options"},
                 [&] { cache_logits(killed, options_, {}); });
}
// The child of the test above; does nothing on its own.
TEST(CacheChild, DISABLED_RunsUntilKilled) {
  const char* directory = std::getenv("ESPALIER_TEST_RUN");
  const char* moment = std::getenv("ESPALIER_TEST_KILL_AT");
  if (directory == nullptr || moment == nullptr)
    GTEST_SKIP() << "only a child of KilledAndResumedGivesTheSameBytes";
  const std::string root = directory;
  CacheOptions options;
  options.sequence = 32;
  options.top_k = 16;
  options.file_tokens = 40 * 32;
  int events = 0;
  const CacheInput input{.teacher = root + "/teacher",
                         .text = root + "/train.txt",
                         .out = root + "/killed",
                         .resume = false,
                         .threads = 1};
  cache_logits(input, options, [&](const core::ProgressEvent&) {
    if (++events == std::atoi(moment)) ::raise(SIGKILL);
  });
}

// With everything kept, in the first epoch: the same windows, losses and weights.
TEST_F(Cache, TrainsAsTheTeacherDoes) {
  options_.top_k = 320;
  options_.value_bytes = 4;
  cache_logits(input_, options_, {});
  const TrainResult live = distill(student(false, "live"), train_, {}),
                    cached = distill(student(true, "cached"), train_, {});
  EXPECT_EQ(live.steps, cached.steps);
  EXPECT_NEAR(live.loss_first, cached.loss_first, 1e-5 * live.loss_first);
  EXPECT_NEAR(live.loss_last, cached.loss_last, 1e-4 * live.loss_last);
  const auto a = checkpoint::Checkpoint::open(temp_.file("live")).read(arch::Role::ffn_up, 0),
             b = checkpoint::Checkpoint::open(temp_.file("cached")).read(arch::Role::ffn_up, 0);
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += std::abs(static_cast<double>(a[i]) - b[i]);
    size += std::abs(static_cast<double>(a[i]));
  }
  EXPECT_LT(difference, 1e-3 * size) << "Adam's first steps have the size of the learning rate "
                                        "whatever the gradient: compared in bulk";
  const checkpoint::Manifest manifest = checkpoint::read_manifest(temp_.file("cached"));
  EXPECT_EQ(manifest.inputs.at("teacher"),
            checkpoint::read_manifest(temp_.file("live")).inputs.at("teacher"));
}

TEST_F(Cache, LearnsFromAFewTokensOverEpochsAndResumes) {
  cache_logits(input_, options_, {});
  const auto windows = LogitCache(input_.out).windows();
  train_.tokens = 5 * windows * 32 / 4;  // into the second epoch
  train_.seed = 3;                       // another order than the cache's
  TrainInput in = student(true, "whole");
  const TrainResult whole = distill(in, train_, {});
  EXPECT_GT(whole.steps * 4, windows);
  EXPECT_LT(whole.loss_last, 0.8 * whole.loss_first);
  TrainInput stopped = student(true, "stopped");
  EXPECT_THROW(distill(stopped, train_,
                       [](const core::ProgressEvent& e) {
                         if (e.done >= 5 * 4 * 32) throw std::runtime_error("stopped");
                       }),
               std::runtime_error);
  stopped.resume = true;
  distill(stopped, train_, {});
  EXPECT_EQ(hash::sha256_file(in.out + "/model.safetensors"),
            hash::sha256_file(stopped.out + "/model.safetensors"));
}

TEST_F(Cache, RefusesWhatItWasNotMadeFor) {
  options_.tokens = 8 * 4 * 32;
  cache_logits(input_, options_, {});
  const auto refused = [&](core::ErrorKind kind, const std::vector<std::string>& words,
                           TrainInput in) {
    expect_refused(kind, words, [&] { distill(in, train_, {}); });
  };
  refused(core::ErrorKind::input, {"holds 32 windows", "cache --tokens 1280"},
          student(true, "out"));
  train_.tokens = 8 * 4 * 32;
  train_.loss = "reverse_kl";
  refused(core::ErrorKind::usage, {"reverse_kl", "forward_kl", "likeliest"}, student(true, "out"));
  train_.loss = "forward_kl";
  train_.terms = {{"forward_kl", "1"}, {"hidden_mse", "1"}};
  refused(core::ErrorKind::usage, {"term hidden_mse", "computes inside", "--teacher"},
          student(true, "out"));
  train_.terms = {};
  train_.temperature = 2;
  refused(core::ErrorKind::usage, {"temperature 1", "temperature 2"}, student(true, "out"));
  train_.temperature = 1;
  train_.sequence = 64;
  refused(core::ErrorKind::input, {"windows of 32", "sequence 64"}, student(true, "out"));
  train_.sequence = 32;
  TrainInput both = student(true, "out");
  both.teacher = input_.teacher;
  refused(core::ErrorKind::usage, {"one of them"}, both);
  TrainInput other = student(true, "out");
  other.text = temp_.file("other.txt");
  core::write_text_file(other.text, sample_text(2, 1500));
  refused(core::ErrorKind::input, {"another text"}, other);
  support::TinyOptions larger;
  larger.vocab = 330;
  other = student(true, "out");
  other.student = support::write_tiny_llama(temp_.file("larger"), larger);
  refused(core::ErrorKind::input, {"330"}, other);
  other = student(true, "out");
  other.cached = student_;
  refused(core::ErrorKind::input, {"is a model directory", "espalier cache"}, other);
  EXPECT_FALSE(fs::exists(temp_.file("out") + "/model.safetensors"));
  distill(student(true, "out"), train_, {});
}

// Windows begin with BOS where the model adds it: teacher in memory and cached teacher see the same
// ones, and those of a cache without BOS are refused.
TEST_F(Cache, WindowsBeginWithBosWhereTheModelAddsIt) {
  support::TinyOptions with_bos;
  with_bos.add_bos = true;
  const std::string teacher = support::write_tiny_llama(temp_.file("teacher-bos"), with_bos);
  with_bos.layers = 1;
  with_bos.ffn = 32;
  with_bos.seed = 2;
  const std::string student_bos = support::write_tiny_llama(temp_.file("student-bos"), with_bos);
  options_.top_k = 320;
  options_.value_bytes = 4;
  CacheInput input = input_;
  input.teacher = teacher;
  input.out = temp_.file("cache-bos");
  cache_logits(input, options_, {});
  EXPECT_EQ(checkpoint::read_manifest(input.out).options.at("window_bos"), 1);

  TrainInput live = student(false, "live"), cached = student(true, "cached");
  live.student = cached.student = student_bos;
  live.teacher = teacher;
  cached.cached = input.out;
  const TrainResult a = distill(live, train_, {}), b = distill(cached, train_, {});
  EXPECT_NEAR(a.loss_first, b.loss_first, 1e-5 * a.loss_first);
  EXPECT_NEAR(a.loss_last, b.loss_last, 1e-4 * a.loss_last);
  const TrainResult none = distill(student(false, "none"), train_, {});
  EXPECT_GT(std::abs(a.loss_first - none.loss_first), 1e-4) << "the same weights on other windows";

  cache_logits(input_, options_, {});  // of a teacher that adds no BOS, as all older caches
  EXPECT_FALSE(checkpoint::read_manifest(input_.out).options.contains("window_bos"));
  TrainInput other = student(true, "other");
  other.student = student_bos;
  expect_refused(core::ErrorKind::input,
                 {"no BOS over the first token", "BOS (token 1)", "make the cache again"},
                 [&] { distill(other, train_, {}); });
  other = student(true, "other");
  other.cached = input.out;
  expect_refused(core::ErrorKind::input, {"BOS (token 1) over the first token", "no BOS"},
                 [&] { distill(other, train_, {}); });
  input.teacher = input_.teacher;
  input.resume = true;
  expect_refused(core::ErrorKind::input, {"other options or inputs"},
                 [&] { cache_logits(input, options_, {}); });
}

// One window, cross-entropy alone: the loss is that of the window with BOS over its first token,
// and the target of each position is the next token of the text.
TEST_F(Cache, TheLossOfOneWindowIsThatBehindBos) {
  support::TinyOptions with_bos;
  with_bos.add_bos = true;
  TrainInput in = student(false, "out");
  in.teacher = "";
  in.student = support::write_tiny_llama(temp_.file("bos"), with_bos);
  const auto source = checkpoint::Checkpoint::open(in.student);
  const text::Tokenizer tokenizer(source.tokenizer());
  std::string text = sample_text(3, 200);
  while (tokenizer.encode(text, false).size() > 32) text.pop_back();
  const std::vector<std::int32_t> ids = tokenizer.encode(text, false);
  ASSERT_EQ(ids.size(), 32u);
  in.text = temp_.file("one.txt");
  core::write_text_file(in.text, text);
  train_.tokens = 32;
  train_.batch = 1;
  train_.ce_weight = 1;
  train_.kl_weight = 0;
  const double loss = distill(in, train_, {}).loss_first;

  Tensor window = torch::tensor(std::vector<std::int64_t>(ids.begin(), ids.end())).unsqueeze(0);
  const Tensor targets = window[0].slice(0, 1).clone();
  const auto model = model::Transformer::load(source, {});
  const auto expected = [&] {
    const Tensor logits = model.forward(window)[0].slice(0, 0, 31).to(torch::kFloat64);
    return torch::cross_entropy_loss(logits, targets).item<double>();
  };
  const double without = expected();
  window[0][0] = 1;
  EXPECT_NEAR(loss, expected(), 1e-5 * loss);
  EXPECT_GT(std::abs(loss - without), 1e-3);
}

TEST_F(Cache, RefusesADamagedFileWhenItIsRead) {
  cache_logits(input_, options_, {});
  const std::string path = input_.out + "/logits-00000.bin";
  std::string bytes = core::read_text_file(path);
  bytes[bytes.size() - 100] = static_cast<char>(bytes[bytes.size() - 100] ^ 1);
  core::write_text_file(path, bytes);
  input_.resume = true;
  expect_refused(core::ErrorKind::input, {"logits-00000.bin", "damaged"},
                 [&] { cache_logits(input_, options_, {}); });
  train_.tokens = 200 * 4 * 32;
  expect_refused(core::ErrorKind::input, {"logits-00000.bin", "window 39", "damaged"},
                 [&] { distill(student(true, "out"), train_, {}); });
  fs::remove(path);
  expect_refused(core::ErrorKind::input, {"logits-00000.bin"},
                 [&] { LogitCache gone(input_.out); });
  input_.threads = 0;
  cache_logits(input_, options_, {});  // made again
  EXPECT_EQ(LogitCache(input_.out).windows(),
            checkpoint::read_manifest(input_.out).metrics.at("tokens").get<std::int64_t>() / 32);
}

TEST_F(Cache, RefusesOptionsOutOfRange) {
  const auto refused = [&](const std::string& words) {
    expect_refused(core::ErrorKind::usage, {words}, [&] { cache_logits(input_, options_, {}); });
  };
  options_.top_k = 321;
  refused("top-k 321");
  options_ = cache_options();
  options_.sequence = 257;
  refused("sequence 257");
  options_ = cache_options();
  options_.temperature = 0;
  refused("temperature 0");
  options_ = cache_options();
  input_.out = input_.teacher;
  refused("the output is an input");
}

}  // namespace
}  // namespace espalier::distill
