//! Kernel settings as files.

/// Writes a setting if the kernel has it: a kernel without IPv6 needs no switching off of IPv6.
pub(super) fn write(path: &str, value: &str) {
    if std::path::Path::new(path).exists()
        && let Err(error) = std::fs::write(path, value)
    {
        tracing::warn!(path, value, %error, "a kernel setting was refused");
    }
}
