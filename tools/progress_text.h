// SPDX-License-Identifier: Apache-2.0
// Progress for people: one bar for each stage on a terminal, plain lines in a log.
//
// A bar is one line that is drawn again and again. It fits into the columns that the terminal has
// at that moment, and gives up what matters least first. It needs two control sequences, "to the
// beginning of the line" and "clear to the end of the screen", and no colour. A log has neither
// control sequences nor carriage returns: of each stage a line at most every half minute, the first
// one and the last one.
//
// Libraries were looked at: Debian 12 has none for C++ (p-ranav/indicators and mraggi/tqdm-cpp are
// not in it), and they do not write logs.
#pragma once
#include <map>
#include <string>
#include <string_view>

#include "progress_stage.h"

namespace espalier::tool {

class ProgressText {
 public:
  // What to write now; empty: nothing yet. columns: of the terminal, 0 for a log.
  std::string show(const StageReport& report, double now, int columns);
  // What takes an unfinished bar away, so that other text can be written; it is drawn anew by the
  // next show(). Empty when there is none.
  std::string clear(int columns);
  // What leaves an unfinished bar where it is, and goes to the next line.
  std::string leave();

 private:
  bool due(const StageReport& report, double now, double interval);

  bool open_ = false;  // a bar that is not finished is on the screen
  int width_ = 0;      // of that bar
  std::map<std::string, double> shown_;
};

// One line of at most `columns` for a bar, without control sequences.
std::string bar_line(const StageReport& report, int columns);
// One line for a log, without its end.
std::string log_line(const StageReport& report);
// Columns that a text takes. Wide characters take two; others that are not ASCII are taken as wide.
int columns_of(std::string_view text);

}  // namespace espalier::tool
