//! What nodes say to each other in one datagram, and how it is written: a tag, fixed fields, numbers in
//! network order, lists with their length in front.

use std::net::SocketAddr;

use bytes::{Buf, BufMut};

use crate::base::limits::NAME_BYTES_MAX;
use crate::base::time::{Millis, UnixMillis};
use crate::logic::cluster::codec::{CodecError, address, byte, node, put_address, put_node};
use crate::logic::cluster::lease::Round;
use crate::logic::cluster::node::Node;
use crate::logic::cluster::standing::{GroupKey, Sitting, Standing, Term};
use crate::logic::source::{GroupName, Payload, SourceName, Weight};
use crate::logic::view::Epoch;
use crate::wire::cluster::seal::PAYLOAD_BYTES_MAX;

/// One message from node to node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Who is alive, in SWIM's words.
    Membership(Vec<u8>),
    /// How groups stand.
    Standings(Vec<Standing>),
    /// How far groups that the sender leads have come.
    Marks(Node, Vec<(GroupKey, UnixMillis)>),
    /// There is a group without a leader: the receiver is the first to lead it.
    Wanted(GroupName),
    /// How do the groups after this one stand?
    Ask(Node, Option<GroupKey>),
    /// The answer, of the sender: from which group on it was asked, how some stand, and whether there
    /// are more behind the last of them.
    Views(Node, Option<GroupKey>, Vec<Standing>, More),
    /// The sender asks to be promised these groups, of which it knows up to these terms.
    LeaseAsk(Node, Round, Vec<(GroupKey, Term)>),
    /// These are promised.
    LeaseGiven(Node, Round, Vec<GroupKey>),
    /// The sender gives back what it was promised up to this question.
    LeaseBack(Node, Round, Vec<GroupKey>),
    /// The sender goes: the node there is to lead this.
    Give(SocketAddr, Standing),
    /// The receiver has been here in this life, which comes after the one that it speaks in.
    Outlived(Node),
}

/// Whether a list goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// It does.
    Yes,
    /// This is the end of it.
    No,
}

/// The most that stands beside a membership message.
pub const TAG_BYTES: usize = 1;
/// Keys, each with a mark or a term, that fit into one notice beside a node and a round.
pub const KEYS_MAX: usize = 64;
/// See [`count`].
const COUNT_END: u64 = 1 << 62;
/// What stands beside a list of standings at most.
const LIST_HEAD_BYTES: usize = 64;

impl Notice {
    /// The bytes of it, [`PAYLOAD_BYTES_MAX`] at most: whoever makes a list sees to that, with
    /// [`take_fitting`] and [`KEYS_MAX`].
    pub fn encode(&self) -> Vec<u8> {
        let mut buf = Vec::with_capacity(128);
        match self {
            Notice::Membership(bytes) => {
                buf.put_u8(0);
                buf.put_slice(bytes);
            }
            Notice::Standings(standings) => {
                buf.put_u8(1);
                put_all(standings, &mut buf);
            }
            Notice::Marks(from, marks) => {
                buf.put_u8(2);
                put_node(from, &mut buf);
                buf.put_u16(length(marks.len()));
                for (key, mark) in marks {
                    buf.put_u64(key.0);
                    buf.put_i64(mark.0);
                }
            }
            Notice::Wanted(group) => {
                buf.put_u8(3);
                put_group(group, &mut buf);
            }
            Notice::Ask(from, after) => {
                buf.put_u8(4);
                put_node(from, &mut buf);
                put_some(after.map(|key| key.0), &mut buf);
            }
            Notice::Views(from, after, standings, more) => {
                buf.put_u8(5);
                put_node(from, &mut buf);
                put_some(after.map(|key| key.0), &mut buf);
                buf.put_u8(u8::from(*more == More::Yes));
                put_all(standings, &mut buf);
            }
            Notice::LeaseAsk(from, round, wanted) => {
                buf.put_u8(6);
                put_node(from, &mut buf);
                buf.put_u64(round.0);
                buf.put_u16(length(wanted.len()));
                for (key, term) in wanted {
                    buf.put_u64(key.0);
                    buf.put_u64(term.0);
                }
            }
            Notice::LeaseGiven(from, round, keys) => put_lease(7, from, *round, keys, &mut buf),
            Notice::LeaseBack(from, round, keys) => put_lease(8, from, *round, keys, &mut buf),
            Notice::Give(to, standing) => {
                buf.put_u8(9);
                put_address(*to, &mut buf);
                put_standing(standing, &mut buf);
            }
            Notice::Outlived(life) => {
                buf.put_u8(10);
                put_node(life, &mut buf);
            }
        }
        buf
    }

