#!/bin/sh
# Make .venv-bench, the environment of the engines that tools/benchmark.py measures ours against; `make bench-setup`
# calls this.
#
# PYTHON=... (a command or path) overrides the choice of Python, TORCH_INDEX=... the package index that PyTorch's CPU
# build comes from. The lock (requirements/bench-pythonX.Y.txt) has hashes; PyTorch cannot be locked that way (see
# requirements/bench-overrides.in) and is installed by its version alone.
#
# .venv-bench/installed.txt, written last, holds what was installed, as .venv/installed.txt does (tools/setup.sh).
set -eu
cd "$(dirname "$0")/.."
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_USER=0 PIP_NO_INPUT=1

INDEX=${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}
BENCH=.venv-bench

say() { printf 'bench-setup: %s\n' "$*"; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

python=$(sh tools/setup.sh find) || exit 2
minor=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
lock=requirements/bench-python$minor.txt
[ -f "$lock" ] || fail "the other engines have no wheels for Python $minor: give another, \`make bench-setup PYTHON=python3.11\`"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python cannot make virtual environments: run \`apt-get install python3-venv\` (Debian, Ubuntu)"

expected() {
    printf '# %s\n# in %s\n' "$python" "$PWD/$BENCH"
    cat "$lock" requirements/bench-torch.in
}

if [ -f $BENCH/installed.txt ] && expected | cmp -s - $BENCH/installed.txt; then
    say "up to date: $BENCH/bin/python"
    exit 0
fi

say "installing into $BENCH: $(grep -c '==' "$lock") packages and PyTorch (some minutes, about 2 GB)"
rm -rf $BENCH
"$python" -m venv $BENCH
$BENCH/bin/python -c 'import pip, sys; sys.exit(int(pip.__version__.split(".")[0]) < 22)' ||
    $BENCH/bin/python -m pip install -qq 'pip>=22,<25'
$BENCH/bin/python -m pip install -qq --no-deps --only-binary :all: --require-hashes -r "$lock" ||
    fail "pip could not install $lock (see above); \`make bench-setup\` tries again"
# A build "+cpu" counts as newer than one without, so the CPU build is taken wherever there is one.
$BENCH/bin/python -m pip install -qq --no-deps --only-binary :all: --extra-index-url "$INDEX" \
    -r requirements/bench-torch.in ||
    fail "pip could not install PyTorch (requirements/bench-torch.in) from $INDEX (see above): give another index by TORCH_INDEX=..."
expected >$BENCH/installed.txt
say "done: $BENCH/bin/python"
