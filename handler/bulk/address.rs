//! Which addresses a connection to a host that a caller named may go to.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far such connections reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Addresses of the internet.
    Public,
    /// Those, and the private ranges: a storage account behind a private endpoint.
    Private,
}

impl Reach {
    pub fn admits(self, address: IpAddr) -> bool {
        // An IPv4 address may hide in an IPv6 one: then it is what counts.
        let address = match address {
            IpAddr::V6(v6) => embedded(v6).map_or(address, IpAddr::V4),
            IpAddr::V4(_) => address,
        };
        match kind(address) {
            Kind::Public => true,
            Kind::Private => self == Reach::Private,
            Kind::Never => false,
        }
    }
}

enum Kind {
    Public,
    /// RFC 1918 and RFC 4193.
    Private,
    /// This machine, its link, the platform's own services, and what no host has.
    Never,
}

/// Serves the platform's agent, DNS and health probes on every Azure host, under a public address.
const WIRE_SERVER: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(v4) if v4.is_private() => Kind::Private,
        IpAddr::V4(v4) if v4 == WIRE_SERVER || is_special(v4) => Kind::Never,
        IpAddr::V4(_) => Kind::Public,
        IpAddr::V6(v6) if v6.segments()[0] & 0xfe00 == 0xfc00 => match v6 {
            // Where another cloud keeps its metadata service.
            v6 if v6.segments()[..3] == [0xfd00, 0x0ec2, 0] => Kind::Never,
            _ => Kind::Private,
        },
        // Global unicast is 2000::/3; of it, documentation, benchmarking and Teredo are none.
        IpAddr::V6(v6) => match v6.segments() {
            [0x2001, 0..=0x1ff, ..] | [0x2001, 0x0db8, ..] | [0x3fff, 0..=0xfff, ..] => Kind::Never,
            [0x2000..=0x3fff, ..] => Kind::Public,
            _ => Kind::Never,
        },
    }
}

/// The special-purpose blocks of the IANA registry that are not private.
fn is_special(v4: Ipv4Addr) -> bool {
    match v4.octets() {
        [0 | 127, ..] | [224..=255, ..] | [169, 254, ..] => true,
        [100, second, ..] => (64..128).contains(&second),
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => true,
        _ => false,
    }
}

/// The IPv4 address within an IPv6 one: mapped, compatible, translated (NAT64) or tunnelled (6to4).
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let halves = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match v6.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => Some(halves(high, low)),
        [0x0064, 0xff9b, 0, 0, 0, 0, high, low] => Some(halves(high, low)),
        [0x2002, high, low, ..] => Some(halves(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(text: &str) -> [bool; 2] {
        let address = text.parse().unwrap();
        [Reach::Public.admits(address), Reach::Private.admits(address)]
    }

    #[test]
    fn public_addresses_are_admitted() {
        for text in
            ["20.60.1.2", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2603:1030::1", "64:ff9b::1.1.1.1", "::ffff:8.8.8.8"]
        {
            assert_eq!(admitted(text), [true, true], "{text}");
        }
    }

    #[test]
    fn private_ones_only_where_they_are_meant() {
        for text in
            ["10.0.0.4", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fd12::1", "::ffff:10.0.0.4", "2002:a00:4::1"]
        {
            assert_eq!(admitted(text), [false, true], "{text}");
        }
    }

    #[test]
    fn this_machine_its_link_and_the_platform_never() {
        for text in [
            "127.0.0.1",
            "127.1.2.3",
            "0.0.0.0",
            "169.254.169.254",
            "168.63.129.16",
            "100.64.0.1",
            "192.0.0.192",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::7f00:1",
            "64:ff9b::169.254.169.254",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001:0:1::1",
            "fec0::1",
            "100::1",
            "::ffff:0:127.0.0.1",
        ] {
            assert_eq!(admitted(text), [false, false], "{text}");
        }
    }
}
