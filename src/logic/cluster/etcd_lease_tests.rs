use super::*;

const A: Key = Key(1);
const B: Key = Key(2);
const LEASE: LeaseId = LeaseId(7);
const MEMBER: Origin = Origin { member: 1, term: 5 };

/// A machine whose lease was granted at 1000 for 3 s, and that wants `keys`.
fn leased(keys: &[Key]) -> EtcdLease {
    let mut lease = EtcdLease::new("me");
    lease.on_wanted(keys);
    assert_eq!(lease.poll(Millis(1_000)), Step::Grant);
    lease.on_granted(Millis(1_000), Granted { lease: LEASE, ttl_seconds: 3 });
    lease
}

/// The same, and it holds `keys`: the life of each is its number.
fn holding(keys: &[Key]) -> EtcdLease {
    let mut lease = leased(keys);
    look(&mut lease, 1_010, keys.iter().map(|key| ours(*key)).collect());
    assert_eq!(told(&mut lease), keys.iter().map(|key| granted(*key, 3_940)).collect::<Vec<_>>());
    lease
}

fn entry(key: Key, holder: &str, lease: LeaseId, created: i64) -> Entry {
    Entry { key, holder: holder.into(), lease, created: Revision(created) }
}

fn ours(key: Key) -> Entry {
    entry(key, "me", LEASE, key.0 as i64)
}

fn theirs(key: Key) -> Entry {
    entry(key, "other", LeaseId(8), 100)
}

fn look(lease: &mut EtcdLease, now: u64, entries: Vec<Entry>) {
    look_at(lease, now, MEMBER, entries);
}

fn look_at(lease: &mut EtcdLease, now: u64, origin: Origin, entries: Vec<Entry>) {
    assert_eq!(lease.poll(Millis(now)), Step::Look);
    lease.on_seen(Millis(now), Seen { origin, entries });
}

fn renew_at(lease: &mut EtcdLease, sent: u64, origin: Origin) {
    assert_eq!(lease.poll(Millis(sent)), Step::Renew(LEASE));
    lease.on_renewed(Millis(sent + 5), Millis(sent), Renewed { origin, ttl_seconds: 3 });
}

fn granted(key: Key, until: u64) -> Told {
    Told::Granted { key, until: Millis(until) }
}

fn taken(key: Key) -> Told {
    Told::Taken { key, holder: "other".into() }
}

fn told(lease: &mut EtcdLease) -> Vec<Told> {
    std::iter::from_fn(|| lease.poll_told()).collect()
}

#[test]
fn a_free_key_is_taken_and_counts_once_it_is_seen_to_be_ours() {
    let mut lease = leased(&[A, B]);
    look(&mut lease, 1_010, vec![theirs(B)]);
    assert_eq!(told(&mut lease), [taken(B)]);
    assert_eq!(lease.poll(Millis(1_010)), Step::Take(LEASE, vec![A]));
    lease.on_tried();
    assert_eq!(told(&mut lease), []);
    look(&mut lease, 1_020, vec![ours(A), theirs(B)]);
    assert_eq!(told(&mut lease), [granted(A, 3_940)]);
    assert_eq!(lease.poll(Millis(1_020)), Step::Rest(Millis(2_000)));
}

#[test]
fn a_key_of_another_lease_or_another_holder_is_never_ours() {
    for entry in [entry(A, "me", LeaseId(8), 1), entry(A, "other", LEASE, 1), theirs(A)] {
        let mut lease = leased(&[A]);
        look(&mut lease, 1_010, vec![entry]);
        assert!(matches!(told(&mut lease)[..], [Told::Taken { .. }]));
        assert_eq!(lease.poll(Millis(1_020)), Step::Rest(Millis(2_000)));
    }
}

#[test]
fn a_try_whose_answer_was_lost_shows_in_the_next_look() {
    let mut lease = leased(&[A]);
    look(&mut lease, 1_010, vec![]);
    assert_eq!(lease.poll(Millis(1_010)), Step::Take(LEASE, vec![A]));
    lease.on_trouble(Millis(1_500), "timed out".into());
    assert_eq!(lease.poll(Millis(1_600)), Step::Rest(Millis(1_750)));
    assert_eq!(told(&mut lease), [Told::Unreachable("timed out".into())]);
    look(&mut lease, 1_750, vec![ours(A)]);
    renew_at(&mut lease, 1_750, MEMBER);
    look(&mut lease, 1_760, vec![ours(A)]);
    assert_eq!(lease.poll(Millis(1_760)), Step::Rest(Millis(2_750)));
    assert_eq!(told(&mut lease), [granted(A, 3_940), granted(A, 4_690), Told::Again]);
}

