//! Keeps requests away from where an outsider must not reach through us: this machine, its networks, and the
//! metadata services of clouds.
//!
//! The name of a receiver is resolved here, and the connection goes to the addresses that were checked, so that a
//! second answer of the name server changes nothing. Whoever puts an address into the URL itself is checked before
//! the request is made. Redirects are not followed at all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Url, redirect};

/// Why a receiver is not connected to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The URL names no web server.
    #[error("`{scheme}` is neither http nor https")]
    Scheme { scheme: String },
    /// The URL has no host.
    #[error("the url has no host")]
    NoHost,
    /// Every address of the host is one that must not be reached.
    #[error(
        "{host} is {address}, which is {what}; if that is meant, put its network into `notify.allow-addresses`"
    )]
    Address { host: String, address: IpAddr, what: &'static str },
    /// The name server knows no address.
    #[error("{host} has no address")]
    Unknown { host: String },
}

/// The addresses that may be connected to: public ones, and networks that the operator named.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    allowed: Arc<[IpNet]>,
}

impl Guard {
    /// Reads the operator's list: networks such as `10.0.0.0/8`, or single addresses.
    ///
    /// # Errors
    /// The entry that is neither.
    pub(crate) fn read(entries: &[String]) -> Result<Self, String> {
        let read = |entry: &String| {
            let address = |_| entry.parse::<IpAddr>().map(IpNet::from);
            entry.parse::<IpNet>().or_else(address).map_err(|_| entry.clone())
        };
        Ok(Self { allowed: entries.iter().map(read).collect::<Result<_, _>>()? })
    }

    /// Why this address must not be connected to.
    pub(crate) fn objection(&self, address: IpAddr) -> Option<&'static str> {
        // A v4 address in v6 clothes is on the operator's list if either form is.
        let plain = address.to_canonical();
        let is_allowed = self.allowed.iter().any(|net| net.contains(&address) || net.contains(&plain));
        if is_allowed { None } else { forbidden(plain) }
    }

    /// Checks a URL as far as that is possible without a name server.
    pub(crate) fn check_url(&self, url: &Url) -> Result<(), Refusal> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refusal::Scheme { scheme: url.scheme().to_owned() });
        }
        let host = url.host_str().ok_or(Refusal::NoHost)?;
        // The parser has turned every spelling of an address, such as `0x7f.1`, into the usual one.
        let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() else {
            return Ok(());
        };
        self.pick(host, [SocketAddr::new(address, 0)]).map(drop)
    }

    /// The addresses of a host that may be connected to.
    fn pick(
        &self,
        host: &str,
        found: impl IntoIterator<Item = SocketAddr>,
    ) -> Result<Vec<SocketAddr>, Refusal> {
        let mut refused = Refusal::Unknown { host: host.to_owned() };
        let mut good = Vec::new();
        for socket in found {
            match self.objection(socket.ip()) {
                None => good.push(socket),
                Some(what) => {
                    refused = Refusal::Address { host: host.to_owned(), address: socket.ip(), what };
                }
            }
        }
        if good.is_empty() { Err(refused) } else { Ok(good) }
    }

    /// A client that connects to checked addresses only, follows no redirect and uses no proxy, which would resolve
    /// names by itself.
    pub(crate) fn client(&self, timeout: std::time::Duration) -> Result<reqwest::Client, reqwest::Error> {
        reqwest::Client::builder()
            .dns_resolver(Arc::new(Resolver(self.clone())))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(timeout)
            .connect_timeout(timeout)
            .user_agent(concat!("pinion/", env!("CARGO_PKG_VERSION")))
            .build()
    }
}

/// Resolves names and drops the addresses that must not be reached.
struct Resolver(Guard);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let good: Addrs = Box::new(guard.pick(name.as_str(), found)?.into_iter());
            Ok(good)
        })
    }
}

/// What is wrong with an address, in words that complete "which is ...".
fn forbidden(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => forbidden_v4(address),
        IpAddr::V6(address) => forbidden_v6(address),
    }
}

fn forbidden_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, ..] => Some("this machine"),
        [127, ..] => Some("this machine (loopback)"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some("in a private network"),
        [100, 64..=127, ..] => Some("in a provider's private network"),
        [169, 254, ..] => Some("link-local, where clouds keep their metadata"),
        [168, 63, 129, 16] => Some("a cloud's metadata service"),
        [192, 0, 0, _] | [192, 88, 99, _] | [198, 18..=19, ..] => Some("reserved for networks themselves"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Some("reserved for documentation"),
        [224..=239, ..] => Some("a multicast address"),
        [240..=255, ..] => Some("reserved"),
        _ => None,
    }
}

