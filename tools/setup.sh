#!/bin/sh
# Make .venv, the project's own Python environment; `make setup` calls this.
#
#   tools/setup.sh                           make .venv, or leave it alone where it is up to date
#   tools/setup.sh find                      print the Python that .venv would be made with
#   tools/setup.sh print 3.11 [mxnet-cu112]  print the requirements for that Python and that MXNet
#
# PYTHON=... (a command or path) overrides the choice of Python, MXNET=... the wheel of MXNet. Without them a finished
# .venv stays what it is: `make setup MXNET=mxnet-cu112` once, and `make test` keeps the GPU wheel.
#
# .venv/installed.txt, written last, holds what was installed, for which Python and where: a .venv without it is
# half made, one in which it differs is out of date, and both are made anew. --no-deps: a lock is complete, and leaves
# opencv-python out on purpose (see requirements/overrides.in).
set -eu
cd "$(dirname "$0")/.."
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_USER=0 PIP_NO_INPUT=1

MINORS="3.11 3.12 3.10 3.9" # in the order of preference
GET_PYTHON="get one with \`uv python install 3.11\` (\`pip install uv\` brings uv)"
# Prints "minor version executable". The executable is that of the base: a .venv that is active may be about to go.
PROBE='
import os, sys
minor = "%d.%d" % sys.version_info[:2]
base = os.path.join(os.path.realpath(sys.base_prefix), "bin", "python" + minor)
print(minor, sys.version.split()[0], base if os.access(base, os.X_OK) else sys.executable)
'

say() { printf 'setup: %s\n' "$*"; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

# probe COMMAND: set minor, version and python, or return 1 where the command does not run (pyenv's shims may not).
probe() {
    found=$("$1" -c "$PROBE" 2>/dev/null) || return 1
    read -r minor version python <<EOF
$found
EOF
}

has_lock() { [ -f "requirements/python$1.txt" ]; }

# Debian and Ubuntu keep venv's other half in a package of its own.
require_venv() {
    "$python" -c 'import ensurepip, venv' 2>/dev/null && return
    package=python$minor-venv
    [ "$(/usr/bin/python3 -c "$PROBE" 2>/dev/null)" = "$minor $version $python" ] && package=python3-venv
    fail "$python cannot make virtual environments: run \`apt-get install $package\` (Debian, Ubuntu)"
}

# The names under which a Python of one minor version may be had: on PATH, from pyenv, from uv.
candidates() {
    echo "python$1"
    for path in "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/$1".*/bin/"python$1"; do
        if [ -x "$path" ]; then echo "$path"; fi
    done
    uv python find --system --no-python-downloads "$1" 2>/dev/null || true
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        probe "$PYTHON" || fail "PYTHON=$PYTHON does not run as Python 3: give a Python 3.9 to 3.12, or $GET_PYTHON"
        has_lock "$minor" || fail "PYTHON=$PYTHON is Python $version, and MXNet needs 3.9 to 3.12: $GET_PYTHON"
        return
    fi
    for wanted in $MINORS; do
        while IFS= read -r candidate; do
            if probe "$candidate" && [ "$minor" = "$wanted" ]; then return; fi
        done <<EOF
$(candidates "$wanted")
EOF
    done
    fail "no Python 3.9 to 3.12 that runs was found: $GET_PYTHON, or give one by \`make setup PYTHON=/path/to/python\`"
}

# requirements MINOR WHEEL: print the lock of a Python, with the wheel of MXNet and its hashes put in.
requirements() {
    if [ "$2" = mxnet ]; then
        cat "requirements/python$1.txt"
    else
        awk -v pin="requirements/$2.txt" '
            /^mxnet==/ { skip = 1; while ((getline line < pin) > 0) if (line !~ /^#/) print line; next }
            skip && /^[ \t]/ { next } # the hashes of the wheel that is replaced
            { skip = 0; print }
        ' "requirements/python$1.txt"
    fi
}

check_wheel() {
    case $1 in
    mxnet | mxnet-*) if [ "$1" = mxnet ] || [ -f "requirements/$1.txt" ]; then return; fi ;;
    esac
    wheels=mxnet
    for pin in requirements/mxnet-*.txt; do
        wheels="$wheels, $(basename "$pin" .txt)"
    done
    fail "MXNET=$1 is not known; there are: $wheels"
}

# expected WHEEL: print what .venv/installed.txt has to hold for the Python that probe found.
expected() {
    printf '# %s\n# Python %s, %s\n# in %s\n' "$1" "$version" "$python" "$PWD/.venv"
    requirements "$minor" "$1"
}

is_current() {
    [ -f .venv/installed.txt ] || return 1
    if ! probe .venv/bin/python || ! has_lock "$minor"; then return 1; fi
    if [ -n "${PYTHON:-}" ]; then find_python; fi # sets what probe has set: .venv has to be of that Python
    expected "$wheel" | cmp -s - .venv/installed.txt
}

install() {
    find_python
    require_venv
    say "installing into .venv: Python $version, $(requirements "$minor" "$wheel" | grep -c '==') packages (about a minute)"
    rm -rf .venv
    "$python" -m venv .venv
    # Ubuntu 20.04's pip does not know the names that wheels have today.
    .venv/bin/python -c 'import pip, sys; sys.exit(int(pip.__version__.split(".")[0]) < 22)' ||
        .venv/bin/python -m pip install -qq 'pip>=22,<25'
    expected "$wheel" >.venv/requirements.txt
    .venv/bin/python -m pip install -qq --no-deps --only-binary :all: --require-hashes -r .venv/requirements.txt ||
        fail "pip could not install requirements/python$minor.txt (see above); \`make setup\` tries again"
    mv .venv/requirements.txt .venv/installed.txt
}

# Tell at once, and in one line, where a library of the system is missing.
check_import() {
    if [ -f .venv/imported ] || [ ! -f common/mx.py ]; then return; fi
    .venv/bin/python -W ignore -c '
import sys
from common.command import report_error
from common.errors import SSDError
try:
    import common.mx
except SSDError as error:
    sys.exit(report_error(error, debug=False))
'
    touch .venv/imported
    say "done: .venv/bin/python"
}

# One set-up at a time in one checkout; the next waits. Where flock is missing, take care yourself.
lock_checkout() {
    exec 9<requirements
    if command -v flock >/dev/null; then flock 9; fi
}

case ${1:-} in
print)
    check_wheel "${3:-mxnet}"
    has_lock "${2:-}" || fail "no lock file for Python ${2:-?}; there are: $MINORS"
    requirements "$2" "${3:-mxnet}"
    ;;
find)
    find_python
    echo "$python"
    ;;
"")
    lock_checkout
    wheel=${MXNET:-$(sed -n '1s/^# //p' .venv/installed.txt 2>/dev/null || true)}
    wheel=${wheel:-mxnet}
    check_wheel "$wheel"
    is_current || install
    check_import
    ;;
*) fail "tools/setup.sh $1: unknown; there are: print, find, or nothing" ;;
esac