#[test]
fn a_renewal_counts_from_before_it_was_sent_and_less_the_drift() {
    let mut lease = holding(&[A]);
    assert_eq!(lease.poll(Millis(1_999)), Step::Rest(Millis(2_000)));
    renew_at(&mut lease, 2_000, MEMBER);
    assert_eq!(told(&mut lease), [], "it is not confirmed yet");
    look(&mut lease, 2_900, vec![ours(A)]);
    assert_eq!(told(&mut lease), [granted(A, 2_000 + 3_000 - 60)]);
    assert_eq!(lease.poll(Millis(2_900)), Step::Rest(Millis(3_000)));
    assert_eq!(promised(Millis(0), u64::MAX), Millis(LEASE_PROMISE_MAX.0 * 98 / 100));
    assert_eq!(promised(Millis(u64::MAX), 3), Millis(u64::MAX));
}

#[test]
fn a_renewal_between_looks_of_two_terms_or_members_prolongs_nothing() {
    let (other, later) = (Origin { member: 2, ..MEMBER }, Origin { term: 6, ..MEMBER });
    for (renewed, seen) in [(MEMBER, later), (later, later), (other, other), (other, MEMBER)] {
        let mut lease = holding(&[A]);
        renew_at(&mut lease, 2_000, renewed);
        look_at(&mut lease, 2_010, seen, vec![ours(A)]);
        assert_eq!(told(&mut lease), [], "{renewed:?} {seen:?}");
        assert_eq!(lease.poll(Millis(2_010)), Step::Rest(Millis(2_260)));
        renew_at(&mut lease, 2_260, seen);
        look_at(&mut lease, 2_270, seen, vec![ours(A)]);
        assert_eq!(told(&mut lease), [granted(A, 5_200)], "{renewed:?} {seen:?}");
    }
}

#[test]
fn a_lease_that_is_gone_takes_all_keys_with_it_and_all_begins_anew() {
    let mut lease = holding(&[A, B]);
    assert_eq!(lease.poll(Millis(2_000)), Step::Renew(LEASE));
    let gone = Renewed { origin: MEMBER, ttl_seconds: 0 };
    lease.on_renewed(Millis(2_010), Millis(2_000), gone);
    assert_eq!(told(&mut lease), [Told::Lost { key: A }, Told::Lost { key: B }]);
    assert_eq!(lease.poll(Millis(2_010)), Step::Rest(Millis(2_260)));
    assert_eq!(lease.poll(Millis(2_260)), Step::Grant);
    lease.on_granted(Millis(2_260), Granted { lease: LeaseId(9), ttl_seconds: 3 });
    look(&mut lease, 2_270, vec![theirs(A)]);
    assert_eq!(told(&mut lease), [taken(A)]);
    assert_eq!(lease.poll(Millis(2_270)), Step::Take(LeaseId(9), vec![B]));
}

#[test]
fn a_key_that_vanished_or_lives_anew_is_lost_first() {
    for (seen, expected) in [
        (vec![], vec![Told::Lost { key: A }]),
        (vec![theirs(A)], vec![Told::Lost { key: A }, taken(A)]),
        (vec![entry(A, "me", LEASE, 9)], vec![Told::Lost { key: A }, granted(A, 4_940)]),
    ] {
        let mut lease = holding(&[A]);
        renew_at(&mut lease, 2_000, MEMBER);
        look(&mut lease, 2_010, seen);
        assert_eq!(told(&mut lease), expected);
    }
}

#[test]
fn nothing_is_granted_after_its_own_end() {
    let mut lease = leased(&[A]);
    look(&mut lease, 1_010, vec![]);
    assert_eq!(lease.poll(Millis(1_010)), Step::Take(LEASE, vec![A]));
    lease.on_trouble(Millis(3_940), "timed out".into());
    look(&mut lease, 4_190, vec![ours(A)]);
    renew_at(&mut lease, 4_190, Origin { member: 2, ..MEMBER });
    look(&mut lease, 4_200, vec![ours(A)]);
    assert_eq!(told(&mut lease), [Told::Unreachable("timed out".into())]);
}

