//! What to make of a directory at the start.

use crate::base::limits::QUEUE_UNSYNCED_SEGMENTS_MAX;
use crate::logic::queue::chain::Link;
use crate::wire::queue::mark::Mark;
use crate::wire::queue::segment::parse_name;
use crate::wire::queue::sequence::Sequence;

/// What is there.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// The segments, by their numbers.
    pub links: Vec<Link>,
    /// All up to this one have been sent.
    pub sent: Sequence,
    /// The segment in which the next one lies, if it lies in any.
    pub start: Option<Sequence>,
}

impl Plan {
    /// Of the names and lengths of all files, and the newest mark.
    pub fn of(files: &[(String, u64)], mark: Option<Mark>) -> Plan {
        let link = |(name, bytes): &(String, u64)| {
            parse_name(name).map(|number| Link { number, bytes: *bytes, last: None })
        };
        let mut links: Vec<Link> = files.iter().filter_map(link).collect();
        links.sort_by_key(|link| link.number);
        let sent = mark.map_or(Sequence(0), |mark| mark.sent);
        let before = links.iter().rev().find(|link| link.number <= sent.next());
        let start = before.or(links.first()).map(|link| link.number);
        Plan { links, sent, start }
    }

    /// The segments that nobody had synced, perhaps, when the process before ended.
    pub fn unsynced(&self) -> impl Iterator<Item = &Link> {
        self.links.iter().rev().take(1 + QUEUE_UNSYNCED_SEGMENTS_MAX)
    }

    /// The number of the next record, `last` being the last whole one in the last segment.
    ///
    /// The mark may be further than the segments are: what was sent from memory may not have been synced.
    /// A number that it covers would be taken for sent.
    pub fn next(&self, last: Option<Sequence>) -> Sequence {
        let segment = self.links.last().map(|link| link.number);
        [last, segment].into_iter().flatten().fold(self.sent, Sequence::max).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::queue::segment::name;
    use crate::wire::queue::sequence::Salt;

    fn plan(numbers: &[u64], sent: u64) -> Plan {
        let file = |number: &u64| (name(Sequence(*number)), 10 * number);
        let mut files: Vec<_> = numbers.iter().map(file).collect();
        files.push(("lock".to_owned(), 0));
        Plan::of(&files, Some(Mark { turn: 1, sent: Sequence(sent), salt: Salt(1) }))
    }

    #[test]
    fn reading_begins_in_the_segment_of_the_first_that_was_not_sent() {
        for (sent, start) in [(0, 5), (3, 5), (5, 5), (8, 5), (9, 10), (17, 10), (19, 20), (90, 20)]
        {
            let plan = plan(&[20, 5, 10], sent);
            assert_eq!(plan.start, Some(Sequence(start)), "{sent}");
            assert_eq!(plan.links.iter().map(|it| it.bytes).collect::<Vec<_>>(), [50, 100, 200]);
        }
        assert_eq!(plan(&[], 7).start, None);
    }

    #[test]
    fn no_number_is_used_twice() {
        assert_eq!(plan(&[5], 3).next(Some(Sequence(8))), Sequence(9));
        assert_eq!(plan(&[5], 30).next(Some(Sequence(8))), Sequence(31), "the mark is further");
        assert_eq!(plan(&[5], 3).next(None), Sequence(6), "nothing in it can be read");
        assert_eq!(plan(&[], 0).next(None), Sequence(1));
    }
}
