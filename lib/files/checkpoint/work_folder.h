// SPDX-License-Identifier: Apache-2.0
// The folder in which an unfinished run keeps what it has, so that a killed run can go on.
//
//   started.json  the identity of the run, and its number of threads; written first
//   ...           what the run keeps, each file whole, by rename
//
// A run that writes FILE works in FILE.work, or in folders of it. A run that writes DIR works in
// DIR/checkpoint. The folder is removed when the result is complete.
#pragma once
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "checkpoint/manifest.h"

namespace espalier::checkpoint {

struct WorkOptions {
  std::string folder = {};  // empty: nothing is kept
  bool resume = false;      // go on from what an earlier run left; otherwise that is removed
  // With `resume`: what was made with other options or inputs is removed with a note, not refused.
  bool or_start_over = false;
  int threads = 0;  // that the user asks for; 0: as in the earlier run
  // Largest share of the time for save(). 1: always due.
  double share = 0.05;
};

class WorkFolder {
 public:
  // `identity` is a hash of everything that the result depends on.
  WorkFolder(WorkOptions options, std::string identity)
      : options_(std::move(options)), identity_(std::move(identity)) {}

  // Whether a run with this identity has left something here.
  bool started() const;
  // Takes over or removes what an earlier run left. Error(input) when that belongs to another run
  // or is broken, Error(usage) when it was computed with other than the wanted threads. Returns the
  // number of threads to use; 0: any.
  int begin();
  // Whether begin() removed what another run left (or_start_over).
  bool started_over() const { return started_over_; }
  // The number of threads in use. Set it before start(); matrix products round differently with
  // another.
  void set_threads(int threads) { options_.threads = threads; }
  int threads() const { return options_.threads; }
  // Makes the folder and started.json. save() does so by itself.
  void start();

  const std::string& folder() const { return options_.folder; }
  std::string file(const std::string& name) const { return options_.folder + "/" + name; }
  bool has(const std::string& name) const;
  // False without a folder, and when saving has failed.
  bool keeps() const { return !options_.folder.empty() && save_error_.empty(); }
  // Whether it is time to save(): in the long run that takes at most `share` of the time.
  bool due() const;
  // Calls `write`, which writes files. When that fails, as on a full disk, the folder is removed,
  // nothing is saved from then on, and a note (core/notes.h) says so.
  void save(const std::function<void()>& write);
  // Calls `read`, which reads such files. Error(input) when they are broken.
  void load(const std::function<void()>& read) const;
  const std::string& save_error() const { return save_error_; }

  // The manifest of `directory` when this run has finished it (metrics "run" and "threads"), its
  // threads checked as in begin(). Error(input) when another run has, unless `or_start_over`.
  std::optional<Manifest> finished(const std::string& directory, const std::string& stage);
  // Removes the folder, or one that holds only folders of runs. Error(input) for another.
  void remove() const { remove(options_.folder); }
  static void remove(const std::string& folder);

 private:
  int take_threads(int earlier);

  WorkOptions options_;
  std::string identity_, save_error_;
  bool started_over_ = false;
  using Clock = std::chrono::steady_clock;
  Clock::time_point last_save_ = Clock::now();
  Clock::duration to_save_{};
};

}  // namespace espalier::checkpoint
