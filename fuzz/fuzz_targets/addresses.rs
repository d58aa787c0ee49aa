//! Address blocks: parsing accepts one form of each block and reads it back, a block contains the
//! right addresses, and a block within another contains no address outside it.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libfuzzer_sys::fuzz_target;
use onerun_auth::{AddressAccess, parse_block};

fuzz_target!(|data: &[u8]| {
    let Some((bytes, texts)) = data.split_last_chunk::<16>().map(|(texts, bytes)| (bytes, texts)) else {
        return;
    };
    let Ok(texts) = str::from_utf8(texts) else { return };
    let blocks: Vec<_> = texts.lines().take(16).filter_map(|text| parse_block(text).ok()).collect();
    // Random addresses, and those at the edges of the blocks.
    let [a, b, c, d, ..] = *bytes;
    let mut addresses = vec![IpAddr::from(*bytes), IpAddr::from([a, b, c, d])];
    for block in &blocks {
        let text = block.to_string();
        assert_eq!(parse_block(&text).as_ref(), Ok(block), "{text}");
        assert_eq!(block.trunc(), *block, "{text}");
        for edge in [block.network(), block.broadcast()] {
            addresses.push(edge);
            addresses.extend([step(edge, 1), step(edge, -1)]);
        }
    }
    let only = |blocks: &[_]| AddressAccess::Only(blocks.to_vec());
    let (one, other) = blocks.split_at(blocks.len() / 2);
    for address in addresses {
        for block in &blocks {
            let expected = holds(block.network(), block.prefix_len(), address);
            assert_eq!(only(&[*block]).allows(Some(address)), expected, "{block} {address}");
        }
        if only(one).is_within(&only(other)) && only(one).allows(Some(address)) {
            assert!(only(other).allows(Some(address)), "{one:?} {other:?} {address}");
        }
    }
    assert!(!only(&blocks).allows(None));
    assert!(only(&blocks).is_within(&only(&blocks)) && only(&blocks).is_within(&AddressAccess::Any));
    assert!(!AddressAccess::Any.is_within(&only(&blocks)));
});

fn step(address: IpAddr, by: i8) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits().wrapping_add_signed(by.into())).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits().wrapping_add_signed(by.into())).into(),
    }
}

/// Compares the first bits in another way than the tested code. An IPv4 address or block in IPv6
/// notation counts as IPv4.
fn holds(network: IpAddr, prefix: u8, address: IpAddr) -> bool {
    match (network, address.to_canonical()) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            (network.to_bits() ^ address.to_bits()).checked_shr(32 - u32::from(prefix)).unwrap_or(0) == 0
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            (network.to_bits() ^ address.to_bits()).checked_shr(128 - u32::from(prefix)).unwrap_or(0) == 0
        }
        _ => false,
    }
}
