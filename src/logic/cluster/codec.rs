//! How a membership message is written: fixed tags, numbers in network order, nothing optional.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{Buf, BufMut};
use foca::{Header, Member, Message, State};

use crate::logic::cluster::node::Node;

/// Reads and writes membership messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Codec;

/// Why a message can't be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodecError {
    /// It ends too early, or there is no room for it.
    Short,
    /// A tag has no meaning.
    Unknown,
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CodecError::Short => "there is not enough room, or not enough bytes",
            CodecError::Unknown => "a tag without a meaning",
        })
    }
}

impl std::error::Error for CodecError {}

/// The longest node: family, IPv6 address, port, generation.
pub const NODE_BYTES_MAX: usize = 1 + 16 + 2 + 8;
/// The longest member: a node, its incarnation, its state.
const MEMBER_BYTES_MAX: usize = NODE_BYTES_MAX + 2 + 1;
/// The longest header: two nodes, an incarnation, and a message about a third.
const HEADER_BYTES_MAX: usize = 3 * NODE_BYTES_MAX + 2 + 1 + 1;

/// Appends an address: family, IP address, port.
pub fn put_address(address: SocketAddr, buf: &mut impl BufMut) {
    match address.ip() {
        IpAddr::V4(ip) => {
            buf.put_u8(4);
            buf.put_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            buf.put_u8(6);
            buf.put_slice(&ip.octets());
        }
    }
    buf.put_u16(address.port());
}

/// Appends a node: its address, its generation.
pub fn put_node(node: &Node, buf: &mut impl BufMut) {
    put_address(node.address, buf);
    buf.put_u64(node.generation);
}

/// Reads one byte.
pub fn byte(buf: &mut impl Buf) -> Result<u8, CodecError> {
    buf.try_get_u8().map_err(|_| CodecError::Short)
}

fn octets<const N: usize>(buf: &mut impl Buf) -> Result<[u8; N], CodecError> {
    let mut octets = [0; N];
    buf.try_copy_to_slice(&mut octets).map_err(|_| CodecError::Short)?;
    Ok(octets)
}

/// Reads what [`put_address`] has written.
pub fn address(buf: &mut impl Buf) -> Result<SocketAddr, CodecError> {
    let ip = match byte(buf)? {
        4 => IpAddr::V4(Ipv4Addr::from(octets::<4>(buf)?)),
        6 => IpAddr::V6(Ipv6Addr::from(octets::<16>(buf)?)),
        _ => return Err(CodecError::Unknown),
    };
    let port = buf.try_get_u16().map_err(|_| CodecError::Short)?;
    Ok(SocketAddr::new(ip, port))
}

/// Reads what [`put_node`] has written.
pub fn node(buf: &mut impl Buf) -> Result<Node, CodecError> {
    let address = address(buf)?;
    let generation = buf.try_get_u64().map_err(|_| CodecError::Short)?;
    Ok(Node { address, generation })
}

/// Tag, the number of a probe, and the third node, of those messages that have them.
fn parts(message: &Message<Node>) -> (u8, Option<u8>, Option<&Node>) {
    match message {
        Message::Ping(number) => (0, Some(*number), None),
        Message::Ack(number) => (1, Some(*number), None),
        Message::PingReq { target, probe_number } => (2, Some(*probe_number), Some(target)),
        Message::IndirectPing { origin, probe_number } => (3, Some(*probe_number), Some(origin)),
        Message::IndirectAck { target, probe_number } => (4, Some(*probe_number), Some(target)),
        Message::ForwardedAck { origin, probe_number } => (5, Some(*probe_number), Some(origin)),
        Message::Announce => (6, None, None),
        Message::Feed => (7, None, None),
        Message::Gossip => (8, None, None),
        Message::Broadcast => (9, None, None),
        Message::TurnUndead => (10, None, None),
    }
}

fn message(buf: &mut impl Buf) -> Result<Message<Node>, CodecError> {
    Ok(match byte(buf)? {
        0 => Message::Ping(byte(buf)?),
        1 => Message::Ack(byte(buf)?),
        2 => Message::PingReq { probe_number: byte(buf)?, target: node(buf)? },
        3 => Message::IndirectPing { probe_number: byte(buf)?, origin: node(buf)? },
        4 => Message::IndirectAck { probe_number: byte(buf)?, target: node(buf)? },
        5 => Message::ForwardedAck { probe_number: byte(buf)?, origin: node(buf)? },
        6 => Message::Announce,
        7 => Message::Feed,
        8 => Message::Gossip,
        9 => Message::Broadcast,
        10 => Message::TurnUndead,
        _ => return Err(CodecError::Unknown),
    })
}

