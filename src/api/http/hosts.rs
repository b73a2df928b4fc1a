//! Checks which host a request is meant for, and from which site it comes. A web page can make a browser on this
//! machine or in this network send requests here: under a host name of its own that it lets resolve to this address
//! (DNS rebinding), or from another site. The check protects people with browsers. It does not stop a program that
//! writes its own HTTP requests.

use super::reply::Problem;
use crate::api::problem::RequestFault;
use crate::api::value::quoted;
use crate::config::is_host_name;
use axum::http::header::{HOST, HeaderName, ORIGIN};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Version};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The host names of this service, in lower case. Every address and `localhost` are accepted as well, because no page
/// can have those as its own name.
#[derive(Clone, Debug, Default)]
pub struct Hosts(Arc<BTreeSet<String>>);

impl Hosts {
    /// A service with these names.
    pub fn new(names: BTreeSet<String>) -> Hosts {
        Hosts(Arc::new(names))
    }

    fn are(&self, host: &Host) -> bool {
        host.is_address || host.name == "localhost" || self.0.contains(&host.name)
    }

    /// Refuses a request without a valid host. A guarded request is also refused when it is meant for another host, or
    /// when another site's page sends it.
    ///
    /// # Errors
    /// The [`Problem`] to answer.
    pub fn check(&self, parts: &Parts, is_guarded: bool) -> Result<(), Problem> {
        let all = parts.headers.get_all(HOST);
        let said = || all.iter().map(shown).collect::<Vec<_>>().join(" and ");
        let bad = |what: String| Problem::fault(RequestFault::BadHost, what);
        let mut values = all.iter();
        let (host, second) = (values.next(), values.next());
        if second.is_some() {
            return Err(bad(format!("the Host header is {}: send one", said())));
        }
        let Some(host) = host else {
            // HTTP/1.0 does not require the header, and a request that is not guarded changes nothing.
            let may_lack = parts.version < Version::HTTP_11 && !is_guarded;
            let missing = || bad("the Host header is missing: send the address that was called".to_owned());
            return if may_lack { Ok(()) } else { Err(missing()) };
        };
        let rule = "it has to be a name or an address, with a port or without";
        let host = Host::of(host).ok_or_else(|| bad(format!("the Host header is {}, {rule}", said())))?;
        // A host in the request target takes precedence over the header.
        let target = match parts.uri.authority().map(Authority::as_str) {
            Some(text) => {
                Host::parse(text).ok_or_else(|| bad(format!("the target's host is {}, {rule}", quoted(text))))?
            }
            None => host,
        };
        if is_guarded { self.guard(&parts.headers, &target) } else { Ok(()) }
    }

    fn guard(&self, headers: &HeaderMap, target: &Host) -> Result<(), Problem> {
        if !self.are(target) {
            let detail = format!(
                "the host is {}, which is no name of this service: call its address, or have the name added to its setting \
                 'hosts'",
                target.name
            );
            return Err(Problem::fault(RequestFault::ForeignHost, detail));
        }
        let foreign = |header: &str, value: &HeaderValue| {
            let detail = format!("the {header} header is {}: another site's pages may not ask for this", shown(value));
            Err(Problem::fault(RequestFault::ForeignOrigin, detail))
        };
        let mut origins = headers.get_all(ORIGIN).iter();
        if let Some(origin) = origins.next() {
            let page = Host::of_origin(origin);
            let is_ours = page.is_some_and(|page| page == *target || (!page.is_address && self.0.contains(&page.name)));
            if !is_ours || origins.next().is_some() {
                return foreign("Origin", origin);
            }
        }
        // A browser that sends no Origin says in Sec-Fetch-Site whether the page is of the same site.
        match headers.get(SEC_FETCH_SITE).filter(|_| !headers.contains_key(ORIGIN)) {
            Some(site) if !matches!(site.as_bytes(), b"same-origin" | b"none") => foreign("Sec-Fetch-Site", site),
            _ => Ok(()),
        }
    }
}

/// A header's value in a form that is safe to show to people.
fn shown(value: &HeaderValue) -> String {
    quoted(&String::from_utf8_lossy(value.as_bytes()))
}

/// A host and its port, as a header gives them.
#[derive(PartialEq, Eq, Debug)]
struct Host {
    name: String,
    is_address: bool,
    /// `None` for the usual ports, 80 and 443.
    port: Option<u16>,
}

impl Host {
    fn of(value: &HeaderValue) -> Option<Host> {
        Host::parse(value.to_str().ok()?)
    }

    /// The page that an Origin header names.
    fn of_origin(value: &HeaderValue) -> Option<Host> {
        let (scheme, authority) = value.to_str().ok()?.split_once("://")?;
        matches!(scheme, "http" | "https").then(|| Host::parse(authority))?
    }

