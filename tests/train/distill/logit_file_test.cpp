// SPDX-License-Identifier: Apache-2.0
// Files of teacher logits: what is written is read back, and files broken by hand are refused with
// the place.
#include "distill/logit_file.h"

#include <gtest/gtest.h>

#include <bit>
#include <filesystem>

#include "distill/refused.h"
#include "support/temp_dir.h"

namespace espalier::distill {
namespace {

namespace fs = std::filesystem;

// Two windows of 3 tokens, 2 kept of a vocabulary of 10 (or of 70000: ids of four bytes).
struct Sample {
  LogitHeader header{.vocab = 10,
                     .sequence = 3,
                     .k = 2,
                     .value_bytes = 4,
                     .threads = 2,
                     .temperature = 1.5,
                     .run = std::string(64, 'a'),
                     .starts = {6, 0}};
  objective::SparseLogits logits{
      torch::tensor({0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 2, 9}, torch::kInt32).view({6, 2}),
      torch::tensor({0.5, 0.25, 0.125, 0.5, 0.7, 0.2, 0.25, 0.25, 0.9, 0.05, 0.3, 0.6},
                    torch::kFloat32)
          .log()
          .view({6, 2}),
      torch::tensor({0.25, 0.375, 0.1, 0.5, 0.05, 0.1}, torch::kFloat32)};
  std::string write(const std::string& path) const {
    LogitFileWriter file(path, header);
    file.add(logits);
    return file.commit();
  }
};

TEST(LogitFile, RoundTrip) {
  const support::TempDir temp;
  for (const std::int64_t vocab : {10, 70000})
    for (const int value_bytes : {2, 4}) {
      Sample s;
      s.header.vocab = vocab;
      s.header.value_bytes = value_bytes;
      const std::string path = temp.file("logits.bin"), digest = s.write(path);
      EXPECT_EQ(digest, hash::sha256_file(path));
      EXPECT_EQ(fs::file_size(path), s.header.file_bytes());
      const LogitFile file(path);
      EXPECT_EQ(file.header().vocab, vocab);
      EXPECT_EQ(file.header().temperature, 1.5);
      EXPECT_EQ(file.header().threads, 2);
      EXPECT_EQ(file.header().run, s.header.run);
      EXPECT_EQ(file.header().starts, s.header.starts);
      for (std::int64_t w = 0; w < 2; ++w) {
        const objective::SparseLogits back = file.window(w);
        EXPECT_TRUE(torch::equal(back.ids, s.logits.ids.narrow(0, 3 * w, 3)));
        // F16: 2^-11 of logarithms up to 3, and the scaling of the row that follows
        const double tolerance = value_bytes == 2 ? 4e-3 : 1e-6;
        EXPECT_LT((back.log_probabilities - s.logits.log_probabilities.narrow(0, 3 * w, 3))
                      .abs()
                      .max()
                      .item<double>(),
                  tolerance);
        EXPECT_LT((back.rest - s.logits.rest.narrow(0, 3 * w, 3)).abs().max().item<double>(),
                  tolerance);
        EXPECT_LT((back.log_probabilities.to(torch::kFloat64).exp().sum(-1) + back.rest - 1)
                      .abs()
                      .max()
                      .item<double>(),
                  1e-6);
      }
    }
}

TEST(LogitFile, NothingIsThereBeforeItIsWhole) {
  const support::TempDir temp;
  const Sample s;
  {
    LogitFileWriter file(temp.file("logits.bin"), s.header);
    file.add({s.logits.ids.narrow(0, 0, 3), s.logits.log_probabilities.narrow(0, 0, 3),
              s.logits.rest.narrow(0, 0, 3)});
    expect_refused(core::ErrorKind::internal, {"1 windows of 2"}, [&] { file.commit(); });
  }
  EXPECT_TRUE(fs::is_empty(temp.path()));
}

// Files whose hashes are right and whose contents are not, and files cut or flipped anywhere.
TEST(LogitFile, BrokenFilesAreRefused) {
  const support::TempDir temp;
  const std::string path = temp.file("logits.bin");
  const Sample s;
  s.write(path);
  const std::string good = core::read_text_file(path);
  const auto open_all = [&](const std::string& bytes) {
    core::write_text_file(path, bytes);
    const LogitFile file(path);
    for (std::size_t w = 0; w < file.header().starts.size(); ++w)
      static_cast<void>(file.window(static_cast<std::int64_t>(w)));
  };
  for (std::size_t n = 0; n < good.size(); n += 7)
    expect_refused(core::ErrorKind::input, {"logits.bin"}, [&] { open_all(good.substr(0, n)); });
  expect_refused(core::ErrorKind::input, {"logits.bin", "offset 40"},
                 [&] { open_all(good + "x"); });
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string flipped = good;
    flipped[i] = static_cast<char>(flipped[i] ^ 0x10);
    expect_refused(core::ErrorKind::input, {"logits.bin", "offset"}, [&] { open_all(flipped); });
  }

  struct Change {
    std::size_t offset;
    std::string bytes;
    const char* words;
  };
  const auto u32 = [](std::uint32_t v) {
    return std::string(reinterpret_cast<const char*>(&v), 4);
  };
  const auto f32 = [&](float v) { return u32(std::bit_cast<std::uint32_t>(v)); };
  const std::size_t digest_at = 112 + 16, body = digest_at + 64, each = 3 * 2 * (2 + 4) + 3 * 4;
  const std::vector<Change> headers{{0, "GGUF", "not a file of teacher logits"},
                                    {8, u32(2), "version 2"},
                                    {12, u32(0), "offset 12"},
                                    {12, u32(0xFFFFFFFF), "offset 12"},
                                    {16, u32(0), "offset 16"},
                                    {16, u32(1 << 24), "offset 40"},
                                    {20, u32(0), "offset 20"},
                                    {20, u32(11), "offset 20"},
                                    {24, u32(3), "offset 24"},
                                    {28, u32(0), "offset 28"},
                                    {32, std::string(8, '\0'), "offset 32"},
                                    {40, u32(1), "offset 40"},
                                    {44, u32(0xFFFFFFFF), "offset 40"},
                                    {119, "\xFF", "offset 112"}};
  const std::vector<Change> windows{{0, std::string("\x0A\0", 2), "id 10"},
                                    {2, std::string("\0\0", 2), "id 0"},
                                    {12, f32(0.5f), "not a log-probability"},
                                    {12, u32(0x7FC00000), "not a log-probability"},
                                    {12, f32(-1.5f), "sum to"},
                                    {36, f32(1.5f), "is not the mass"},
                                    {36, f32(-0.1f), "is not the mass"},
                                    {36, u32(0x7FC00000), "is not the mass"}};
  EXPECT_EQ(headers.size() + windows.size(), 22u);
  for (const Change& c : headers) {
    std::string bytes = good;
    bytes.replace(c.offset, c.bytes.size(), c.bytes);
    bytes.replace(digest_at, 64, hash::sha256(bytes.substr(0, digest_at)));
    expect_refused(core::ErrorKind::input, {"logits.bin", c.words}, [&] { open_all(bytes); });
  }
  for (const Change& c : windows) {
    std::string bytes = good;
    bytes.replace(body + c.offset, c.bytes.size(), c.bytes);
    bytes.replace(body + each, 64, hash::sha256(bytes.substr(body, each)));
    expect_refused(core::ErrorKind::input, {"logits.bin", "window 0", c.words},
                   [&] { open_all(bytes); });
  }
  open_all(good);
}

}  // namespace
}  // namespace espalier::distill
