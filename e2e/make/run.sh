#!/usr/bin/env bash
# What the Makefile's targets do: each checks its tools, says each step and how long it took.
# usage: e2e/make/run.sh TARGET [AREA]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly TARGET=${1:?usage: e2e/make/run.sh TARGET [AREA]}
readonly AREA=${2:-}
readonly CACHE=${LYCEUM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lyceum}
started=$(date +%s)
running=""
partial=""

took() {
    local seconds=$(($(date +%s) - $1))
    if ((seconds < 60)); then printf '%d s' "$seconds"; else printf '%d min %d s' $((seconds / 60)) $((seconds % 60)); fi
}

# step TITLE COMMAND...: runs it, and says so before and after.
step() {
    local title=$1 from
    shift
    from=$(date +%s)
    running=$title
    printf '\n==> %s\n    %s\n' "$title" "$*"
    "$@"
    running=""
    printf '<== %s: %s\n' "$title" "$(took "$from")"
}

finish() {
    local code=$?
    if ((code == 0)); then
        printf '\nmake %s: done in %s\n' "$TARGET${AREA:+ $AREA}" "$(took "$started")"
        [[ -z $partial ]] || printf '%s\n' "$partial"
    else
        printf '\nmake %s: FAILED%s after %s\n' "$TARGET${AREA:+ $AREA}" "${running:+ at \"$running\"}" "$(took "$started")" >&2
    fi
}

# need TOOL...: stops with one line for each that is missing and how to get it.
need() {
    local tool missing=0
    for tool in "$@"; do
        command -v "$tool" >/dev/null && continue
        missing=1
        printf 'make %s needs %s, which is not on the PATH: %s\n' "$TARGET" "$tool" "$(how_to_get "$tool")" >&2
    done
    return $missing
}

how_to_get() {
    case $1 in
    cargo) echo 'install rustup (https://rustup.rs); rust-toolchain.toml picks the version' ;;
    cc) echo 'apt-get install gcc libc6-dev' ;;
    go) echo 'install Go (https://go.dev/dl) at the version in e2e/box/go.mod or newer' ;;
    python3) echo 'apt-get install python3 python3-pip' ;;
    containerd | runc | iptables | ipset | conntrack | buildah | debootstrap) echo "apt-get install $1" ;;
    etcd) echo 'apt-get install etcd-server' ;;
    ip) echo 'apt-get install iproute2' ;;
    *) echo 'see docs/lab.md' ;;
    esac
}

# What a cluster takes: on one of your own (LYCEUM_KUBECONFIG) little, for the lab root and Debian's
# node packages. Its own check, before it starts, looks closer.
need_for_cluster() {
    need cargo cc
    [[ -n ${LYCEUM_KUBECONFIG:-} ]] && return
    need go python3 containerd runc etcd iptables ipset ip conntrack buildah debootstrap
    [[ $EUID -eq 0 ]] && return
    printf 'make %s needs root, for the lab makes network namespaces and mounts: use sudo, or name another cluster with LYCEUM_KUBECONFIG (docs/install.md)\n' "$TARGET" >&2
    return 1
}

# Every build of one profile names the whole workspace: with one package alone Cargo would pick other
# features for what they share, and compile that again.
build() { cargo build --locked --quiet --workspace --bins; }

binaries() { printf '%s/debug' "${CARGO_TARGET_DIR:-target}"; }

lab() { "$(binaries)/lab" "$@"; }

# The first helm of: $LYCEUM_HELM, the PATH, the lab's own copy.
find_helm() {
    local candidate
    for candidate in "${LYCEUM_HELM:-}" "$(command -v helm || true)" "$CACHE"/tools/helm*/helm; do
        if [[ -x $candidate ]]; then
            printf '%s' "$candidate"
            return
        fi
    done
    return 1
}

# Lets the chart check and the scenarios know it too.
export_helm() {
    LYCEUM_HELM=$(find_helm) || return
    export LYCEUM_HELM
}

