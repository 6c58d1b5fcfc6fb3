//! The URL of an endpoint, taken apart.

use std::fmt;
use std::net::Ipv6Addr;

/// A URL, in its parts.
#[derive(Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether TLS is spoken.
    pub scheme: Scheme,
    /// Name or address, without port.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Host and port as they go into `Host`.
    pub authority: String,
    /// The path, as it is written; may be empty.
    pub path: String,
    /// The query, without `?`.
    pub query: String,
}

/// How is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In clear.
    Http,
    /// In TLS.
    Https,
}

/// What is wrong with a URL.
#[derive(Debug, PartialEq, Eq)]
pub enum UrlFault {
    /// Another scheme, or none.
    Scheme,
    /// Bytes that no URL has, or a fragment.
    Bytes,
    /// A user, and maybe a password.
    Credentials,
    /// No host, one that is no name, or an IPv6 address without brackets.
    Host,
    /// A port that is none.
    Port,
}

impl fmt::Display for UrlFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UrlFault::Scheme => "does not begin with http:// or https://",
            UrlFault::Bytes => "holds bytes that a URL may not, or a fragment",
            UrlFault::Credentials => "holds credentials",
            UrlFault::Host => "has no valid host: a name, or an address, IPv6 in brackets",
            UrlFault::Port => "has no valid port",
        })
    }
}

impl Url {
    /// Takes `text` apart.
    pub fn parse(text: &str) -> Result<Url, UrlFault> {
        let (scheme, after) = text.split_once("://").ok_or(UrlFault::Scheme)?;
        let (scheme, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (Scheme::Http, 80),
            "https" => (Scheme::Https, 443),
            _ => return Err(UrlFault::Scheme),
        };
        if !after.bytes().all(|byte| byte.is_ascii_graphic()) || after.contains('#') {
            return Err(UrlFault::Bytes);
        }
        let end = after.find(['/', '?']).unwrap_or(after.len());
        let (authority, rest) = after.split_at(end);
        if authority.contains('@') {
            return Err(UrlFault::Credentials);
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        if !is_host(host) {
            return Err(UrlFault::Host);
        }
        let port = match port {
            None => default_port,
            Some(port) => self::port(port).filter(|port| *port > 0).ok_or(UrlFault::Port)?,
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        Ok(Url {
            scheme,
            host: host.to_owned(),
            port,
            authority: authority.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
        })
    }
}

/// A port in digits alone: the parser of numbers takes a `+` before them too.
pub fn port(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A name, an IPv4 address, or an IPv6 address in brackets. What else a URL could have there would
/// make a `Host` that servers refuse with every request.
pub fn is_host(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok()),
        None => {
            let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            !host.is_empty() && host.bytes().all(is_of_name)
        }
    }
}

/// A URL, or what was written for one, as it may be shown. Whoever forgets the scheme or codes the `@`
/// has a password in it all the same, so all that stands before the last `@` is hidden, and the query.
pub fn shown(text: &str) -> String {
    let begins_with = |scheme: &&str| {
        text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    let scheme = ["http://", "https://"].iter().find(|scheme| begins_with(scheme));
    let (scheme, rest) = text.split_at(scheme.map_or(0, |scheme| scheme.len()));
    let at = rest.rfind('@').max(rest.rfind("%40"));
    let (hidden, rest) = at.map_or(("", rest), |at| ("***", &rest[at..]));
    match rest.split_once('?') {
        Some((rest, _)) => format!("{scheme}{hidden}{rest}?***"),
        None => format!("{scheme}{hidden}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let cases = [
            ("http://a", Scheme::Http, "a", 80, "a", "", ""),
            ("http://a/", Scheme::Http, "a", 80, "a", "/", ""),
            ("HTTP://a:8428/x/y/?k=v&w", Scheme::Http, "a", 8428, "a:8428", "/x/y/", "k=v&w"),
            ("http://[::1]:80?k", Scheme::Http, "[::1]", 80, "[::1]:80", "", "k"),
            ("http://[::1]", Scheme::Http, "[::1]", 80, "[::1]", "", ""),
            ("https://a/b", Scheme::Https, "a", 443, "a", "/b", ""),
        ];
        for (text, scheme, host, port, authority, path, query) in cases {
            let url = Url::parse(text).expect(text);
            assert_eq!((url.scheme, url.host.as_str(), url.port), (scheme, host, port), "{text}");
            let parts = (url.authority.as_str(), url.path.as_str(), url.query.as_str());
            assert_eq!(parts, (authority, path, query), "{text}");
        }
    }

    #[test]
    fn what_may_be_secret_in_a_url_is_not_shown_however_it_is_written() {
        let cases = [
            ("http://a:80/w", "http://a:80/w"),
            ("a:80", "a:80"),
            ("http://me:geheim@a:80/w", "http://***@a:80/w"),
            ("HTTPS://me:ge@heim@a/w", "HTTPS://***@a/w"),
            ("http://me:geheim%40a:80/", "http://***%40a:80/"),
            ("http://me:ge/he?im@a/", "http://***@a/"),
            ("me:geheim@a:80/w", "***@a:80/w"),
            ("//me:geheim@a", "***@a"),
            ("http:/me:geheim@a", "***@a"),
            ("me:geheim@http://a", "***@http://a"),
            ("http://a/w?token=geheim", "http://a/w?***"),
            ("a?token=geheim", "a?***"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn what_is_no_url_of_an_endpoint_is_refused() {
        let cases = [
            ("a:80", UrlFault::Scheme),
            ("ftp://a", UrlFault::Scheme),
            ("http://", UrlFault::Host),
            ("http://:80", UrlFault::Host),
            ("http://a:0", UrlFault::Port),
            ("http://a:x", UrlFault::Port),
            ("http://a:+80", UrlFault::Port),
            ("http://::1", UrlFault::Host),
            ("http://[::1", UrlFault::Host),
            ("http://[a]:80", UrlFault::Host),
            ("http://{a}:80", UrlFault::Host),
            ("http://a\"b", UrlFault::Host),
            ("http://a/#b", UrlFault::Bytes),
            ("http://a b", UrlFault::Bytes),
            ("http://u:p@a", UrlFault::Credentials),
        ];
        for (text, fault) in cases {
            assert_eq!(Url::parse(text), Err(fault), "{text}");
        }
    }
}
