// SPDX-License-Identifier: Apache-2.0
// Where the progress of a run goes: to standard error, for people (progress_text.h), and with
// --progress-file also to a file, for programs (progress_file.h). One of each for the process.
// Thread-safe, because notes come from any thread.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "core/progress.h"

namespace espalier::tool {

// What a library is given. Empty where nobody listens. quiet: not to standard error.
core::Progress progress(bool quiet);

// Writes text to standard error in whole lines. An unfinished bar makes way.
void say(std::string_view line);
// Ends an unfinished bar, before a result is written.
void leave_progress();

// Begins the file, and ends it with the exit code of the program. Error(usage) for a file that has
// other content.
void begin_progress_file(const std::string& path, const std::string& program,
                         const std::vector<std::string>& arguments);
void end_progress_file(int exit_code);

}  // namespace espalier::tool
