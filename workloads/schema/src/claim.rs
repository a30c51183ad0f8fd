//! Texts that are claimed: the values of group L's distribution column.

use sha2::{Digest, Sha256};

/// Claim of a teaching account's slug.
pub fn account_slug(slug: &str) -> String {
    format!("account:{slug}")
}

/// Claim of a course's slug.
pub fn course_slug(slug: &str) -> String {
    format!("course:{slug}")
}

/// Claim of an e-mail address: `sha256:` and the hash of the address without the space around it,
/// in lower case. The prefix names the algorithm, so that a keyed one can take over by claims
/// of both kinds side by side.
pub fn email(address: &str) -> String {
    let hash = Sha256::digest(address.trim().to_lowercase());
    hash.iter().fold("sha256:".to_owned(), |claim, byte| claim + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn one_address_has_one_claim_however_it_is_typed() {
        // printf student-1@example.org | sha256sum
        let claim = "sha256:92425e07a6f49dfcbc856c51656bb4eb8fbfbba94c89467412c5202de8cfa552";
        assert_eq!(email("student-1@example.org"), claim);
        assert_eq!(email(" Student-1@Example.ORG\n"), claim);
        assert_ne!(email("student-1@example.org"), email("student-2@example.org"));
    }
}
