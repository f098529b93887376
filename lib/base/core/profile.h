// SPDX-License-Identifier: Apache-2.0
// Where the time of long work goes. A Section counts the wall time of a scope under a name, without
// the sections inside it. Only the thread that called start_profile() is measured.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace espalier::core {

class Section {
 public:
  explicit Section(const char* name);
  ~Section();
  Section(const Section&) = delete;
  Section& operator=(const Section&) = delete;

 private:
  bool counts_;
};

// Adds to the operations of the innermost section.
void count_operations(double operations);

struct SectionTime {
  std::string name;
  double seconds = 0, operations = 0;  // floating-point operations; 0: not counted
  std::int64_t calls = 0;
};

void start_profile();
// The sections in order of their time, longest first, and last "other": the rest of the time since
// start_profile(). Empty when that was not called.
std::vector<SectionTime> profile();

}  // namespace espalier::core
