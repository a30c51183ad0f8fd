//! Passwords: made here, held in Secrets, never printed.

use lyceum_kit::Secret;
use rand::{Rng, SeedableRng, distr::Alphanumeric, rngs::StdRng};

/// Annotation on the Secret of the server certificate: hash of the names in it.
pub(super) const HOSTS_ANNOTATION: &str = "lyceum.dev/certificate-hosts";
/// Annotation on the same: when it ends, as RFC 3339.
pub(super) const NOT_AFTER_ANNOTATION: &str = "lyceum.dev/certificate-not-after";

/// 32 characters out of 62: 190 bits. Letters and digits only, so that a password
/// needs no quoting in `pgpass`, `userlist.txt`, a URI or a shell.
const PASSWORD_LENGTH: usize = 32;

/// A fresh password from the operating system's generator.
pub(super) fn random() -> Secret {
    // StdRng is a CSPRNG (ChaCha), seeded from the operating system each time, so
    // no state is left from which another password could be worked out.
    let characters = StdRng::from_os_rng().sample_iter(Alphanumeric).take(PASSWORD_LENGTH);
    characters.map(char::from).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_long_plain_and_new_each_time() {
        let (one, two) = (random(), random());
        assert_eq!(one.expose().len(), PASSWORD_LENGTH);
        assert!(one.expose().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert!(one != two);
    }
}
