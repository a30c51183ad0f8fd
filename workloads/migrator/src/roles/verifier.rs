//! SCRAM verifiers (RFC 5802, as PostgreSQL stores them). A password never is in a statement:
//! statements are logged.

use std::num::NonZeroU32;

use base64::{Engine, prelude::BASE64_STANDARD};
use lyceum_kit::secret::Secret;
use ring::{digest, hmac, pbkdf2};

/// Length of SHA-256, and so of a SCRAM key, in bytes.
const KEY: usize = 32;

/// A new verifier with a salt of its own.
pub(crate) fn new(password: &Secret) -> String {
    postgres_protocol::password::scram_sha_256(password.expose().as_bytes())
}

/// Whether a stored verifier is of this password. If it is, it stays: a pooler may hold a copy.
///
/// Passwords are ASCII (the operator makes them), which SASLprep leaves as it is; any other
/// counts as changed and gets a new verifier each time.
pub(crate) fn matches(stored: &str, password: &Secret) -> bool {
    parse(stored).is_some_and(|parts| derive(password.expose(), &parts.salt, parts.iterations) == parts.keys)
}

struct Parts {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    keys: Keys,
}

#[derive(PartialEq, Eq)]
struct Keys {
    stored: Vec<u8>,
    server: Vec<u8>,
}

/// `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`, the last three in base64.
fn parse(verifier: &str) -> Option<Parts> {
    let (parameters, keys) = verifier.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
    let (iterations, salt) = parameters.split_once(':')?;
    let (stored, server) = keys.split_once(':')?;
    Some(Parts {
        iterations: iterations.parse().ok()?,
        salt: BASE64_STANDARD.decode(salt).ok()?,
        keys: Keys {
            stored: BASE64_STANDARD.decode(stored).ok()?,
            server: BASE64_STANDARD.decode(server).ok()?,
        },
    })
}

fn derive(password: &str, salt: &[u8], iterations: NonZeroU32) -> Keys {
    let mut salted = [0; KEY];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password.as_bytes(), &mut salted);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
    let client = hmac::sign(&key, b"Client Key");
    Keys {
        stored: digest::digest(&digest::SHA256, client.as_ref()).as_ref().to_vec(),
        server: hmac::sign(&key, b"Server Key").as_ref().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn secret(text: &str) -> Secret {
        text.to_owned().into()
    }

    #[test]
    fn a_verifier_is_of_its_password_and_of_no_other() {
        let verifier = new(&secret("correct horse"));
        assert!(matches(&verifier, &secret("correct horse")));
        assert!(!matches(&verifier, &secret("correct horse ")));
    }

    #[test]
    fn what_is_no_verifier_matches_nothing() {
        for stored in [
            "",
            "md5abc",
            "SCRAM-SHA-256$4096:c2FsdA==$",
            "SCRAM-SHA-256$0:c2FsdA==$YQ==:YQ==",
            "correct horse",
        ] {
            assert!(!matches(stored, &secret("correct horse")), "{stored}");
        }
    }

    #[test]
    fn two_verifiers_of_one_password_differ() {
        assert_ne!(new(&secret("a")), new(&secret("a")));
    }
}
