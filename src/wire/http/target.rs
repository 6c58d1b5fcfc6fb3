//! Path and query: what is for us is read and cut out, all else stays byte for byte.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// The parameters that are for us begin so.
const OURS: &[u8] = b"highlander_";

/// What a target says to us. Where a parameter stands twice, the first counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters<'t> {
    /// `highlander_weight`, as text.
    pub weight: Option<Cow<'t, [u8]>>,
    /// `highlander_group`.
    pub group: Option<Cow<'t, [u8]>>,
    /// `highlander_source`.
    pub source: Option<Cow<'t, [u8]>>,
}

impl<'t> Parameters<'t> {
    /// Reads them from the query of `target`.
    pub fn read(target: &'t [u8]) -> Parameters<'t> {
        let mut read = Parameters::default();
        for pair in query(target).split(|byte| *byte == b'&').filter(|pair| is_ours(pair)) {
            let (name, value) = split_once(pair, b'=').unwrap_or((pair, b""));
            let place = match &name[OURS.len()..] {
                b"weight" => &mut read.weight,
                b"group" => &mut read.group,
                b"source" => &mut read.source,
                _ => continue,
            };
            place.get_or_insert_with(|| decode(value));
        }
        read
    }
}

/// Where a request goes at the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its path with this before it; no slash at its end.
    Under(Vec<u8>),
    /// This path, whatever the request's was.
    At(Vec<u8>),
}

impl Default for Place {
    fn default() -> Self {
        Place::Under(Vec::new())
    }
}

/// What becomes of every target on its way to the endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// What becomes of the path.
    pub place: Place,
    /// Is joined to the query with `&`; without `?`.
    pub query: Vec<u8>,
}

impl Mount {
    /// By how many bytes a target may get longer.
    pub fn added_bytes_max(&self) -> usize {
        let (Place::Under(path) | Place::At(path)) = &self.place;
        path.len() + self.query.len() + b"?".len()
    }

    /// Whether the path of `target` can be told from what becomes of it.
    pub fn keeps(&self, target: &[u8]) -> bool {
        match &self.place {
            Place::Under(_) => true,
            Place::At(whole) => path(target) == whole,
        }
    }

    /// The target without what is for us, of what this has made of one that it [keeps](Mount::keeps).
    /// `None`: it is not from here.
    pub fn taken_back(&self, mounted: &[u8]) -> Option<Vec<u8>> {
        let prefix: &[u8] = match &self.place {
            Place::Under(prefix) => prefix,
            Place::At(_) => b"",
        };
        let path = path(mounted);
        let joined = mounted[path.len()..].strip_prefix(b"?");
        let query = match (joined, &self.query[..]) {
            (query, []) => query,
            (query, own) => match query?.strip_prefix(own)? {
                [] => None,
                rest => Some(rest.strip_prefix(b"&")?),
            },
        };
        let mut target = path.strip_prefix(prefix)?.to_vec();
        if let Some(query) = query {
            target.push(b'?');
            target.extend_from_slice(query);
        }
        Some(target)
    }

    /// Appends `target` to `out`: at its place, without what is for us.
    pub fn append(&self, target: &[u8], out: &mut Vec<u8>) {
        let path = path(target);
        match &self.place {
            Place::Under(prefix) => {
                out.extend_from_slice(prefix);
                out.extend_from_slice(path);
            }
            Place::At(whole) => out.extend_from_slice(whole),
        }
        let mut separator = b'?';
        let mut join = |part: &[u8], out: &mut Vec<u8>| {
            out.push(std::mem::replace(&mut separator, b'&'));
            out.extend_from_slice(part);
        };
        if !self.query.is_empty() {
            join(&self.query, out);
        }
        if path.len() == target.len() {
            return;
        }
        let query = query(target);
        if memchr::memmem::find(query, OURS).is_none() {
            // Nothing of ours in it: as it is, even if it is empty.
            return join(query, out);
        }
        for pair in query.split(|byte| *byte == b'&').filter(|pair| !is_ours(pair)) {
            join(pair, out);
        }
    }
}

/// All parameters of the query of `target`, in order; without a `=` the value is empty.
pub fn pairs(target: &[u8]) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    let pairs = query(target).split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = split_once(pair, b'=').unwrap_or((pair, b""));
        (decode(name), decode(value))
    })
}

