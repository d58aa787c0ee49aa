//! The addresses that users may have a deployment call: agents and webhooks.
//!
//! A user of the deployment must not reach its own network through it. [`OutboundPolicy::check_url`] checks a URL
//! when it is stored and before it is called, and each host's resolver asks [`OutboundPolicy::permitted`] about the
//! addresses of a name at the moment of the connection. Both are needed: HTTP clients do not resolve literals.
//!
//! Source of the blocks: the IANA special-purpose address registries,
//! <https://www.iana.org/assignments/iana-ipv4-special-registry> and
//! <https://www.iana.org/assignments/iana-ipv6-special-registry>.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The ports that may be called at hosts that are not allowed by configuration.
const PORTS: [u16; 2] = [443, 8443];

/// The longest URL, in bytes.
const MAX_URL: usize = 2_048;

/// The longest name of a host, in bytes, by RFC 1035.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(a: u16, b: u16, c: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix)
}

/// IPv4 blocks that are not on the public internet, or must not be called.
const REFUSED_V4: [Ipv4Net; 19] = [
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    // Azure's virtual host, which serves its machines' metadata at a public address.
    v4(168, 63, 129, 16, 32),
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 31, 196, 0, 24),
    v4(192, 52, 193, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(192, 175, 48, 0, 24),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    // Multicast, and what is reserved above it.
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
];

/// The block of all global unicast IPv6 addresses. Loopback, local, mapped, translated and multicast ones are outside.
const GLOBAL_V6: Ipv6Net = v6(0x2000, 0, 0, 3);

/// Blocks of it that are not on the public internet, or stand for IPv4 addresses.
const REFUSED_V6: [Ipv6Net; 5] = [
    v6(0x2001, 0, 0, 23),
    v6(0x2001, 0xdb8, 0, 32),
    v6(0x2002, 0, 0, 16),
    v6(0x2620, 0x4f, 0x8000, 48),
    v6(0x3fff, 0, 0, 20),
];

/// Why a URL or an address is refused. The texts end a sentence that starts with the name of the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// It has no scheme or host, or more than 2,048 bytes.
    #[error("must be a URL of at most {MAX_URL} bytes, such as `https://example.com/path`")]
    NotAUrl,
    /// The scheme is not https, and the host is not allowed by configuration.
    #[error(
        "must begin with `https://`; this deployment allows `http://` only for hosts in ONERUN_OUTBOUND_ALLOW"
    )]
    Scheme,
    /// The URL has a user name or a password.
    #[error("must not have a user name or a password before the host")]
    Credentials,
    /// The host is neither a name nor an IP address in its usual form.
    #[error(
        "must have a host name, or an IP address in its usual form, such as `192.0.2.1` or `[2001:db8::1]`"
    )]
    Host,
    /// The port is not allowed.
    #[error(
        "must have no port, or port 443 or 8443; other ports are only for hosts in ONERUN_OUTBOUND_ALLOW"
    )]
    Port,
    /// The address is private, local or reserved, or the name has no other one.
    #[error(
        "must not have a host with a private, local or reserved address; whoever runs the deployment can allow it in \
         ONERUN_OUTBOUND_ALLOW"
    )]
    Address,
}

/// Which hosts and addresses may be called. Without allowances: https, ports 443 and 8443, and public addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboundPolicy {
    names: Vec<String>,
    blocks: Vec<IpNet>,
}

/// The host of a URL.
enum Host {
    Name(String),
    Address(IpAddr),
}

impl OutboundPolicy {
    /// Reads allowances: names of hosts, IP addresses and CIDR blocks, separated by commas. An allowed host or address
    /// may also be called over plain http and at every port.
    ///
    /// # Errors
    ///
    /// The first part that is none of them.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut policy = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            if let Ok(block) = part.parse::<IpNet>() {
                policy.blocks.push(block.trunc());
            } else {
                match host(part) {
                    Some(Host::Address(address)) => policy.blocks.push(IpNet::from(address)),
                    Some(Host::Name(name)) => policy.names.push(name),
                    None => return Err(part.to_owned()),
                }
            }
        }
        Ok(policy)
    }

    /// Checks a URL. A name is not resolved.
    pub fn check_url(&self, url: &Uri) -> Result<(), OutboundError> {
        let (Some(scheme), Some(authority)) = (url.scheme_str(), url.authority()) else {
            return Err(OutboundError::NotAUrl);
        };
        if url.to_string().len() > MAX_URL {
            return Err(OutboundError::NotAUrl);
        }
        if authority.as_str().contains('@') {
            return Err(OutboundError::Credentials);
        }
        let text = authority.host();
        let port = authority.as_str().strip_prefix(text).ok_or(OutboundError::Host)?;
        // `http` accepts a colon without a number, and numbers that are no ports.
        if !port.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
            return Err(OutboundError::Port);
        }
        let is_allowed = match host(text).ok_or(OutboundError::Host)? {
            Host::Name(name) => self.is_allowed_name(&name),
            Host::Address(address) if self.is_allowed_address(address) => true,
            Host::Address(address) if is_public(address) => false,
            Host::Address(_) => return Err(OutboundError::Address),
        };
        match scheme {
            "https" => {}
            "http" if is_allowed => {}
            _ => return Err(OutboundError::Scheme),
        }
        if is_allowed || authority.port_u16().is_none_or(|port| PORTS.contains(&port)) {
            Ok(())
        } else {
            Err(OutboundError::Port)
        }
    }

    /// The addresses that may be called, of those to which the name of a host resolves. A resolver calls it for each
    /// connection, because the addresses may have changed since the URL was checked.
    ///
    /// # Errors
    ///
    /// If none of them may be called.
    pub fn permitted(
        &self,
        name: &str,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<Vec<IpAddr>, OutboundError> {
        let name = name.to_ascii_lowercase();
        let is_allowed = self.is_allowed_name(name.strip_suffix('.').unwrap_or(&name));
        let permitted: Vec<IpAddr> = addresses
            .into_iter()
            .filter(|address| is_allowed || self.is_allowed_address(*address) || is_public(*address))
            .collect();
        if permitted.is_empty() { Err(OutboundError::Address) } else { Ok(permitted) }
    }

    fn is_allowed_name(&self, name: &str) -> bool {
        self.names.iter().any(|allowed| allowed == name)
    }

    fn is_allowed_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.blocks.iter().any(|block| block.contains(&address))
    }
}

/// Whether an address is on the public internet.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => !REFUSED_V4.iter().any(|block| block.contains(&address)),
        IpAddr::V6(address) => {
            GLOBAL_V6.contains(&address) && !REFUSED_V6.iter().any(|block| block.contains(&address))
        }
    }
}

/// Reads a host as the host of a URL. `None` if clients could read it differently: `127.1` and `0x7f000001` are names
/// for some, and addresses for others.
fn host(text: &str) -> Option<Host> {
    if let Some(literal) = text.strip_prefix('[') {
        let address = literal.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?;
        return Some(Host::Address(address.into()));
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Some(Host::Address(address.into()));
    }
    let name = text.to_ascii_lowercase();
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    // The dot at the end of a complete name.
    let labels = name.strip_suffix('.').unwrap_or(&name);
    let is_name = name.len() <= MAX_NAME && labels.split('.').all(is_label);
    let last = labels.rsplit('.').next()?;
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    (is_name && !is_number).then(|| Host::Name(labels.to_owned()))
}

#[cfg(test)]
mod tests;
