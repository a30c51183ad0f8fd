#!/usr/bin/env bash
# The charts without a cluster: they lint, every set of values renders what it promises, and values
# that make no sense are refused by name. What they do on a cluster is a scenario.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
HELM=${LYCEUM_HELM:-helm}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
failed=0

# render CHART ARGS...: into $out/all.yaml.
render() {
    local chart=$1
    shift
    "$HELM" template release "charts/$chart" --namespace lyceum-system "$@" >"$out/all.yaml"
}

fail() {
    printf 'chart check failed: %s\n' "$1" >&2
    failed=1
}

holds() { grep -qF -- "$2" "$out/all.yaml" || fail "$1: no line with \"$2\""; }
lacks() { ! grep -qF -- "$2" "$out/all.yaml" || fail "$1: has \"$2\""; }

# refuses WHAT TEXT CHART ARGS...: rendering fails, and says TEXT.
refuses() {
    local what=$1 text=$2
    shift 2
    if render "$@" 2>"$out/error"; then
        fail "$what was accepted"
    else
        grep -qF -- "$text" "$out/error" || fail "$what was refused without \"$text\": $(cat "$out/error")"
    fi
}

# From "spec:" on, without comments and blank lines.
spec() { sed -e '/^ *#/d' -e '/^ *$/d' "$1" | sed -n '/^spec:/,$p'; }

"$HELM" lint --strict --quiet charts/lyceum charts/lyceum-demo

render lyceum
holds 'defaults' 'kind: CustomResourceDefinition'
holds 'defaults' 'helm.sh/resource-policy: keep'
holds 'defaults' 'image: lyceum/operator:0.1.0'
holds 'defaults' '--migrator-image=lyceum/migrator:0.1.0'
holds 'defaults' 'readOnlyRootFilesystem: true'
lacks 'defaults' 'kind: ServiceMonitor'
lacks 'defaults' '--watch-namespace='

digest=sha256:$(printf 'lyceum' | sha256sum | cut -d' ' -f1)
render lyceum --set images.registry=registry.example.org/team --set images.operator.tag=v1 \
    --set "images.postgres.digest=$digest" --set images.pgbouncer.registry=mirror.example.org/
holds 'images' 'image: registry.example.org/team/lyceum/operator:v1'
holds 'images' "--postgres-image=registry.example.org/team/lyceum/postgres@$digest"
holds 'images' '--pooler-image=mirror.example.org/lyceum/pgbouncer:0.1.0'

render lyceum --set 'watchNamespaces={lyceum,other}' --set rbac.aggregate=false
holds 'watchNamespaces' '--watch-namespace=lyceum'
holds 'watchNamespaces' '--watch-namespace=other'
lacks 'watchNamespaces' 'kind: ClusterRole'

render lyceum --set 'imagePullSecrets={harbor}'
holds 'imagePullSecrets' '- name: harbor'
holds 'imagePullSecrets' '--image-pull-secret=harbor'

render lyceum --set crds.install=false --set networkPolicy.enabled=false --set metrics.service.enabled=false \
    --set podDisruptionBudget.enabled=false
for kind in CustomResourceDefinition NetworkPolicy Service PodDisruptionBudget; do
    ! grep -qx "kind: $kind" "$out/all.yaml" || fail "everything off: has a $kind"
done

render lyceum --set metrics.serviceMonitor.enabled=true
holds 'serviceMonitor' 'kind: ServiceMonitor'

refuses 'an unknown value' 'replica' lyceum --set replica=3
refuses 'a negative number of replicas' 'replicas' lyceum --set replicas=-1
refuses 'a digest of the wrong length' 'digest' lyceum --set images.operator.digest=sha256:abc
refuses 'a namespace with a capital letter' 'watchNamespaces' lyceum --set 'watchNamespaces={Lyceum}'
refuses 'a monitor without its Service' 'metrics.service.enabled' lyceum \
    --set metrics.serviceMonitor.enabled=true --set metrics.service.enabled=false

# The example manifests and the demo chart show the same formations (keys in Helm's order, so that
# text can be compared).
for pair in school.yaml: school-single.yaml:charts/lyceum-demo/values-single.yaml; do
    values=${pair#*:}
    render lyceum-demo --show-only templates/courseshard.yaml ${values:+--values "$values"}
    diff <(spec "charts/examples/${pair%%:*}") <(spec "$out/all.yaml") ||
        fail "charts/examples/${pair%%:*} and charts/lyceum-demo differ"
done

render lyceum-demo --set images.registry=localhost --set images.loader.tag=abc
holds 'loader' 'image: localhost/lyceum/loader:abc'
holds 'loader' 'lyceum.dev/client-of: school'
render lyceum-demo --set loader.enabled=false
lacks 'no loader' 'kind: Job'
refuses 'an unknown value' 'extra' lyceum-demo --set extra=1

exit "$failed"
