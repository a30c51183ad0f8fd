//! The region's store: one etcd 3.4, as Debian packages it.

use super::{Context, flags};
use crate::process::Daemon;

/// Where clients find it.
pub(super) const PORT: u16 = 2379;

pub(super) fn daemon(context: &Context<'_>) -> Daemon {
    let url = |port: u16| format!("https://{}:{port}", context.plan.control_plane());
    let data = context.paths.state.join("etcd");
    let mut arguments = flags([
        ("name", context.plan.name().to_owned()),
        ("data-dir", data.to_string_lossy().into_owned()),
        ("listen-client-urls", url(PORT)),
        ("advertise-client-urls", url(PORT)),
        ("listen-peer-urls", url(2380)),
        ("initial-advertise-peer-urls", url(2380)),
        ("initial-cluster", format!("{}={}", context.plan.name(), url(2380))),
        ("cert-file", context.pki("etcd.crt")),
        ("key-file", context.pki("etcd.key")),
        ("trusted-ca-file", context.pki("ca.crt")),
        ("peer-cert-file", context.pki("etcd.crt")),
        ("peer-key-file", context.pki("etcd.key")),
        ("peer-trusted-ca-file", context.pki("ca.crt")),
        ("logger", "zap".to_owned()),
        ("log-level", "warn".to_owned()),
    ]);
    arguments.extend(["--client-cert-auth", "--peer-client-cert-auth"].map(str::to_owned));
    // A lab is thrown away, never recovered after a power cut; a kill loses nothing that the kernel has.
    arguments.push("--unsafe-no-fsync".to_owned());
    context.daemon("etcd", &context.tools.etcd, arguments)
}
