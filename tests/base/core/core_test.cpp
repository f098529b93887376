// SPDX-License-Identifier: Apache-2.0
// Halves exhaustively, sizes as users write them, atomic files, the pool.
#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <cmath>
#include <filesystem>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "core/half.h"
#include "core/rng.h"
#include "core/thread_pool.h"
#include "core/units.h"
#include "support/temp_dir.h"

namespace espalier::core {
namespace {

TEST(Half, EveryValueRoundTrips) {
  for (std::uint32_t h = 0; h < 65536; ++h) {
    const float f = half_to_float(static_cast<std::uint16_t>(h));
    if (std::isnan(f))
      EXPECT_TRUE(std::isnan(half_to_float(float_to_half(f))));
    else
      ASSERT_EQ(float_to_half(f), h);
  }
}
TEST(Half, RoundsToNearestEven) {
  EXPECT_EQ(float_to_half(1.0f + 0x1p-11f), float_to_half(1.0f));
  EXPECT_EQ(float_to_half(1.0f + 3 * 0x1p-11f), float_to_half(1.0f + 0x1p-9f));
  EXPECT_EQ(float_to_half(65519.0f), 0x7BFF);
  EXPECT_EQ(float_to_half(65520.0f), 0x7C00);
  EXPECT_EQ(float_to_half(0x1p-25f), 0);
  EXPECT_EQ(float_to_half(0x1.8p-25f), 1);
  EXPECT_EQ(float_to_bf16(1.0f + 0x1p-8f), float_to_bf16(1.0f));
}
TEST(Units, SizesAsUsersWriteThem) {
  EXPECT_EQ(parse_count("92M", "x"), 92'000'000);
  EXPECT_EQ(parse_bytes("60MB", "x"), 60'000'000);
  EXPECT_EQ(parse_bytes("1.5GiB", "x"), 1'610'612'736);
  for (const char* bad : {"", "M", "-3", "1e400", "12Q", "1,5GB"})
    EXPECT_THROW(parse_bytes(bad, "x"), Error) << bad;
  EXPECT_EQ(parse_count("8.4G", "x"), 8'400'000'000);
  EXPECT_EQ(parse_count("1.1k", "x"), 1100);
  for (const char* half : {"6.5", "0.0015k", "1e-3"})
    EXPECT_THROW(parse_count(half, "x"), Error) << half;
}
TEST(AtomicFileTest, WithoutCommitThePreviousFileStays) {
  support::TempDir dir;
  write_text_file(dir.file("a"), "old");
  {
    AtomicFile file(dir.file("a"));
    file.write("new");
  }
  EXPECT_EQ(read_text_file(dir.file("a")), "old");
  int n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(dir.path())) ++n;
  EXPECT_EQ(n, 1);
}
TEST(FileReaderTest, PastTheEndNamesThePlace) {
  support::TempDir dir;
  write_text_file(dir.file("a"), "12345");
  const FileReader reader(dir.file("a"));
  std::byte out[4];
  try {
    reader.read(3, out);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("offset 3"), std::string::npos) << e.what();
  }
  EXPECT_THROW(reader.read(~std::uint64_t{0} - 1, out), Error);
}
TEST(ThreadPoolTest, PinnedThreadsStayAndTheCallerIsLetGo) {
  const auto processors = [] {
    cpu_set_t set;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof set, &set);
    return CPU_COUNT(&set);
  };
  const int before = processors();
  {
    ThreadPool pool(2, true);
    std::atomic<int> allowed[2] = {};
    pool.run([&](int worker, int) { allowed[worker] = processors(); });
    EXPECT_EQ(allowed[0], 1);
    EXPECT_EQ(allowed[1], 1);
  }
  EXPECT_EQ(processors(), before);
}

TEST(ThreadPoolTest, EveryIndexOnce) {
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    std::vector<std::atomic<int>> hits(103);
    for (int round = 0; round < 200; ++round)
      pool.split(103, 8, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) hits[static_cast<std::size_t>(i)]++;
      });
    for (auto& h : hits) ASSERT_EQ(h.load(), 200);
  }
}
TEST(RngTest, PureFunctionOfSeedStreamIndex) {
  Rng a(7, 1), b(7, 1), c(7, 2);
  EXPECT_EQ(a.at(5), b.at(5));
  EXPECT_NE(a.at(5), c.at(5));
  double sum = 0;
  for (int i = 0; i < 10000; ++i) sum += a.normal();
  EXPECT_LT(std::abs(sum / 10000), 0.05);
}

TEST(Units, TheNearestNameIsNear) {
  const std::string formats[] = {"q4_0", "q4_k_m", "q8_0"}, keys[] = {"seed", "stages", "use"};
  EXPECT_EQ(nearest_name("q9_9", formats, 3), "") << "half of it is another name";
  EXPECT_EQ(nearest_name("q4_km", formats, 3), "q4_k_m");
  EXPECT_EQ(nearest_name("sede", keys, 3), "seed") << "letters that changed places";
  EXPECT_EQ(nearest_name("uses", keys, 3), "use");
  EXPECT_EQ(nearest_name("stagse", keys, 3), "stages");
  const std::string flags[] = {"--compensate", "--criterion"};
  EXPECT_EQ(nearest_name("--crit", flags, 2), "--criterion") << "cut short";
}

TEST(Units, NumbersForPeopleHaveFiveDigits) {
  EXPECT_EQ(number(43.8294031), "43.829");
  EXPECT_EQ(number(62e6), "62000000");
  EXPECT_EQ(number(16930.2), "16930");
  EXPECT_EQ(number(5.59764869e-07), "5.5976e-07");
}

}  // namespace
}  // namespace espalier::core
