// SPDX-License-Identifier: Apache-2.0
// Amounts of work against counts by hand, and a prediction of every stage of a tiny model.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "support/tiny_model.h"
#include "timing/files.h"
#include "timing/layers.h"
#include "timing/rounding.h"
#include "timing/sample.h"
#include "timing/stages.h"
#include "timing/stopwatch.h"
#include "timing/sums.h"

namespace espalier::timing {
namespace {

Stored tiny(std::int64_t ffn = 256, format::FormatId format = format::FormatId::f32) {
  return {{&support::llama(),
           support::tiny_dims({.hidden = 128, .head_dim = 32, .ffn = ffn, .vocab = 512})},
          format};
}
const Text kText{4096, 64, 256};
const Place kPlace{1, ::testing::TempDir()};

std::map<std::string, double> amounts(const Work& work) {
  std::map<std::string, double> out;
  for (const Item& item : work) out[item.kind] += item.amount;
  return out;
}
std::set<std::string> keys(const Work& work, const std::string& kind) {
  std::set<std::string> out;
  for (const Item& item : work)
    if (item.kind == kind) out.insert(item.key);
  return out;
}

TEST(Amounts, OperationsOfATokenAreThoseOfItsMatricesAndOfAttention) {
  const Model model = tiny().model;
  const arch::LayerDims& l = model.dims.layers[0];
  const std::int64_t H = 128, D = 32, N = l.heads(), K = l[arch::Axis::kv_groups], F = 256;
  const std::int64_t matrices = H * N * D + 2 * H * K * D + N * D * H + 3 * H * F;
  const auto expected = static_cast<double>(2 * (2 * matrices + 4 * N * D * 64));
  EXPECT_DOUBLE_EQ(operations_per_token(model, 64), expected);
  EXPECT_DOUBLE_EQ(forward(model, kText).amount, 4096 * expected);
  EXPECT_DOUBLE_EQ(output(model.dims, 10).amount, 2.0 * 10 * 512 * 128);
}

TEST(Amounts, AModelIsTimedByItsLargestLayer) {
  Model model = tiny().model;
  const std::string all = forward(model, kText).key;
  model.dims.layers[0][arch::Axis::ffn] = 64;
  EXPECT_EQ(forward(model, kText).key, all);
  model.dims.layers[1][arch::Axis::ffn] = 64;
  EXPECT_NE(forward(model, kText).key, all);
}

TEST(Amounts, AWindowHidesWhatIsBeforeIt) {
  Model model = tiny().model;
  const double whole = operations_per_token(model, 64);
  model.dims.window = 16;
  model.dims.layers[0].local = true;
  const auto heads = static_cast<double>(model.dims.layers[0].heads() * model.dims.head_dim);
  EXPECT_DOUBLE_EQ(operations_per_token(model, 64), whole - 4 * heads * 48);
}

TEST(Stages, PruningWithARefitDoesMore) {
  const arch::ModelDims after = tiny(128).model.dims;
  const auto with = amounts(work_of(PruneWork{tiny(), after, kText}, kPlace));
  const auto without = amounts(work_of(PruneWork{tiny(), after, kText, false}, kPlace));
  EXPECT_EQ(with.at("forward"), without.at("forward"));
  EXPECT_FALSE(without.contains("least squares"));
  // In each layer: readers and consumer of both blocks, and the FFN's consumer once more, cut.
  const double squares = 4 * solve(128, 128).amount + solve(256, 128).amount;
  EXPECT_DOUBLE_EQ(with.at("least squares"), 2 * squares);
}

TEST(Stages, WorkGrowsWithTheText) {
  const Text more{3 * kText.tokens, kText.sequence, kText.batch_tokens};
  const auto once = amounts(work_of(CalibrateWork{tiny(), kText, true}, kPlace)),
             thrice = amounts(work_of(CalibrateWork{tiny(), more, true}, kPlace));
  for (const char* kind : {"forward", "sums"})
    EXPECT_DOUBLE_EQ(thrice.at(kind), 3 * once.at(kind)) << kind;
  for (const char* kind : {"hashing", "writing", "decoding"})
    EXPECT_DOUBLE_EQ(thrice.at(kind), once.at(kind)) << kind;
}

TEST(Stages, TrainingCountsStepsAndModels) {
  const Stored teacher = tiny(), student = tiny(128);
  DistillWork stage{&teacher, student, 10, 512, 64, 4};
  const auto live = amounts(work_of(stage, kPlace));
  EXPECT_DOUBLE_EQ(live.at("train"), 5120 * operations_per_token(student.model, 64));
  EXPECT_DOUBLE_EQ(live.at("forward"), 5120 * operations_per_token(teacher.model, 64));
  EXPECT_DOUBLE_EQ(live.at("output"), 4 * 2.0 * 5120 * 512 * 128);
  stage.teacher = nullptr;
  stage.trains_embeddings = false;
  const auto cached = amounts(work_of(stage, kPlace));
  EXPECT_FALSE(cached.contains("forward"));
  EXPECT_DOUBLE_EQ(cached.at("output"), 2 * 2.0 * 5120 * 512 * 128);
}

TEST(Stages, AllWeightsAreRoundedOnce) {
  const Stored source = tiny();
  double weights = 0;
  for (const arch::TensorRef& t : arch::tensors(*source.model.arch, source.model.dims))
    if (!t.is_vector) weights += static_cast<double>(t.elements());
  const auto nearest = amounts(work_of(QuantizeWork{source, format::FormatId::q4_0}, kPlace));
  EXPECT_DOUBLE_EQ(nearest.at("rounding"), weights);
  const QuantizeWork by_layer{source, format::FormatId::q4_0, quant::Rounding::gptq, kText},
      at_once{source, format::FormatId::q4_0, quant::Rounding::gptq};
  EXPECT_DOUBLE_EQ(amounts(work_of(by_layer, kPlace)).at("rounding"),
                   amounts(work_of(at_once, kPlace)).at("rounding"));
}

TEST(Stages, ErrorsOfLayersAreAFewPassesOfFewTokens) {
  const Stored source = tiny();
  QuantizeWork stage{source, format::FormatId::q4_0, quant::Rounding::gptq, kText, false, true};
  const auto without = amounts(work_of(stage, kPlace));
  stage.layer_errors = true;
  const auto with = amounts(work_of(stage, kPlace));
  const Text few{std::min<std::int64_t>(512, kText.tokens), kText.sequence, kText.batch_tokens};
  // 7 matrices in each of 2 layers, all of which are followed.
  EXPECT_DOUBLE_EQ(with.at("forward") - without.at("forward"),
                   (1 + 7 + 14 / 2.0) * forward(source.model, few).amount);
  EXPECT_GT(with.at("rounding"), without.at("rounding"));
}

TEST(Stages, ModelsOfOneShapeAreTimedOnce) {
  const Stored source = tiny();
  const Work prune = work_of(PruneWork{source, tiny(128).model.dims, kText}, kPlace),
             quantize =
                 work_of(QuantizeWork{source, format::FormatId::q4_0, quant::Rounding::gptq, kText},
                         kPlace);
  EXPECT_EQ(keys(prune, "forward").size(), 1u);
  EXPECT_EQ(keys(prune, "forward"), keys(quantize, "forward"));
}

// Every kind of work is timed within its time, and every stage gets a finite prediction.
TEST(Stages, ArePredicted) {
  const Stored teacher = tiny(), student = tiny(128), file = tiny(128, format::FormatId::q4_0);
  std::vector<Work> works{
      work_of(PruneWork{teacher, student.model.dims, kText, true, true}, kPlace),
      work_of(DistillWork{&teacher, student, 20, 512, 64, 4, 2}, kPlace),
      work_of(CalibrateWork{student, kText, true}, kPlace),
      work_of(QuantizeWork{student, format::FormatId::q4_0, quant::Rounding::gptq, kText}, kPlace),
      work_of(QuantizeWork{student, format::FormatId::q5_0, quant::Rounding::imatrix}, kPlace),
      work_of(VerifyWork{file, teacher, {student}, {file}, 8, 64, 32}, kPlace)};
  std::set<std::string> kinds, timed;
  for (const Work& work : works)
    for (const Item& item : work) {
      kinds.insert(item.kind);
      EXPECT_TRUE(item.measure) << item.key;
      EXPECT_GT(item.amount, 0) << item.key;
      EXPECT_GT(item.measure(0.001), 0) << item.key;
    }
  EXPECT_GE(kinds.size(), 15u);
  Stopwatch watch;
  const double begin = seconds_now();
  watch.measure(works, 0.5);
  EXPECT_LT(seconds_now() - begin, 3);
  EXPECT_GE(watch.speeds().size(), 3u);
  for (const Work& work : works) {
    EXPECT_GT(watch.seconds(work), 0);
    EXPECT_LT(watch.seconds(work), 600);
  }
}

TEST(Files, WhereNothingCanBeWrittenSpeedIsGuessed) {
  // The parent of a folder that is not there yet is what counts.
  EXPECT_TRUE(write(1 << 20, {1, ::testing::TempDir() + "/none/below"}).measure);
  EXPECT_FALSE(write(1 << 20, {1, "/proc/none"}).measure);
}

}  // namespace
}  // namespace espalier::timing
