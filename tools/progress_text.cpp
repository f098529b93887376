// SPDX-License-Identifier: Apache-2.0
// Composes lines. What comes from outside, such as the names of files, cannot break them: control
// characters become question marks, and a long text is cut between characters.
#include "progress_text.h"

#include <algorithm>
#include <initializer_list>

#include "core/duration.h"
#include "core/units.h"

namespace espalier::tool {
namespace {

constexpr double kRedraw = 0.1, kLogInterval = 30;  // seconds
constexpr int kWidestBar = 28, kNarrowestBar = 8;

std::string printable(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 32 || c == 127) c = '?';
  return text;
}

bool continues(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

std::string cut(const std::string& text, int columns) {
  std::size_t end = text.size();
  while (end > 0 && columns_of(std::string_view(text).substr(0, end)) > columns) {
    --end;
    while (end > 0 && continues(text[end])) --end;
  }
  return text.substr(0, end);
}

std::string joined(std::initializer_list<std::string> parts) {
  std::string out;
  for (const std::string& part : parts)
    if (!part.empty()) out += (out.empty() ? "" : "  ") + part;
  return out;
}

std::string count_of(const StageReport& report) {
  return core::human_count(report.event.done) + " of " + core::human_count(report.event.total) +
         " " + printable(report.event.unit);
}
std::string rate_of(const StageReport& report) {
  return report.rate ? core::human_rate(*report.rate, printable(report.event.unit)) : "";
}
std::string time_of(const StageReport& report) {
  if (report.last) return "in " + core::human_duration(report.elapsed);
  return report.seconds_left ? core::human_duration(*report.seconds_left) + " left" : "";
}

std::string bar_of(const StageReport& report, int width) {
  const double share =
      static_cast<double>(report.event.done) / static_cast<double>(report.event.total);
  std::string bar(static_cast<std::size_t>(std::clamp(static_cast<int>(width * share), 0, width)),
                  '#');
  bar.resize(static_cast<std::size_t>(width), '.');
  return "[" + bar + "]";
}

}  // namespace

int columns_of(std::string_view text) {
  int out = 0;
  for (const char c : text)
    if (!continues(c)) out += static_cast<unsigned char>(c) < 128 ? 1 : 2;
  return out;
}

std::string bar_line(const StageReport& report, int columns) {
  const std::string name = printable(report.event.stage), count = count_of(report),
                    rate = rate_of(report), time = time_of(report);
  // What is said, from much to little.
  for (const std::string& numbers : {joined({count, rate, time}), joined({count, time}), count}) {
    const int around = columns_of(name) + columns_of(numbers) + 4;  // brackets and blanks
    if (columns - around < kNarrowestBar) continue;
    const int bar = std::min(kWidestBar, columns - around);
    const int rest = columns - around - bar - 2;
    const std::string detail =
        rest >= kNarrowestBar ? cut(printable(report.event.detail), rest) : "";
    return joined({name + " " + bar_of(report, bar) + " " + numbers, detail});
  }
  return cut(name + " " + count, columns);
}

std::string log_line(const StageReport& report) {
  const core::ProgressEvent& event = report.event;
  const std::string detail = printable(event.detail);
  return printable(event.stage) + ": " +
         (report.counts ? joined({count_of(report), rate_of(report), time_of(report), detail})
                        : detail);
}

bool ProgressText::due(const StageReport& report, double now, double interval) {
  const auto [shown, is_new] = shown_.try_emplace(report.event.stage, now);
  if (!is_new && !report.first && !report.last && now - shown->second < interval) return false;
  shown->second = now;
  return true;
}

std::string ProgressText::clear(int columns) {
  if (!open_) return "";
  open_ = false;
  // A terminal that has become narrower has broken the bar into several lines.
  const int above = columns > 0 ? (width_ - 1) / columns : 0;
  return (above > 0 ? "\033[" + std::to_string(above) + "A" : "") + "\r\033[J";
}

std::string ProgressText::leave() {
  if (!open_) return "";
  open_ = false;
  return "\n";
}

std::string ProgressText::show(const StageReport& report, double now, int columns) {
  if (!report.counts) return clear(columns) + log_line(report) + "\n";
  if (columns == 0) return due(report, now, kLogInterval) ? log_line(report) + "\n" : "";
  if (!due(report, now, kRedraw)) return "";
  const std::string before = report.first ? leave() : clear(columns),
                    line = bar_line(report, columns - 1);
  if (report.last) return before + line + "\n";
  open_ = true;
  width_ = columns_of(line);
  return before + line;
}

}  // namespace espalier::tool