    /// Reads what [`Notice::encode`] has written, to its last byte.
    pub fn decode(bytes: &[u8]) -> Result<Notice, CodecError> {
        let mut buf = bytes;
        let notice = match byte(&mut buf)? {
            0 => return Ok(Notice::Membership(buf.to_vec())),
            1 => Notice::Standings(all(&mut buf)?),
            2 => {
                let from = node(&mut buf)?;
                let marks = list(&mut buf, |buf| {
                    Ok((GroupKey(word(buf)?), UnixMillis(word(buf)? as i64)))
                })?;
                Notice::Marks(from, marks)
            }
            3 => Notice::Wanted(group(&mut buf)?),
            4 => Notice::Ask(node(&mut buf)?, some(&mut buf)?.map(GroupKey)),
            5 => {
                let (from, after) = (node(&mut buf)?, some(&mut buf)?.map(GroupKey));
                let more = match byte(&mut buf)? {
                    0 => More::No,
                    1 => More::Yes,
                    _ => return Err(CodecError::Unknown),
                };
                Notice::Views(from, after, all(&mut buf)?, more)
            }
            6 => {
                let (from, round) = (node(&mut buf)?, Round(word(&mut buf)?));
                let wanted = list(&mut buf, |buf| Ok((GroupKey(word(buf)?), Term(word(buf)?))))?;
                Notice::LeaseAsk(from, round, wanted)
            }
            7 => {
                lease(&mut buf).map(|(from, round, keys)| Notice::LeaseGiven(from, round, keys))?
            }
            8 => lease(&mut buf).map(|(from, round, keys)| Notice::LeaseBack(from, round, keys))?,
            9 => Notice::Give(address(&mut buf)?, standing(&mut buf)?),
            10 => Notice::Outlived(node(&mut buf)?),
            _ => return Err(CodecError::Unknown),
        };
        if buf.is_empty() { Ok(notice) } else { Err(CodecError::Unknown) }
    }
}

/// Takes as many standings from the front as one notice has room for: one at least.
pub fn take_fitting(standings: &mut Vec<Standing>) -> Vec<Standing> {
    let mut bytes = LIST_HEAD_BYTES;
    let mut one = Vec::new();
    let mut count = 0;
    for standing in standings.iter() {
        one.clear();
        put_standing(standing, &mut one);
        bytes += one.len();
        if count > 0 && bytes > PAYLOAD_BYTES_MAX {
            break;
        }
        count += 1;
    }
    let rest = standings.split_off(count);
    std::mem::replace(standings, rest)
}

fn length(length: usize) -> u16 {
    u16::try_from(length).expect("lists are bounded")
}

fn put_lease(tag: u8, from: &Node, round: Round, keys: &[GroupKey], buf: &mut Vec<u8>) {
    buf.put_u8(tag);
    put_node(from, buf);
    buf.put_u64(round.0);
    buf.put_u16(length(keys.len()));
    keys.iter().for_each(|key| buf.put_u64(key.0));
}

fn lease(buf: &mut &[u8]) -> Result<(Node, Round, Vec<GroupKey>), CodecError> {
    let (from, round) = (node(buf)?, Round(word(buf)?));
    Ok((from, round, list(buf, |buf| word(buf).map(GroupKey))?))
}

fn put_all(standings: &[Standing], buf: &mut Vec<u8>) {
    buf.put_u16(length(standings.len()));
    standings.iter().for_each(|standing| put_standing(standing, buf));
}

fn all(buf: &mut &[u8]) -> Result<Vec<Standing>, CodecError> {
    list(buf, standing)
}

/// Nothing is set aside for what a length only claims.
fn list<T>(
    buf: &mut &[u8],
    item: impl Fn(&mut &[u8]) -> Result<T, CodecError>,
) -> Result<Vec<T>, CodecError> {
    let length = buf.try_get_u16().map_err(|_| CodecError::Short)?;
    let mut items = Vec::new();
    for _ in 0..length {
        items.push(item(buf)?);
    }
    Ok(items)
}

fn put_standing(standing: &Standing, buf: &mut Vec<u8>) {
    put_group(&standing.group, buf);
    buf.put_u64(standing.term.0);
    put_node(&standing.leader, buf);
    put_address(standing.listen, buf);
    buf.put_u64(standing.epoch.0);
    put_some(standing.low.map(|low| low.0 as u64), buf);
    match &standing.sitting {
        None => buf.put_u8(0),
        Some(sitting) => {
            buf.put_u8(1);
            put_source(&sitting.name, buf);
            buf.put_u64(sitting.weight.0);
            put_address(sitting.address, buf);
            buf.put_u8(u8::from(sitting.payload == Payload::RemoteWrite));
            buf.put_u64(sitting.patience.0);
        }
    }
}

