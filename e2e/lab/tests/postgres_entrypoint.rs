//! The entry point of the PostgreSQL image, run as it is, with its places moved to a scratch directory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A pod's volumes below one directory.
struct Pod {
    root: tempfile::TempDir,
}

impl Pod {
    fn new() -> Self {
        let pod = Self { root: tempfile::tempdir().unwrap() };
        for directory in ["etc/auth", "etc/tls", "etc/patroni", "run", "pgdata-volume", "wal-volume", "bin"] {
            fs::create_dir_all(pod.path(directory)).unwrap();
        }
        fs::write(pod.path("etc/patroni/patroni.yml"), "scope: x\n").unwrap();
        fs::write(pod.path("mounts"), "").unwrap();
        // What the entry point becomes: shows its arguments.
        fs::write(pod.path("bin/patroni"), "#!/bin/sh\necho \"patroni $*\"\n").unwrap();
        fs::set_permissions(pod.path("bin/patroni"), fs::Permissions::from_mode(0o755)).unwrap();
        pod
    }

    fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    fn mount_wal_volume(&self) {
        let line = format!("/dev/vdb {} ext4 rw 0 0\n", self.path("wal-volume").display());
        fs::write(self.path("mounts"), line).unwrap();
    }

    fn start(&self, arguments: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../workloads/postgres/lyceum-postgres");
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        Command::new("sh")
            .arg(script)
            .args(arguments)
            .env("PATH", path)
            .env("LYCEUM_CONFIG_DIR", self.path("etc"))
            .env("LYCEUM_RUN_DIR", self.path("run"))
            .env("LYCEUM_WAL_VOLUME", self.path("wal-volume"))
            .env("LYCEUM_MOUNTS", self.path("mounts"))
            .env("PGDATA", self.path("pgdata-volume/data"))
            .env_remove("PGPASSFILE")
            .output()
            .unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn it_becomes_patroni_with_the_mounted_configuration() {
    let pod = Pod::new();
    let output = pod.start(&[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), format!("patroni {}\n", pod.path("etc/patroni/patroni.yml").display()));
}

#[test]
fn without_a_configuration_it_says_which_file_is_missing() {
    let pod = Pod::new();
    fs::remove_file(pod.path("etc/patroni/patroni.yml")).unwrap();
    let output = pod.start(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("patroni/patroni.yml is missing"), "{}", text(&output.stderr));
}

#[test]
fn secrets_become_private_copies_from_one_version_of_the_mount() {
    let pod = Pod::new();
    fs::write(pod.path("etc/auth/pgpass"), "*:*:*:replicator:secret\n").unwrap();
    // As the kubelet mounts a Secret: files are links through `..data`, which is a link to the version.
    fs::create_dir(pod.path("etc/tls/..v2")).unwrap();
    symlink("..v2", pod.path("etc/tls/..data")).unwrap();
    for file in ["tls.key", "tls.crt", "ca.crt"] {
        fs::write(pod.path("etc/tls/..v2").join(file), format!("{file} v2\n")).unwrap();
        fs::write(pod.path("etc/tls").join(file), format!("{file} v1\n")).unwrap();
    }
    let output = pod.start(&["sh", "-c", "echo $PGPASSFILE; umask"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), format!("{}\n0077\n", pod.path("run/pgpass").display()));
    for (file, content) in
        [("pgpass", "*:*:*:replicator:secret\n"), ("tls.key", "tls.key v2\n"), ("tls.crt", "tls.crt v2\n")]
    {
        let path = pod.path("run").join(file);
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), (content, 0o600), "{file}");
    }
}

#[test]
fn a_restart_takes_the_secrets_of_today() {
    let pod = Pod::new();
    for password in ["old", "new"] {
        fs::write(pod.path("etc/auth/pgpass"), password).unwrap();
        assert!(pod.start(&["true"]).status.success());
        assert_eq!(fs::read_to_string(pod.path("run/pgpass")).unwrap(), password);
    }
}

#[test]
fn a_wal_directory_without_its_data_is_kept_under_another_name() {
    let pod = Pod::new();
    pod.mount_wal_volume();
    fs::create_dir(pod.path("wal-volume/pg_wal")).unwrap();
    fs::write(pod.path("wal-volume/pg_wal/000000010000000000000001"), "wal").unwrap();
    let output = pod.start(&[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let left: Vec<PathBuf> =
        fs::read_dir(pod.path("wal-volume")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left.len(), 1);
    assert!(left[0].file_name().unwrap().to_string_lossy().starts_with("pg_wal.2"), "{}", left[0].display());
    assert_eq!(fs::read_to_string(left[0].join("000000010000000000000001")).unwrap(), "wal");
}

#[test]
fn a_wal_directory_beside_its_data_stays() {
    let pod = Pod::new();
    pod.mount_wal_volume();
    fs::create_dir_all(pod.path("pgdata-volume/data")).unwrap();
    fs::write(pod.path("pgdata-volume/data/PG_VERSION"), "17\n").unwrap();
    fs::create_dir(pod.path("wal-volume/pg_wal")).unwrap();
    fs::write(pod.path("wal-volume/pg_wal/000000010000000000000001"), "wal").unwrap();
    symlink(pod.path("wal-volume/pg_wal"), pod.path("pgdata-volume/data/pg_wal")).unwrap();
    let output = pod.start(&[]);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
    assert!(pod.path("wal-volume/pg_wal/000000010000000000000001").is_file());
}

#[test]
fn data_whose_wal_volume_is_gone_does_not_start() {
    let pod = Pod::new();
    fs::create_dir_all(pod.path("pgdata-volume/data")).unwrap();
    symlink(pod.path("elsewhere/pg_wal"), pod.path("pgdata-volume/data/pg_wal")).unwrap();
    let output = pod.start(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("mount the WAL volume again"), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty());
}