    fn parse(text: &str) -> Option<Host> {
        let end = if text.starts_with('[') {
            text.find(']')?.saturating_add(1)
        } else {
            text.find(':').unwrap_or(text.len())
        };
        let (name, port) = text.split_at_checked(end)?;
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            None => return None,
            Some("") => None,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
            Some(_) => return None,
        };
        let port = port.filter(|port| !matches!(port, 80 | 443));
        let v6 = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        let is_address = match v6 {
            Some(v6) => v6.parse::<Ipv6Addr>().is_ok(),
            None => name.parse::<Ipv4Addr>().is_ok(),
        };
        (is_address || is_host_name(name)).then(|| Host { name: name.to_ascii_lowercase(), is_address, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn check(version: Version, target: &str, headers: &[(&str, &str)], is_guarded: bool) -> &'static str {
        let mut request = Request::builder().version(version).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let hosts = Hosts::new(BTreeSet::from(["slots.example".to_owned()]));
        hosts.check(&parts, is_guarded).map_or_else(|problem| problem.code(), |()| "ok")
    }

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for (host, code) in [
            ("localhost", "ok"),
            ("h", "ok"),
            ("127.0.0.1:8080", "ok"),
            ("[::1]:8080", "ok"),
            ("[::1]", "ok"),
            ("h:", "ok"),
            ("", "bad_host"),
            (":80", "bad_host"),
            ("h:port", "bad_host"),
            ("h:-1", "bad_host"),
            ("h:65536", "bad_host"),
            ("h:80:80", "bad_host"),
            ("a b", "bad_host"),
            ("user@h", "bad_host"),
            ("h/path", "bad_host"),
            ("h,h", "bad_host"),
            ("::1", "bad_host"),
            ("[h]", "bad_host"),
            ("[::1", "bad_host"),
            ("[::1]x", "bad_host"),
            ("é", "bad_host"),
        ] {
            assert_eq!(check(Version::HTTP_11, "/", &[("host", host)], false), code, "{host:?}");
        }
        assert_eq!(check(Version::HTTP_11, "/", &[], false), "bad_host");
        assert_eq!(check(Version::HTTP_10, "/", &[], false), "ok");
        assert_eq!(check(Version::HTTP_10, "/", &[], true), "bad_host");
        assert_eq!(check(Version::HTTP_11, "/", &[("host", "h"), ("host", "h")], false), "bad_host");
    }

    #[test]
    fn what_is_guarded_is_for_those_who_mean_this_service() {
        for (target, headers, code) in [
            ("/", &[("host", "127.0.0.1:8080")][..], "ok"),
            ("/", &[("host", "[::1]:8080")], "ok"),
            ("/", &[("host", "LOCALHOST:8080")], "ok"),
            ("/", &[("host", "Slots.Example")], "ok"),
            ("/", &[("host", "evil.example:8080")], "foreign_host"),
            ("/", &[("host", "localhost.evil.example")], "foreign_host"),
            ("/", &[("host", "2130706433")], "foreign_host"),
            ("http://evil.example/", &[("host", "localhost")], "foreign_host"),
            ("http://localhost/", &[("host", "evil.example")], "ok"),
            ("/", &[("host", "localhost:8080"), ("origin", "http://localhost:8080")], "ok"),
            ("/", &[("host", "slots.example"), ("origin", "https://slots.example")], "ok"),
            ("/", &[("host", "10.0.0.7:8080"), ("origin", "https://slots.example")], "ok"),
            ("/", &[("host", "localhost:8080"), ("origin", "http://localhost:9090")], "foreign_origin"),
            ("/", &[("host", "localhost:8080"), ("origin", "http://127.0.0.1:8080")], "foreign_origin"),
            ("/", &[("host", "localhost:8080"), ("origin", "https://evil.example")], "foreign_origin"),
            ("/", &[("host", "localhost:8080"), ("origin", "null")], "foreign_origin"),
            ("/", &[("host", "localhost:8080"), ("origin", "")], "foreign_origin"),
            ("/", &[("host", "h.slots.example"), ("origin", "http://slots.example")], "foreign_host"),
            (
                "/",
                &[("host", "localhost"), ("origin", "http://localhost"), ("origin", "http://evil.example")],
                "foreign_origin",
            ),
            ("/", &[("host", "localhost"), ("sec-fetch-site", "cross-site")], "foreign_origin"),
            ("/", &[("host", "localhost"), ("sec-fetch-site", "same-site")], "foreign_origin"),
            ("/", &[("host", "localhost"), ("sec-fetch-site", "same-origin")], "ok"),
            ("/", &[("host", "localhost"), ("sec-fetch-site", "none")], "ok"),
        ] {
            assert_eq!(check(Version::HTTP_11, target, headers, true), code, "{target} {headers:?}");
        }
        assert_eq!(check(Version::HTTP_11, "/", &[("host", "evil.example")], false), "ok");
    }
}