check_scripts() {
    local script
    for script in .ci/run e2e/make/*.sh; do bash -n "$script"; done
    if command -v shellcheck >/dev/null; then
        shellcheck .ci/run e2e/make/*.sh
    else
        echo '    shellcheck is not installed: only the syntax was checked'
    fi
    if command -v gofmt >/dev/null; then
        local unformatted
        unformatted=$(gofmt -l e2e/box)
        [[ -z $unformatted ]] || { printf 'not formatted (run gofmt -w): %s\n' "$unformatted" >&2 && return 1; }
    fi
}

# All but the scenarios themselves, which need a cluster.
unit_tests() {
    local suite suites=(--lib --bins)
    for suite in */tests/*.rs */*/tests/*.rs; do
        suite=$(basename "$suite" .rs)
        [[ $suite == scenarios || $suite == main ]] || suites+=(--test "$suite")
    done
    cargo test --locked --quiet --workspace "${suites[@]}"
}

check_dependencies() {
    cargo deny --locked check bans licenses sources
    if cargo deny --locked fetch db 2>/dev/null; then
        cargo deny --locked --offline check advisories
    else
        echo '    the advisory database is out of reach: advisories not checked'
    fi
}

check() {
    need cargo cc
    step 'format' cargo fmt --all --check
    step 'lints' cargo clippy --workspace --all-targets --locked -- -D warnings
    step 'unit tests' unit_tests
    step 'binaries' build
    step 'generated files are in date' "$(binaries)/crdgen" --check --root .
    step 'scripts' check_scripts
    if export_helm; then
        step 'charts' e2e/make/charts.sh
    else
        echo '    no helm on the PATH and none in the cache yet (make up fetches one): charts not checked'
    fi
    if command -v cargo-deny >/dev/null; then
        step 'dependencies' check_dependencies
    else
        echo '    cargo-deny is not installed (cargo install cargo-deny --locked): deny.toml not checked'
    fi
}

up() {
    need_for_cluster
    step 'binaries' build
    if [[ -n ${LYCEUM_KUBECONFIG:-} ]]; then
        step "lyceum and one CourseShard on the cluster of $LYCEUM_KUBECONFIG" \
            lab install --kubeconfig "$LYCEUM_KUBECONFIG" ${LYCEUM_REGISTRY:+--registry "$LYCEUM_REGISTRY"}
    else
        step 'a Kubernetes of two nodes' lab up --nodes 2
        step 'images' lab images
        step 'lyceum and one CourseShard' lab install
        lab status
    fi
    export_helm
}

down() {
    need cargo
    step 'binaries' build
    step 'the lab, and all that it made' lab down
}

# The scenarios on the cluster that is up. A run that could not prove all ends with a line that says
# so; it is kept, to be the last line of this run as well.
scenarios() {
    local log
    log=$(mktemp)
    LYCEUM_PROOF=$1 cargo test --locked --workspace --test scenarios 2>&1 | tee "$log"
    partial=$(grep '^PARTIAL: ' "$log" | tail -n 1 || true)
    rm -f "$log"
}

bench() { "$(binaries)/bench" "$@"; }

# The lab's own test makes labs and takes them away, so it runs while none is up.
lab_test() {
    [[ -z ${LYCEUM_KUBECONFIG:-} ]] || return 0
    if lab kubeconfig >/dev/null 2>&1; then
        echo "    a lab is up: the lab's own test, which makes labs of its own, is left out (make down, then make test)"
        return
    fi
    LYCEUM_PROOF=$1 step 'the lab comes up, is killed, goes down without a trace' \
        cargo test --locked --workspace --test lab
}

run_test() {
    need_for_cluster
    check
    lab_test representative
    up
    step 'scenarios, one of each kind' scenarios representative
}

# Areas are the files of benches/ranges; firstlight means first-light.
area() {
    local file name
    for file in benches/ranges/*.yaml; do
        name=$(basename "$file" .yaml)
        [[ ${name//-/} == "${AREA//-/}" ]] && printf '%s' "$name" && return
    done
    {
        [[ -n $AREA ]] && printf 'there is no area %s; ' "$AREA"
        printf 'areas are: %s. For example: make proof %s\n' \
            "$(basename -s .yaml benches/ranges/*.yaml | xargs)" "$(basename "$file" .yaml)"
    } >&2
    return 2
}

proof() {
    local area
    area=$(area)
    need_for_cluster
    step 'binaries' build
    lab_test full
    up
    step "scenarios of $area, the full series" scenarios full
    step "figures of $area, into benches/results" bench "$area"
}

run_bench() {
    need_for_cluster
    up
    step 'figures against their ranges' bench --dry-run
}

trap finish EXIT
case $TARGET in
up | down | check | proof) "$TARGET" ;;
test) run_test ;;
bench) run_bench ;;
crds) need cargo && step 'binaries' build && step 'the CRDs, into the chart and crds/yaml' "$(binaries)/crdgen" --root . ;;
*)
    printf 'no target %s: see make help\n' "$TARGET" >&2
    exit 2
    ;;
esac