fn standing(buf: &mut &[u8]) -> Result<Standing, CodecError> {
    Ok(Standing {
        group: group(buf)?,
        term: Term(count(buf)?),
        leader: node(buf)?,
        listen: address(buf)?,
        epoch: Epoch(count(buf)?),
        low: some(buf)?.map(|low| UnixMillis(low as i64)),
        sitting: match byte(buf)? {
            0 => None,
            1 => Some(Sitting {
                name: source(buf)?,
                weight: Weight(word(buf)?),
                address: address(buf)?,
                payload: match byte(buf)? {
                    0 => Payload::Other,
                    1 => Payload::RemoteWrite,
                    _ => return Err(CodecError::Unknown),
                },
                patience: Millis(word(buf)?),
            }),
            _ => return Err(CodecError::Unknown),
        },
    })
}

/// Appends a group's name.
pub fn put_group(group: &GroupName, buf: &mut Vec<u8>) {
    put_name(&group.tenant, buf);
    put_name(&group.group, buf);
}

/// Reads a group's name.
pub fn group(buf: &mut &[u8]) -> Result<GroupName, CodecError> {
    Ok(GroupName { tenant: name(buf)?, group: name(buf)? })
}

/// Appends a source's name.
pub fn put_source(source: &SourceName, buf: &mut Vec<u8>) {
    match source {
        SourceName::Named(name) => {
            buf.put_u8(0);
            put_name(name, buf);
        }
        SourceName::Address(ip, weight) => {
            buf.put_u8(1);
            put_address(SocketAddr::new(*ip, 0), buf);
            buf.put_u64(weight.0);
        }
        SourceName::Connection(address, number) => {
            buf.put_u8(2);
            put_address(*address, buf);
            buf.put_u64(*number);
        }
    }
}

/// Reads a source's name.
pub fn source(buf: &mut &[u8]) -> Result<SourceName, CodecError> {
    Ok(match byte(buf)? {
        0 => SourceName::Named(name(buf)?),
        1 => match address(buf)? {
            address if address.port() == 0 => SourceName::Address(address.ip(), Weight(word(buf)?)),
            _ => return Err(CodecError::Unknown),
        },
        2 => SourceName::Connection(address(buf)?, word(buf)?),
        _ => return Err(CodecError::Unknown),
    })
}

/// Names are bounded where they come in, by [`NAME_BYTES_MAX`].
fn put_name(name: &[u8], buf: &mut Vec<u8>) {
    buf.put_u16(length(name.len()));
    buf.put_slice(name);
}

fn name(buf: &mut &[u8]) -> Result<Box<[u8]>, CodecError> {
    let length = usize::from(buf.try_get_u16().map_err(|_| CodecError::Short)?);
    if length > NAME_BYTES_MAX {
        return Err(CodecError::Unknown);
    }
    let (name, rest) = buf.split_at_checked(length).ok_or(CodecError::Short)?;
    *buf = rest;
    Ok(name.into())
}

fn put_some(number: Option<u64>, buf: &mut Vec<u8>) {
    buf.put_u8(u8::from(number.is_some()));
    number.into_iter().for_each(|number| buf.put_u64(number));
}

fn some(buf: &mut &[u8]) -> Result<Option<u64>, CodecError> {
    match byte(buf)? {
        0 => Ok(None),
        1 => word(buf).map(Some),
        _ => Err(CodecError::Unknown),
    }
}

/// Reads what counts up from nothing: far more than anything has ever been counted is refused, so that
/// it can still be counted on.
fn count(buf: &mut &[u8]) -> Result<u64, CodecError> {
    word(buf).and_then(|count| if count < COUNT_END { Ok(count) } else { Err(CodecError::Unknown) })
}

