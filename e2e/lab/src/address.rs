//! The address plan: who has which address and name, as arithmetic.
//!
//! Everything lies in 198.18.0.0/15, which RFC 2544 sets aside for benchmarks, so that it collides with nobody's
//! network. `r` is the region's number (1 for `a`), `n` the node's.
//!
//! | what                          | where                          |
//! |-------------------------------|--------------------------------|
//! | bridge, the host's end        | 198.18.0.1/17                  |
//! | control plane of region r     | 198.18.r.2                     |
//! | node n of region r            | 198.18.r.(10+n)                |
//! | services of region r          | 198.18.(128+r).0/24, DNS at .10 |
//! | pods of node n of region r    | 198.19.(16(r-1)+n).0/24        |

use std::net::Ipv4Addr;

use anyhow::{Result, bail};

/// The bridge that joins all namespaces, and the host.
pub const BRIDGE: &str = "lyceum0";
/// The host's address on the bridge.
pub const HOST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// Prefix length of the bridge's network.
pub const BRIDGE_PREFIX: u8 = 17;
/// The whole range that the plan draws from; nothing else on the machine may use it.
pub const WHOLE: Range = Range { base: Ipv4Addr::new(198, 18, 0, 0), prefix: 15 };
/// Every name of a namespace or link of the lab starts with this.
pub const NAME_PREFIX: &str = "lyceum-";
/// As many as the pod ranges have room for.
pub const MAX_REGIONS: u8 = 15;
/// As many as a region's pod range has room for.
pub const MAX_NODES: u8 = 15;

/// A network in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub base: Ipv4Addr,
    /// Prefix length in bits.
    pub prefix: u8,
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl Range {
    /// Whether an address lies in the range.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
        u32::from(address) & mask == u32::from(self.base) & mask
    }
}

/// Names and addresses of one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionPlan {
    name: String,
    number: u8,
}

impl RegionPlan {
    /// The plan of the region with this one-letter name: `a` is number 1.
    ///
    /// # Errors
    /// When the name is not a letter from `a` to `o`.
    pub fn new(name: &str) -> Result<Self> {
        match name.as_bytes() {
            [letter @ b'a'..=b'o'] => Ok(Self { name: name.to_owned(), number: letter - b'a' + 1 }),
            _ => bail!("region {name:?} is not one letter from a to o: name regions a, b, c"),
        }
    }

    /// The region's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the API server listens.
    #[must_use]
    pub fn control_plane(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.number, 2)
    }

    /// The range of the region's Services.
    #[must_use]
    pub fn services(&self) -> Range {
        Range { base: Ipv4Addr::new(198, 18, 128 + self.number, 0), prefix: 24 }
    }

    /// The Service `kubernetes`, always the first of the range.
    #[must_use]
    pub fn kubernetes_service(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, 128 + self.number, 1)
    }

    /// The Service of the cluster's DNS.
    #[must_use]
    pub fn dns_service(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, 128 + self.number, 10)
    }

    /// All pods of the region, on whatever node.
    #[must_use]
    pub fn pods(&self) -> Range {
        Range { base: Ipv4Addr::new(198, 19, 16 * (self.number - 1), 0), prefix: 20 }
    }

    /// Namespace and host link of the control plane.
    #[must_use]
    pub fn control_plane_namespace(&self) -> String {
        format!("{NAME_PREFIX}{}-cp", self.name)
    }

    /// Node `n`, counted from 1.
    #[must_use]
    pub fn node(&self, n: u8) -> NodePlan {
        NodePlan {
            name: format!("{}-n{n}", self.name),
            namespace: format!("{NAME_PREFIX}{}-n{n}", self.name),
            address: Ipv4Addr::new(198, 18, self.number, 10 + n),
            pods: Range { base: Ipv4Addr::new(198, 19, 16 * (self.number - 1) + n, 0), prefix: 24 },
        }
    }
}

/// Names and addresses of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePlan {
    /// The node's name in Kubernetes and its host name.
    pub name: String,
    /// Its network namespace, and the host's end of its link into the bridge.
    pub namespace: String,
    /// Its address on the bridge.
    pub address: Ipv4Addr,
    /// The range that its pods draw from.
    pub pods: Range,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_first_region_is_where_the_documents_say() {
        let plan = RegionPlan::new("a").unwrap();
        assert_eq!(plan.control_plane().to_string(), "198.18.1.2");
        assert_eq!(plan.services().to_string(), "198.18.129.0/24");
        assert_eq!(plan.dns_service().to_string(), "198.18.129.10");
        assert_eq!(plan.pods().to_string(), "198.19.0.0/20");
        let node = plan.node(2);
        assert_eq!((node.name.as_str(), node.namespace.as_str()), ("a-n2", "lyceum-a-n2"));
        assert_eq!(
            (node.address.to_string(), node.pods.to_string()),
            ("198.18.1.12".into(), "198.19.2.0/24".into())
        );
    }

    #[test]
    fn no_two_things_of_any_regions_share_an_address_and_all_lie_in_the_range() {
        let mut seen = BTreeSet::from([HOST]);
        for letter in 'a'..='o' {
            let plan = RegionPlan::new(&letter.to_string()).unwrap();
            let mut firsts = vec![plan.control_plane(), plan.services().base];
            for n in 1..=MAX_NODES {
                let node = plan.node(n);
                assert!(plan.pods().contains(node.pods.base), "{node:?}");
                assert!(node.namespace.len() <= 15, "a link's name ends at 15 bytes: {}", node.namespace);
                firsts.extend([node.address, node.pods.base]);
            }
            for address in firsts {
                assert!(WHOLE.contains(address), "{address}");
                assert!(seen.insert(address), "{address} is given twice");
            }
        }
    }

    #[test]
    fn services_lie_outside_the_bridge_so_that_they_are_routed() {
        let bridge = Range { base: HOST, prefix: BRIDGE_PREFIX };
        assert!(!bridge.contains(RegionPlan::new("a").unwrap().services().base));
        assert!(bridge.contains(RegionPlan::new("o").unwrap().control_plane()));
    }

    #[test]
    fn other_names_than_letters_are_refused() {
        for name in ["", "A", "p", "ab", "1"] {
            assert!(RegionPlan::new(name).is_err(), "{name}");
        }
    }
}
