//! A real Kubernetes on one bare machine: several regions, several nodes a region, no container engine.
//!
//! A *region* is one cluster (etcd, API server, controller manager, scheduler) with one or more *nodes*
//! (containerd, kubelet, kube-proxy, kube-router). Control plane and nodes each live in a network namespace of
//! their own, joined by one bridge. Everything that is started lives in one cgroup subtree, so that ending it
//! needs no record of what was started.
//!
//! Scenarios use [`State`] and what it leads to; the binary `lab` uses the rest.

pub mod addons;
pub mod address;
pub mod cgroup;
pub mod command;
pub mod control_plane;
pub mod down;
pub mod health;
pub mod images;
pub mod install;
pub mod inventory;
pub mod lock;
pub mod manifest;
pub mod net;
pub mod node;
pub mod options;
pub mod pki;
pub mod preflight;
pub mod process;
pub mod progress;
pub mod state;
pub mod status;
pub mod sysctl;
pub mod tools;
pub mod up;

pub use options::Options;
pub use progress::Progress;
pub use state::{Region, State};