fn path(target: &[u8]) -> &[u8] {
    &target[..memchr::memchr(b'?', target).unwrap_or(target.len())]
}

fn query(target: &[u8]) -> &[u8] {
    memchr::memchr(b'?', target).map_or(b"", |at| &target[at + 1..])
}

fn is_ours(pair: &[u8]) -> bool {
    pair.starts_with(OURS)
}

fn split_once(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    memchr::memchr(at, bytes).map(|found| (&bytes[..found], &bytes[found + 1..]))
}

fn decode(value: &[u8]) -> Cow<'_, [u8]> {
    match memchr::memchr(b'+', value) {
        None => percent_decode(value).into(),
        Some(_) => {
            let spaced: Vec<u8> =
                value.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
            Cow::Owned(percent_decode(&spaced).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parameters_are_read_in_order() {
        let read = |target: &'static str| -> Vec<(String, String)> {
            let text = |it: Cow<'_, [u8]>| String::from_utf8_lossy(&it).into_owned();
            pairs(target.as_bytes()).map(|(name, value)| (text(name), text(value))).collect()
        };
        let expected = [("a", "b c"), ("%", "x"), ("n", ""), ("a", "")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read("/p?a=b+c&%25=x&&n&a="), expected);
        assert!(read("/p").is_empty() && read("/p?").is_empty());
    }

    fn mounted(prefix: &str, query: &str, target: &str) -> String {
        placed(Place::Under(prefix.into()), query, target)
    }

    fn placed(place: Place, query: &str, target: &str) -> String {
        let mount = Mount { place, query: query.into() };
        let mut out = Vec::new();
        mount.append(target.as_bytes(), &mut out);
        String::from_utf8(out).expect("text stays text")
    }

    #[test]
    fn parameters_are_read_and_the_first_of_two_counts() {
        let target = b"/w?a=b&highlander_weight=5&highlander_group=x%20y+z&highlander_weight=7\
                       &highlander_source=&highlander_unknown=1";
        let read = Parameters::read(target);
        assert_eq!(read.weight.as_deref(), Some(&b"5"[..]));
        assert_eq!(read.group.as_deref(), Some(&b"x y z"[..]));
        assert_eq!(read.source.as_deref(), Some(&b""[..]));
        assert_eq!(Parameters::read(b"/highlander_weight=5"), Parameters::default());
    }

    #[test]
    fn ours_is_cut_out_and_the_rest_stays_byte_for_byte() {
        let cases = [
            ("/w", "/w"),
            ("/w?", "/w?"),
            ("/w?a", "/w?a"),
            ("/w?b=2&a=1&b=%7e+", "/w?b=2&a=1&b=%7e+"),
            ("/w?highlander_weight=5", "/w"),
            ("/w?highlander_weight", "/w"),
            ("/w?a=1&highlander_weight=5&b=2", "/w?a=1&b=2"),
            ("/w?highlander_weight=5&&a=1&", "/w?&a=1&"),
            ("/w?xhighlander_weight=5", "/w?xhighlander_weight=5"),
            ("/w?a=highlander_weight&highlander_x=1", "/w?a=highlander_weight"),
            ("/highlander_weight?a=1", "/highlander_weight?a=1"),
            ("/w?a=1?highlander_weight=5", "/w?a=1?highlander_weight=5"),
        ];
        for (target, expected) in cases {
            assert_eq!(mounted("", "", target), expected, "{target}");
        }
    }

    #[test]
    fn the_endpoints_path_is_a_prefix_and_its_query_is_joined() {
        assert_eq!(mounted("/x", "", "/w?a=1"), "/x/w?a=1");
        assert_eq!(mounted("", "k=v", "/w?a=1"), "/w?k=v&a=1");
        assert_eq!(mounted("/x", "k=v", "/w"), "/x/w?k=v");
        assert_eq!(mounted("/x", "k=v", "/w?highlander_weight=1"), "/x/w?k=v");
    }
    #[test]
    fn an_endpoint_with_a_path_of_its_own_gets_every_request_there() {
        let at = |query, target| placed(Place::At(b"/push".to_vec()), query, target);
        assert_eq!(at("", "/api/v1/write?a=1&highlander_weight=1"), "/push?a=1");
        assert_eq!(at("k=v", "/?"), "/push?k=v&");
        assert_eq!(at("k=v", "/w"), "/push?k=v");
    }
}