impl foca::Codec<Node> for Codec {
    type Error = CodecError;

    fn encode_header(
        &mut self,
        header: &Header<Node>,
        mut buf: impl BufMut,
    ) -> Result<(), CodecError> {
        if buf.remaining_mut() < HEADER_BYTES_MAX {
            return Err(CodecError::Short);
        }
        put_node(&header.src, &mut buf);
        buf.put_u16(header.src_incarnation);
        put_node(&header.dst, &mut buf);
        let (tag, number, third) = parts(&header.message);
        buf.put_u8(tag);
        number.into_iter().for_each(|number| buf.put_u8(number));
        third.into_iter().for_each(|third| put_node(third, &mut buf));
        Ok(())
    }

    fn decode_header(&mut self, mut buf: impl Buf) -> Result<Header<Node>, CodecError> {
        let src = node(&mut buf)?;
        let src_incarnation = buf.try_get_u16().map_err(|_| CodecError::Short)?;
        let dst = node(&mut buf)?;
        Ok(Header { src, src_incarnation, dst, message: message(&mut buf)? })
    }

    fn encode_member(
        &mut self,
        member: &Member<Node>,
        mut buf: impl BufMut,
    ) -> Result<(), CodecError> {
        if buf.remaining_mut() < MEMBER_BYTES_MAX {
            return Err(CodecError::Short);
        }
        put_node(member.id(), &mut buf);
        buf.put_u16(member.incarnation());
        buf.put_u8(match member.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        });
        Ok(())
    }

    fn decode_member(&mut self, mut buf: impl Buf) -> Result<Member<Node>, CodecError> {
        let id = node(&mut buf)?;
        let incarnation = buf.try_get_u16().map_err(|_| CodecError::Short)?;
        let state = match byte(&mut buf)? {
            0 => State::Alive,
            1 => State::Suspect,
            2 => State::Down,
            _ => return Err(CodecError::Unknown),
        };
        Ok(Member::new(id, incarnation, state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use foca::Codec as _;

    fn nodes() -> [Node; 3] {
        let v4 = SocketAddr::from(([10, 0, 0, 1], 6746));
        let v6 = SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, 1], 1));
        [
            Node::at(v4),
            Node { address: v6, generation: u64::MAX },
            Node { address: v4, generation: 7 },
        ]
    }

    fn headers() -> Vec<Header<Node>> {
        let [src, dst, third] = nodes();
        let messages = [
            Message::Ping(1),
            Message::Ack(255),
            Message::PingReq { target: third, probe_number: 2 },
            Message::IndirectPing { origin: dst, probe_number: 3 },
            Message::IndirectAck { target: third, probe_number: 4 },
            Message::ForwardedAck { origin: dst, probe_number: 5 },
            Message::Announce,
            Message::Feed,
            Message::Gossip,
            Message::Broadcast,
            Message::TurnUndead,
        ];
        let header = |message| Header { src, src_incarnation: 513, dst, message };
        messages.into_iter().map(header).collect()
    }

    #[test]
    fn headers_and_members_are_read_as_they_were_written_and_not_if_they_are_cut() {
        for header in headers() {
            let mut bytes = Vec::new();
            Codec.encode_header(&header, &mut bytes).expect("a vector grows");
            assert!(bytes.len() <= HEADER_BYTES_MAX);
            assert_eq!(Codec.decode_header(&bytes[..]), Ok(header));
            for length in 0..bytes.len() {
                assert_eq!(Codec.decode_header(&bytes[..length]), Err(CodecError::Short));
            }
        }
        for (node, state) in nodes().into_iter().zip([State::Alive, State::Suspect, State::Down]) {
            let member = Member::new(node, 515, state);
            let mut bytes = Vec::new();
            Codec.encode_member(&member, &mut bytes).expect("a vector grows");
            assert!(bytes.len() <= MEMBER_BYTES_MAX);
            assert_eq!(Codec.decode_member(&bytes[..]), Ok(member));
            bytes[0] = 5;
            assert_eq!(Codec.decode_member(&bytes[..]), Err(CodecError::Unknown));
        }
    }

    #[test]
    fn without_room_nothing_is_written() {
        let mut room = [9; MEMBER_BYTES_MAX - 1];
        let member = Member::alive(nodes()[0]);
        assert_eq!(Codec.encode_member(&member, &mut room[..]), Err(CodecError::Short));
        assert_eq!(room, [9; MEMBER_BYTES_MAX - 1]);
    }
}
