// SPDX-License-Identifier: Apache-2.0
// Replaces operator new of this test program, to see what the readers ask for; and checks that the
// watch works.
#include "format/largest_allocation.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace {
std::atomic<std::size_t> largest = 0;
}

// Not inlined: the compiler would take malloc() before a delete expression, or free() after a new
// expression, for a mistake.
__attribute__((noinline)) void* operator new(std::size_t size) {
  if (size > largest) largest = size;
  if (void* p = std::malloc(size == 0 ? 1 : size)) return p;
  throw std::bad_alloc();
}
__attribute__((noinline)) void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  if (size > largest) largest = size;
  return std::malloc(size == 0 ? 1 : size);
}
__attribute__((noinline)) void operator delete(void* p) noexcept { std::free(p); }
__attribute__((noinline)) void operator delete(void* p, std::size_t) noexcept { std::free(p); }

namespace espalier::support {

void reset_largest_allocation() { largest = 0; }
std::size_t largest_allocation() { return largest; }

namespace {

TEST(LargestAllocation, SeesACall) {
  reset_largest_allocation();
  ::operator delete(::operator new(12345));  // a direct call, which is never optimised away
  EXPECT_GE(largest_allocation(), 12345u);
  EXPECT_LT(largest_allocation(), 100000u);
}

}  // namespace
}  // namespace espalier::support
