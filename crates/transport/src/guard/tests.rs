use super::*;

fn check(policy: &OutboundPolicy, url: &str) -> Result<(), OutboundError> {
    policy.check_url(&url.parse().map_err(|_| OutboundError::NotAUrl)?)
}

#[test]
fn public_hosts_are_permitted_over_https() {
    let policy = OutboundPolicy::default();
    for url in [
        "https://example.com/hook?x=1",
        "https://EXAMPLE.com:8443",
        "https://my_agent.example.com.:443/",
        "https://93.184.216.34/",
        "https://[2606:2800:220:1::1]/",
        "https://1password.com/",
    ] {
        assert_eq!(check(&policy, url), Ok(()), "{url}");
    }
}

#[test]
fn every_notation_of_a_private_address_is_refused() {
    let policy = OutboundPolicy::default();
    for address in [
        "0.0.0.0",
        "10.1.2.3",
        "100.100.100.200",
        "127.0.0.1",
        "168.63.129.16",
        "169.254.169.254",
        "172.31.255.255",
        "192.168.0.1",
        "198.19.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[::127.0.0.1]",
        "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b:1::1]",
        "[100::1]",
        "[2001::1]",
        "[2001:db8::1]",
        "[2002:7f00:1::]",
        "[3fff::1]",
        "[5f00::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[ff02::1]",
    ] {
        assert_eq!(check(&policy, &format!("https://{address}/")), Err(OutboundError::Address), "{address}");
    }
    for host in [
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0X7F.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "127.0.0.01",
        "256.0.0.1",
        "1.2.3.4.5",
        "example.0x",
        "[::1%25eth0]",
        "[::ffff:127.1]",
        "%31%32%37.0.0.1",
        "a..b",
        "example.com%00.org",
    ] {
        let refused = check(&policy, &format!("https://{host}/"));
        let is_refused = matches!(refused, Err(OutboundError::Host | OutboundError::NotAUrl));
        assert!(is_refused, "{host}: {refused:?}");
    }
    // The URL parser refuses these.
    for host in ["１２７.0.0.1", "127。0。0。1", "ⓛocalhost", "exa mple.com", ""] {
        assert_eq!(check(&policy, &format!("https://{host}/")), Err(OutboundError::NotAUrl), "{host}");
    }
}

#[test]
fn scheme_port_and_credentials_are_checked() {
    let policy = OutboundPolicy::default();
    for (url, error) in [
        ("http://example.com/", OutboundError::Scheme),
        ("ftp://example.com/", OutboundError::Scheme),
        ("example.com", OutboundError::NotAUrl),
        ("/path", OutboundError::NotAUrl),
        ("https://example.com:22/", OutboundError::Port),
        ("https://example.com:0/", OutboundError::Port),
        ("https://example.com:/", OutboundError::Port),
        ("https://example.com:99999/", OutboundError::Port),
        ("https://user@example.com/", OutboundError::Credentials),
        ("https://user:password@example.com/", OutboundError::Credentials),
        ("https://example.com:443@127.0.0.1/", OutboundError::Credentials),
    ] {
        assert_eq!(check(&policy, url), Err(error), "{url}");
    }
    let long = format!("https://example.com/{}", "a".repeat(MAX_URL));
    assert_eq!(check(&policy, &long), Err(OutboundError::NotAUrl));
}

#[test]
fn allowed_hosts_and_blocks_are_permitted() {
    let policy = OutboundPolicy::parse("Agent.internal, 10.0.0.0/8,127.0.0.1, fd00::/8,").unwrap();
    for url in [
        "http://agent.internal:9000/",
        "http://10.1.2.3:22/",
        "http://127.0.0.1:8080/",
        "http://[fd00::1]/",
        "http://[::ffff:10.0.0.1]/",
    ] {
        assert_eq!(check(&policy, url), Ok(()), "{url}");
    }
    assert_eq!(check(&policy, "https://127.0.0.2/"), Err(OutboundError::Address));
    assert_eq!(check(&policy, "http://example.com/"), Err(OutboundError::Scheme));
    let permitted = |name: &str, addresses: &[&str]| {
        let addresses = addresses.iter().map(|address| address.parse::<IpAddr>().unwrap());
        let permitted = policy.permitted(name, addresses)?;
        Ok(permitted.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(permitted("agent.INTERNAL.", &["192.168.0.1"]), Ok(vec!["192.168.0.1".to_owned()]));
    assert_eq!(permitted("a.example", &["192.168.0.1", "10.0.0.1"]), Ok(vec!["10.0.0.1".to_owned()]));
    assert_eq!(permitted("a.example", &["::1", "93.184.216.34"]), Ok(vec!["93.184.216.34".to_owned()]));
    assert_eq!(permitted("a.example", &["192.168.0.1", "::1"]), Err(OutboundError::Address));
    assert_eq!(permitted("a.example", &[]), Err(OutboundError::Address));
}

#[test]
fn invalid_allowances_are_named() {
    assert_eq!(OutboundPolicy::parse(" , "), Ok(OutboundPolicy::default()));
    for wrong in ["10.0.0.0/33", "a b", "http://a", "127.1", "*"] {
        assert_eq!(OutboundPolicy::parse(&format!("a,{wrong}")), Err(wrong.to_owned()));
    }
}
