use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use url::{Host, Url};

/// Networks of IPv4 that are not the public Internet, by IANA's registry of special-purpose addresses
/// and that of multicast addresses.
const NOT_PUBLIC_V4: [Ipv4Net; 16] = [
    v4([0, 0, 0, 0], 8),          // this network
    v4([10, 0, 0, 0], 8),         // private
    v4([100, 64, 0, 0], 10),      // carrier-grade NAT
    v4([127, 0, 0, 0], 8),        // loopback
    v4([169, 254, 0, 0], 16),     // link-local, and the metadata of clouds
    v4([172, 16, 0, 0], 12),      // private
    v4([192, 0, 0, 0], 24),       // protocol assignments
    v4([192, 0, 2, 0], 24),       // documentation
    v4([192, 88, 99, 0], 24),     // relays of 6to4
    v4([192, 168, 0, 0], 16),     // private
    v4([198, 18, 0, 0], 15),      // benchmarks
    v4([198, 51, 100, 0], 24),    // documentation
    v4([203, 0, 113, 0], 24),     // documentation
    v4([224, 0, 0, 0], 4),        // multicast
    v4([240, 0, 0, 0], 4),        // reserved
    v4([255, 255, 255, 255], 32), // broadcast
];
/// All that is public of IPv6 is in here: what maps or translates IPv4, unique local, link-local and
/// multicast addresses are outside.
const PUBLIC_V6: Ipv6Net = v6([0x2000, 0], 3);
/// Except these.
const NOT_PUBLIC_V6: [Ipv6Net; 4] = [
    v6([0x2001, 0], 23),     // protocol assignments, Teredo among them
    v6([0x2001, 0xdb8], 32), // documentation
    v6([0x2002, 0], 16),     // 6to4, which holds an address of IPv4
    v6([0x3fff, 0], 20),     // documentation
];

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6([a, b]: [u16; 2], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), prefix)
}

/// Which addresses may be called, so that nobody reaches from inside what it could not from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Public ones, by https.
    Public,
    /// Any, by http, too: for a machine on which nothing else is.
    Any,
}

/// A URL or an address that is not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not https.
    #[error("the URL is not https")]
    Scheme,
    /// It has a user, or no host.
    #[error("the URL names a user, or no host")]
    Authority,
    /// Not on the public Internet.
    #[error("{0} is not public")]
    Address(IpAddr),
    /// The name has no address.
    #[error("the name has no address")]
    Nowhere,
}

impl Addresses {
    /// Holds a URL against the rule, its host too when that is an address. A name's addresses are
    /// left to [`Addresses::allow`], wherever it is resolved.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn allow_url(self, url: &Url) -> Result<(), Refused> {
        match (url.scheme(), self) {
            ("https", _) | ("http", Self::Any) => {}
            _ => return Err(Refused::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::Authority);
        }
        match url.host() {
            Some(Host::Domain(_)) => Ok(()),
            Some(Host::Ipv4(address)) => self.allow(&[address.into()]),
            Some(Host::Ipv6(address)) => self.allow(&[address.into()]),
            None => Err(Refused::Authority),
        }
    }

    /// Holds all addresses of a name against the rule: one that is wrong refuses them all.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn allow(self, addresses: &[IpAddr]) -> Result<(), Refused> {
        if addresses.is_empty() {
            return Err(Refused::Nowhere);
        }
        let wrong = addresses
            .iter()
            .find(|it| self == Self::Public && !is_public(**it));
        wrong.map_or(Ok(()), |address| Err(Refused::Address(*address)))
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !NOT_PUBLIC_V4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => {
            PUBLIC_V6.contains(&address) && !NOT_PUBLIC_V6.iter().any(|net| net.contains(&address))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(url: &str) -> Result<(), Refused> {
        Addresses::Public.allow_url(&Url::parse(url).unwrap())
    }

    #[test]
    fn addresses_that_are_not_public_are_refused() {
        for host in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            // The same in other writings.
            "2130706433",
            "0x7f000001",
            "017700000001",
            "127.1",
            "127.0.1",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "0",
            "127.0.0.1.",
            "%31%32%37.0.0.1",
            "①②⑦.0.0.1",
            // IPv6.
            "[::]",
            "[::1]",
            "[::127.0.0.1]",
            "[::8.8.8.8]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::ffff:8.8.8.8]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b:1::a00:1]",
            "[100::1]",
            "[2001::1]",
            "[2001:0:7f00:1::]",
            "[2001:2::1]",
            "[2001:10::1]",
            "[2001:db8::1]",
            "[2002:7f00:1::]",
            "[2002:c0a8:101::1]",
            "[3fff::1]",
            "[5f00::1]",
            "[fc00::1]",
            "[fd12:3456:789a::1]",
            "[fe80::1]",
            "[fec0::1]",
            "[ff02::1]",
        ] {
            let refused = public(&format!("https://{host}/hooks"));
            assert!(
                matches!(refused, Err(Refused::Address(_))),
                "{host}: {refused:?}"
            );
        }
    }

    #[test]
    fn public_addresses_are_allowed() {
        for host in [
            "8.8.8.8",
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "[2606:4700:4700::1111]",
            "[2001:200::1]",
            "[2001:4860:4860::8888]",
            "[2400::1]",
            "shop.example",
        ] {
            assert_eq!(public(&format!("https://{host}/hooks")), Ok(()), "{host}");
        }
    }

    #[test]
    fn url_is_https_without_a_user() {
        for (url, refused) in [
            ("http://shop.example/", Refused::Scheme),
            ("ftp://shop.example/", Refused::Scheme),
            ("file:///etc/passwd", Refused::Scheme),
            ("data:text/plain,x", Refused::Scheme),
            ("https://user@shop.example/", Refused::Authority),
            ("https://:secret@shop.example/", Refused::Authority),
            ("https://shop.example@127.0.0.1/", Refused::Authority),
        ] {
            assert_eq!(public(url), Err(refused), "{url}");
        }
    }

    #[test]
    fn one_address_of_a_name_that_is_not_public_refuses_them_all() {
        let [public, private] = ["8.8.8.8", "10.0.0.1"].map(|it| it.parse::<IpAddr>().unwrap());
        assert_eq!(Addresses::Public.allow(&[public]), Ok(()));
        let refused = Err(Refused::Address(private));
        assert_eq!(Addresses::Public.allow(&[public, private]), refused);
        assert_eq!(Addresses::Public.allow(&[]), Err(Refused::Nowhere));
        assert_eq!(Addresses::Any.allow(&[private]), Ok(()));
    }

    #[test]
    fn any_address_may_be_called_by_http_where_that_is_said() {
        for url in [
            "http://127.0.0.1:8080/",
            "https://[::1]/",
            "http://localhost/",
        ] {
            assert_eq!(Addresses::Any.allow_url(&Url::parse(url).unwrap()), Ok(()));
        }
        let ftp = Url::parse("ftp://127.0.0.1/").unwrap();
        assert_eq!(Addresses::Any.allow_url(&ftp), Err(Refused::Scheme));
    }
}