/// Reads eight bytes.
pub fn word(buf: &mut &[u8]) -> Result<u64, CodecError> {
    buf.try_get_u64().map_err(|_| CodecError::Short)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(byte: u8, length: usize) -> GroupName {
        GroupName { tenant: vec![byte; length].into(), group: vec![!byte; length].into() }
    }

    fn standing(name_bytes: usize, name: Option<SourceName>) -> Standing {
        let address = SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, 7], 6746));
        Standing {
            group: named(7, name_bytes),
            term: Term(COUNT_END - 1),
            leader: Node { address, generation: 5 },
            listen: SocketAddr::from(([10, 0, 0, 1], 9091)),
            epoch: Epoch(3),
            low: name.as_ref().map(|_| UnixMillis(-1)),
            sitting: name.map(|name| Sitting {
                name,
                weight: Weight(9),
                address,
                payload: Payload::RemoteWrite,
                patience: Millis(90_000),
            }),
        }
    }

    fn notices() -> Vec<Notice> {
        let node = Node { address: SocketAddr::from(([10, 0, 0, 1], 6746)), generation: 1 << 40 };
        let address = SocketAddr::from(([10, 0, 0, 9], 4));
        let standings = vec![
            standing(0, None),
            standing(3, Some(SourceName::Named((*b"a").into()))),
            standing(3, Some(SourceName::Address(address.ip(), Weight(2)))),
            standing(3, Some(SourceName::Connection(address, 2))),
        ];
        let keys = vec![GroupKey(1), GroupKey(u64::MAX)];
        vec![
            Notice::Membership(vec![1, 2, 3]),
            Notice::Standings(standings.clone()),
            Notice::Marks(node, vec![(GroupKey(1), UnixMillis(-7))]),
            Notice::Wanted(named(1, NAME_BYTES_MAX)),
            Notice::Ask(node, None),
            Notice::Ask(node, Some(GroupKey(5))),
            Notice::Views(node, Some(GroupKey(5)), standings.clone(), More::Yes),
            Notice::Views(node, None, Vec::new(), More::No),
            Notice::LeaseAsk(node, Round(7), vec![(GroupKey(1), Term(2)), (GroupKey(3), Term(0))]),
            Notice::LeaseGiven(node, Round(7), Vec::new()),
            Notice::LeaseBack(node, Round(7), keys),
            Notice::Give(node.address, standings[1].clone()),
            Notice::Outlived(standings[0].leader),
        ]
    }

    #[test]
    fn notices_are_read_as_they_were_written_and_not_if_they_are_cut_or_longer() {
        for notice in notices() {
            let bytes = notice.encode();
            assert_eq!(Notice::decode(&bytes), Ok(notice.clone()));
            if matches!(notice, Notice::Membership(_)) {
                continue;
            }
            for length in 0..bytes.len() {
                assert!(Notice::decode(&bytes[..length]).is_err(), "{notice:?} at {length}");
            }
            assert!(Notice::decode(&[&bytes[..], &[0]].concat()).is_err());
        }
    }

    #[test]
    fn lists_fit_into_a_datagram_however_long_the_names() {
        let longest =
            || standing(NAME_BYTES_MAX, Some(SourceName::Named(vec![1; NAME_BYTES_MAX].into())));
        let node = longest().leader;
        let mut standings: Vec<Standing> = (0..3).map(|_| longest()).collect();
        standings.extend((0..200).map(|_| standing(2, None)));
        let mut taken = 0;
        while !standings.is_empty() {
            let some = take_fitting(&mut standings);
            taken += some.len();
            let views = Notice::Views(node, Some(GroupKey(0)), some, More::Yes).encode();
            assert!(views.len() <= PAYLOAD_BYTES_MAX, "{}", views.len());
        }
        assert_eq!(taken, 203);
        assert!(Notice::Give(node.address, longest()).encode().len() <= PAYLOAD_BYTES_MAX);
        let wanted = vec![(GroupKey(7), Term(1)); KEYS_MAX];
        assert!(Notice::LeaseAsk(node, Round(0), wanted).encode().len() <= PAYLOAD_BYTES_MAX);
        let marks = vec![(GroupKey(7), UnixMillis(0)); KEYS_MAX];
        assert!(Notice::Marks(node, marks).encode().len() <= PAYLOAD_BYTES_MAX);
    }

    #[test]
    fn an_address_of_a_source_that_has_a_port_is_refused() {
        let mut bytes = Vec::new();
        put_source(&SourceName::Address([10, 0, 0, 9].into(), Weight(2)), &mut bytes);
        assert!(source(&mut &bytes[..]).is_ok());
        // Family and address stand before it: what is read would be written otherwise.
        bytes[7] = 1;
        assert_eq!(source(&mut &bytes[..]), Err(CodecError::Unknown));
    }

    #[test]
    fn a_term_that_could_not_be_followed_by_another_is_refused() {
        let standing = Standing { term: Term(COUNT_END), ..standing(1, None) };
        let give = Notice::Give(standing.leader.address, standing);
        assert_eq!(Notice::decode(&give.encode()), Err(CodecError::Unknown));
    }

    #[test]
    fn a_name_that_is_too_long_and_a_length_that_is_a_lie_are_refused() {
        let long = Notice::Wanted(named(1, NAME_BYTES_MAX + 1)).encode();
        assert_eq!(Notice::decode(&long), Err(CodecError::Unknown));
        assert_eq!(Notice::decode(&[1, 0xff, 0xff]), Err(CodecError::Short));
        assert_eq!(Notice::decode(&[200]), Err(CodecError::Unknown));
        assert_eq!(Notice::decode(&[]), Err(CodecError::Short));
    }
}
