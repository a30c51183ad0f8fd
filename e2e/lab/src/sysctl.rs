//! Kernel settings that the kubelet changes for the whole machine, kept so that `down` can put them back.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// What `k8s.io/kubernetes` sets in `pkg/kubelet/cm/container_manager_linux.go` (`setupKernelTunables`).
const CHANGED_BY_KUBELET: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// The settings with their present values; those that this kernel lacks are left out.
#[must_use]
pub fn snapshot() -> BTreeMap<String, String> {
    CHANGED_BY_KUBELET
        .iter()
        .filter_map(|name| {
            let value = fs::read_to_string(path(name)).ok()?;
            Some(((*name).to_owned(), value.trim().to_owned()))
        })
        .collect()
}

/// Puts settings back; a refused one is named, because nothing else would tell.
pub fn restore(before: &BTreeMap<String, String>) {
    let now = snapshot();
    for (name, value) in before {
        if now.get(name) != Some(value)
            && let Err(error) = fs::write(path(name), value)
        {
            tracing::warn!(name, value, %error, "a kernel setting could not be put back");
        }
    }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name)
}
