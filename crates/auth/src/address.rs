//! The IP addresses that a key may be used from, as CIDR blocks.
//!
//! The address of a request is that of its connection, as reported by API Gateway or the server.
//! Headers that a caller can set, such as `X-Forwarded-For`, are not read.
//!
//! Invariant: a restricted key is refused if the address is unknown.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

/// The addresses that a key may be used from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressAccess {
    /// Every address, including an unknown one.
    Any,
    /// The addresses in these blocks. An empty list allows no address.
    Only(Vec<IpNet>),
}

impl AddressAccess {
    /// Whether the key may be used from `address`; `None` means that the address is unknown.
    pub fn allows(&self, address: Option<IpAddr>) -> bool {
        match (self, address) {
            (AddressAccess::Any, _) => true,
            (AddressAccess::Only(_), None) => false,
            (AddressAccess::Only(blocks), Some(address)) => {
                let address = address.to_canonical();
                blocks.iter().any(|block| block.contains(&address))
            }
        }
    }

    /// Whether `other` allows every address that this allows. Each block must lie within one block
    /// of `other`: two adjacent blocks are not joined.
    pub fn is_within(&self, other: &AddressAccess) -> bool {
        match (self, other) {
            (_, AddressAccess::Any) => true,
            (AddressAccess::Any, AddressAccess::Only(_)) => false,
            (AddressAccess::Only(own), AddressAccess::Only(others)) => {
                own.iter().all(|block| others.iter().any(|other| other.contains(block)))
            }
        }
    }
}

/// Parses a block such as `10.0.0.0/8`, or a single address. Bits beyond the prefix are cleared,
/// and an IPv4-mapped IPv6 block becomes an IPv4 block, so that every block has one form.
pub fn parse_block(text: &str) -> Result<IpNet, InvalidBlock> {
    let block = match text.parse::<IpNet>() {
        Ok(block) => block,
        Err(_) => IpNet::from(text.parse::<IpAddr>().map_err(|_| InvalidBlock)?),
    };
    Ok(match block.trunc() {
        IpNet::V6(block) if block.prefix_len() >= 96 => match block.network().to_ipv4_mapped() {
            Some(network) => IpNet::V4(mapped(network, block.prefix_len() - 96)),
            None => IpNet::V6(block),
        },
        block => block,
    })
}

fn mapped(network: Ipv4Addr, prefix: u8) -> Ipv4Net {
    // The prefix is at most 128 - 96 = 32, so this cannot fail. The fallback is the narrowest
    // block.
    Ipv4Net::new(network, prefix).unwrap_or_else(|_| Ipv4Net::from(network)).trunc()
}

/// The text is not a block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a block of addresses such as `10.0.0.0/8` or `2001:db8::/32`, or one address")]
pub struct InvalidBlock;

#[cfg(test)]
mod tests {
    use super::*;

    fn only(blocks: &[&str]) -> AddressAccess {
        AddressAccess::Only(blocks.iter().map(|text| parse_block(text).unwrap()).collect())
    }

    fn allows(access: &AddressAccess, address: &str) -> bool {
        access.allows(Some(address.parse().unwrap()))
    }

    #[test]
    fn key_is_allowed_from_its_blocks_only() {
        let access = only(&["10.1.0.0/16", "2001:db8::/32", "192.0.2.7"]);
        for inside in ["10.1.255.255", "2001:db8::1", "192.0.2.7", "::ffff:10.1.2.3"] {
            assert!(allows(&access, inside), "{inside}");
        }
        for outside in ["10.2.0.0", "2001:db9::1", "192.0.2.8", "::ffff:10.2.0.0", "::10.1.2.3", "::1"] {
            assert!(!allows(&access, outside), "{outside}");
        }
    }

    #[test]
    fn unknown_address_is_allowed_only_by_any() {
        assert!(!only(&["0.0.0.0/0", "::/0"]).allows(None));
        assert!(AddressAccess::Any.allows(None));
    }

    #[test]
    fn empty_list_allows_no_address() {
        assert!(!allows(&only(&[]), "10.0.0.1"));
    }

    #[test]
    fn parsing_normalizes_blocks() {
        for (text, expected) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("2001:DB8::1/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            assert_eq!(parse_block(text).unwrap().to_string(), expected, "{text}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0", "localhost", "10.0.0.0/8 ", "10.0.0.0/-1", "*"] {
            assert_eq!(parse_block(text), Err(InvalidBlock), "{text}");
        }
    }

    #[test]
    fn narrow_block_is_within_wider_block() {
        assert!(only(&["10.1.0.0/16"]).is_within(&only(&["10.0.0.0/8"])));
        assert!(only(&["10.1.0.0/16"]).is_within(&AddressAccess::Any));
        assert!(only(&[]).is_within(&only(&["10.0.0.0/8"])));
        assert!(!AddressAccess::Any.is_within(&only(&["0.0.0.0/0", "::/0"])));
        assert!(!only(&["10.0.0.0/8"]).is_within(&only(&["10.1.0.0/16"])));
        assert!(!only(&["10.1.0.0/16", "192.0.2.0/24"]).is_within(&only(&["10.0.0.0/8"])));
        assert!(!only(&["::/0"]).is_within(&only(&["0.0.0.0/0"])));
    }
}