fn forbidden_v6(address: Ipv6Addr) -> Option<&'static str> {
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        forbidden_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Some("this machine (loopback)"),
        // Forms that carry a v4 address: compatible, mapped, translated, NAT64, 6to4.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => embedded(high, low),
        [0, 0, 0, 0, 0xffff, 0, high, low] => embedded(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x64, 0xff9b, 1, ..] => Some("in a private network (local NAT64)"),
        [0x2002, high, low, ..] => embedded(high, low),
        [0x2001, 0, ..] => Some("a tunnel (Teredo)"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some("reserved for documentation"),
        [0x2001, 0x2 | 0x10..=0x2f, ..] => Some("reserved for networks themselves"),
        [0xfe80..=0xfebf, ..] => Some("link-local"),
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Some("in a private network"),
        [0xff00..=0xffff, ..] => Some("a multicast address"),
        [0x2000..=0x3fff, ..] => None,
        _ => Some("reserved"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn guard(entries: &[&str]) -> Guard {
        Guard::read(&entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn allowed(entries: &[&str], url: &str) -> bool {
        guard(entries).check_url(&Url::parse(url).unwrap()).is_ok()
    }

    #[test]
    fn inner_addresses_are_refused_in_every_spelling() {
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0177.0.0.1/",
            "http://0/",
            "http://0.0.0.0/",
            "http://10.1.2.3/",
            "http://172.16.0.1/",
            "http://172.31.255.255/",
            "http://192.168.1.1/",
            "http://169.254.169.254/latest/meta-data/",
            "http://168.63.129.16/",
            "http://100.100.100.200/",
            "http://192.0.0.192/",
            "http://198.18.0.1/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://[::1]/",
            "http://[::]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://[::10.0.0.1]/",
            "http://[::ffff:0:10.0.0.1]/",
            "http://[64:ff9b::169.254.169.254]/",
            "http://[64:ff9b:1::1]/",
            "http://[2002:7f00:1::]/",
            "http://[2001:0:53aa::1]/",
            "http://[fe80::1]/",
            "http://[fd00:ec2::254]/",
            "http://[fec0::1]/",
            "http://[ff02::1]/",
            "http://[2001:db8::1]/",
            "http://[4000::1]/",
            "ftp://8.8.8.8/",
            "file:///etc/passwd",
        ] {
            assert!(!allowed(&[], url), "{url}");
        }
    }

    #[test]
    fn public_addresses_and_names_pass() {
        for url in [
            "https://example.com/hook",
            "http://8.8.8.8/",
            "http://172.15.0.1/",
            "http://172.32.0.1/",
            "http://[2606:4700::1111]/",
            "http://[64:ff9b::8.8.8.8]/",
            "http://[2002:808:808::1]/",
        ] {
            assert!(allowed(&[], url), "{url}");
        }
    }

    #[test]
    fn what_the_operator_names_passes_and_nothing_else() {
        assert!(allowed(&["127.0.0.0/8"], "http://127.0.0.1:81/"));
        assert!(allowed(&["127.0.0.1"], "http://[::ffff:127.0.0.1]/"));
        assert!(!allowed(&["127.0.0.1"], "http://127.0.0.2/"));
        assert!(allowed(&["fd00::/8"], "http://[fd12::1]/"));
        assert!(!allowed(&["10.0.0.0/8"], "http://[::1]/"));
        assert_eq!(Guard::read(&["10.0.0.0/8".into(), "nonsense".into()]).unwrap_err(), "nonsense");
    }

    #[test]
    fn of_several_addresses_the_public_ones_are_left() {
        let sockets = ["10.0.0.1:0", "8.8.8.8:0", "[::1]:0"].map(|socket| socket.parse().unwrap());
        assert_eq!(guard(&[]).pick("x", sockets).unwrap(), [sockets[1]]);
        let refusal = guard(&[]).pick("inner", [sockets[0]]).unwrap_err().to_string();
        assert!(refusal.contains("inner is 10.0.0.1") && refusal.contains("allow-addresses"), "{refusal}");
        assert_eq!(guard(&[]).pick("x", []).unwrap_err(), Refusal::Unknown { host: "x".to_owned() });
    }

    proptest! {
        #[test]
        fn a_v4_address_fares_alike_in_all_its_clothes(bits: u32) {
            let v4 = Ipv4Addr::from(bits);
            let [a, b, c, d] = v4.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let verdict = guard(&[]).objection(IpAddr::V4(v4)).is_some();
            for v6 in [
                v4.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
            ] {
                prop_assert_eq!(guard(&[]).objection(IpAddr::V6(v6)).is_some(), verdict, "{} {}", v4, v6);
            }
        }

        #[test]
        fn what_the_standard_library_calls_inner_is_refused(bits: u32) {
            let v4 = Ipv4Addr::from(bits);
            let inner = v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_multicast()
                || v4.is_broadcast() || v4.is_unspecified() || v4.is_documentation();
            prop_assert!(!inner || forbidden_v4(v4).is_some());
        }

        #[test]
        fn only_global_unicast_v6_passes(bits: u128) {
            let v6 = Ipv6Addr::from(bits);
            let first = v6.segments()[0];
            prop_assert!((0x2000..=0x3fff).contains(&first) || forbidden_v6(v6).is_some() || first <= 0x64);
        }
    }
}
