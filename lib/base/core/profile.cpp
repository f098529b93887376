// SPDX-License-Identifier: Apache-2.0
// A stack of open sections. Time belongs to the innermost one.
#include "core/profile.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <thread>

namespace espalier::core {
namespace {

using Clock = std::chrono::steady_clock;

struct Profile {
  bool on = false;
  std::thread::id thread;
  std::map<std::string, SectionTime> sections;
  std::vector<SectionTime*> open;
  Clock::time_point changed;  // when the innermost section became what it is

  void give_time() {
    const Clock::time_point now = Clock::now();
    open.back()->seconds += std::chrono::duration<double>(now - changed).count();
    changed = now;
  }
};
Profile& state() {
  static Profile all;
  return all;
}
SectionTime* section(const char* name) {
  SectionTime& out = state().sections[name];
  if (out.name.empty()) out.name = name;
  return &out;
}

bool measured() { return state().on && state().thread == std::this_thread::get_id(); }

}  // namespace

Section::Section(const char* name) : counts_(measured()) {
  if (!counts_) return;
  Profile& p = state();
  p.give_time();
  p.open.push_back(section(name));
  ++p.open.back()->calls;
}
Section::~Section() {
  if (!counts_) return;
  state().give_time();
  state().open.pop_back();
}

void count_operations(double operations) {
  if (measured()) state().open.back()->operations += operations;
}

void start_profile() {
  Profile& p = state();
  p.on = true;
  p.thread = std::this_thread::get_id();
  p.sections.clear();
  p.open = {section("other")};
  p.changed = Clock::now();
}

std::vector<SectionTime> profile() {
  Profile& p = state();
  std::vector<SectionTime> out;
  if (!p.on) return out;
  p.give_time();
  for (const auto& [name, time] : p.sections) out.push_back(time);
  std::sort(out.begin(), out.end(), [](const SectionTime& a, const SectionTime& b) {
    const bool a_other = a.name == "other", b_other = b.name == "other";
    return a_other != b_other ? b_other : a.seconds > b.seconds;
  });
  return out;
}

}  // namespace espalier::core
