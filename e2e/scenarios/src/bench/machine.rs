//! The machine a figure was measured on: without it a figure says nothing.

use std::fs::read_to_string;

use serde::Serialize;

/// What matters of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// Processor model.
    pub processor: String,
    /// Processors that may be used.
    pub cores: usize,
    /// Memory in GiB, rounded.
    pub memory_gib: u64,
    /// Kernel release.
    pub kernel: String,
}

impl Machine {
    /// This machine.
    pub fn here() -> Self {
        let cpuinfo = read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = read_to_string("/proc/meminfo").unwrap_or_default();
        let kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            processor: field(&cpuinfo, "model name").unwrap_or("unknown processor").to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: field(&meminfo, "MemTotal").and_then(kibibytes).unwrap_or(0).div_ceil(1 << 20),
            kernel: kernel.trim().to_owned(),
        }
    }

    /// One line.
    pub fn line(&self) -> String {
        format!("{} cores of {}, {} GiB, Linux {}", self.cores, self.processor, self.memory_gib, self.kernel)
    }
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

fn kibibytes(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_field_of_proc_is_read_by_its_whole_name() {
        let text = "MemFree: 1 kB\nMemTotal:       24663884 kB\n";
        assert_eq!(field(text, "MemTotal").and_then(kibibytes), Some(24_663_884));
    }
}