#[test]
fn a_released_key_is_deleted_in_the_life_that_was_ours() {
    let mut lease = holding(&[A, B]);
    lease.on_released(&[A]);
    assert_eq!(told(&mut lease), [Told::Released { key: A }]);
    look(&mut lease, 1_100, vec![ours(A), ours(B)]);
    assert_eq!(lease.poll(Millis(1_100)), Step::Give(vec![(A, Revision(1))]));
    lease.on_tried();
    look(&mut lease, 1_110, vec![ours(B)]);
    assert_eq!(lease.poll(Millis(1_110)), Step::Rest(Millis(2_000)));
    assert_eq!(told(&mut lease), []);
}

#[test]
fn a_key_whose_deletion_may_be_under_way_is_not_ours_again_before_it_is_gone() {
    let mut lease = holding(&[A]);
    lease.on_released(&[A]);
    assert_eq!(told(&mut lease), [Told::Released { key: A }]);
    look(&mut lease, 1_100, vec![ours(A)]);
    assert_eq!(lease.poll(Millis(1_100)), Step::Give(vec![(A, Revision(1))]));
    lease.on_trouble(Millis(1_600), "timed out".into());
    lease.on_wanted(&[A]);
    look(&mut lease, 1_850, vec![ours(A)]);
    renew_at(&mut lease, 1_850, MEMBER);
    look(&mut lease, 1_860, vec![ours(A)]);
    assert_eq!(told(&mut lease), [Told::Unreachable("timed out".into())]);
    assert_eq!(lease.poll(Millis(1_860)), Step::Give(vec![(A, Revision(1))]));
    lease.on_tried();
    look(&mut lease, 1_870, vec![entry(A, "me", LEASE, 9)]);
    assert_eq!(told(&mut lease), [granted(A, 4_790)], "a new life, which no deletion meets");
}

#[test]
fn a_key_that_became_ours_late_and_is_not_wanted_any_more_is_given_back() {
    let mut lease = leased(&[A]);
    lease.on_released(&[A]);
    look(&mut lease, 1_100, vec![ours(A), theirs(B)]);
    assert_eq!(lease.poll(Millis(1_100)), Step::Give(vec![(A, Revision(1))]));
}

#[test]
fn trouble_is_told_once_and_its_end_when_a_whole_round_is_through() {
    let mut lease = leased(&[A]);
    for now in [1_100, 1_400, 1_700] {
        assert_eq!(lease.poll(Millis(now)), Step::Look);
        lease.on_trouble(Millis(now), "refused".into());
    }
    assert_eq!(told(&mut lease), [Told::Unreachable("refused".into())]);
    look(&mut lease, 2_000, vec![theirs(A)]);
    renew_at(&mut lease, 2_000, MEMBER);
    look(&mut lease, 2_010, vec![theirs(A)]);
    assert_eq!(told(&mut lease), [taken(A)]);
    assert!(matches!(lease.poll(Millis(2_010)), Step::Rest(_)));
    assert_eq!(told(&mut lease), [Told::Again]);
}

#[test]
fn a_lease_whose_keys_nobody_can_read_is_left_to_its_end() {
    let mut lease = holding(&[A]);
    renew_at(&mut lease, 2_000, MEMBER);
    for now in [2_100, 2_400, 2_700, 3_000, 10_000] {
        assert_eq!(lease.poll(Millis(now)), Step::Look, "it is not kept alive");
        lease.on_trouble(Millis(now), "more keys than there can be".into());
    }
}

#[test]
fn many_keys_go_in_several_requests_and_more_than_all_groups_are_refused() {
    let keys: Vec<Key> = (0..=GROUPS_MAX as u64).map(Key).collect();
    let mut lease = leased(&keys);
    assert_eq!(told(&mut lease), [Told::Refused { key: Key(GROUPS_MAX as u64) }]);
    look(&mut lease, 1_010, vec![]);
    let mut tried = Vec::new();
    while let Step::Take(_, some) = lease.poll(Millis(1_010)) {
        assert!(some.len() <= LEASE_KEYS_PER_REQUEST);
        tried.extend(some);
        lease.on_tried();
    }
    tried.sort();
    assert_eq!(tried, keys[..GROUPS_MAX]);
    look(&mut lease, 1_020, vec![]);
    assert_eq!(lease.poll(Millis(1_020)), Step::Rest(Millis(2_000)), "not tried without end");
}
