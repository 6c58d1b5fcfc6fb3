//! Every bound of the program, in one place, each with its reason.
//!
//! What is reached at a bound is refused with 503 and a counter, never dropped in silence: the
//! sender keeps what we refuse.

use crate::base::time::Millis;

/// Largest request or answer head. Prometheus sends about 400 bytes; cookies and tokens fit.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most header lines of one head.
pub const HEADERS_MAX: usize = 100;
/// By so much a head may be longer that another node has relayed: its pass, and where it goes.
pub const HEAD_RELAYED_BYTES: usize = 4 * 1024;
/// And so many lines it may have more: its pass, and a length.
pub const HEADERS_RELAYED: usize = 2;
/// Longest method. The longest that is registered has 17 letters.
pub const METHOD_BYTES_MAX: usize = 64;
/// Longest request target.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;
/// Largest request body unless `--max-body` says otherwise: what Prometheus and VictoriaMetrics
/// take themselves, decoded.
pub const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most tokens of all `Connection` lines of a head: each is compared with each header.
pub const CONNECTION_TOKENS_MAX: usize = 32;
/// Longest line that opens a chunk, extensions included. Nobody sends extensions.
pub const CHUNK_LINE_BYTES_MAX: usize = 1024;
/// All trailer lines of a chunked body together; they are dropped, so they only need to be read.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;
/// Longest `highlander_group`, `highlander_source` or tenant: they are kept for each source.
pub const NAME_BYTES_MAX: usize = 256;

/// The longest header of the PROXY protocol that a balancer may send before a connection: 52 bytes with
/// its addresses, and what else it tells, such as a certificate. It fits into [`FIRST_READ_BYTES`].
pub const PROXY_HEADER_BYTES_MAX: usize = 4 * 1024;
/// Networks in `--trusted-proxies`: with any, each request is held against all.
pub const TRUSTED_PROXIES_MAX: usize = 64;
/// Addresses of `X-Forwarded-For` that are looked at: nobody has so many proxies one behind the other.
pub const FORWARDED_HOPS_MAX: usize = 32;
/// Rules in `sources`: whoever speaks for the first time is held against all.
pub const SOURCE_RULES_MAX: usize = 1000;

/// Connections at a time unless `--max-connections` says otherwise.
pub const CONNECTIONS_MAX: usize = 10_000;
/// Groups that one process keeps a seat for, unless `--max-groups` says otherwise, and the most in a
/// cluster: so many it can tell the other nodes of.
pub const GROUPS_MAX: usize = 1000;
/// The most that `--max-groups` may say: each new seat copies the map of all, so that to take so many
/// costs some 20 s in all, and all are looked at ten times a second.
pub const GROUPS_LIMIT: usize = 10_000;
/// The most that `--cores` may say: each is a thread with rings and buffers of its own, and a slip of
/// some digits is to be a fault, not a want of memory.
pub const CORES_LIMIT: usize = 1024;
/// Sources of one group that are told apart at a time, unless `--max-sources` says otherwise.
pub const SOURCES_MAX: usize = 64;
/// The most that `--max-sources` may say: to elect one, all are looked at.
pub const SOURCES_LIMIT: usize = 1000;

/// The first read of a connection: a head fits, and a thousand silent clients cost 4 MB.
pub const FIRST_READ_BYTES: usize = 4 * 1024;
/// The buffer of a connection that has sent a whole request before: buffers smaller than the body
/// cost 45-60 % more CPU, and a batch of 2000 samples is 16 to 64 KB.
pub const BUFFER_BYTES: usize = 64 * 1024;
/// Up to here a buffer is sized by the Content-Length at once; beyond, by what has arrived.
pub const BUFFER_BYTES_TRUSTED: usize = 256 * 1024;
/// From here on a body that may be kept stays in the memory that it was read into.
pub const DIRECT_BYTES_MIN: usize = 16 * 1024;
/// A core with more connections than this reads heads into small buffers first, so that idle
/// connections do not pin 64 KB each. Of larger buffers as many less are pinned.
pub const LARGE_READ_CONNECTIONS_MAX: usize = 512;
/// Idle buffers a core keeps for the next connection.
pub const BUFFERS_POOLED_MAX: usize = 256;
/// Bytes of request bodies beyond [`BUFFER_BYTES`] that all connections of one process may hold
/// at a time: ten thousand connections times the largest body would be 320 GB.
pub const LARGE_BODIES_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Connections on their way from the acceptor to one core.
pub const INBOX_MAX: usize = 1024;
/// Connections accepted in one turn: a flood must not keep the acceptor from being stopped.
pub const ACCEPTS_MAX: usize = 256;
/// Descriptors that are not for connections: the loops, the listeners, the log.
pub const DESCRIPTORS_RESERVED: usize = 64;
/// Those of a queue: its folder, its lock, its mark for who writes and for who syncs it, a segment that is
/// written and one that is read, the next of each, those that are synced later, and three of the bell of
/// who sends.
pub const QUEUE_DESCRIPTORS: usize = 12 + QUEUE_UNSYNCED_SEGMENTS_MAX;
/// Idle connections to the endpoint that a core keeps.
pub const UPSTREAM_IDLE_MAX: usize = 256;
/// Log lines on their way to the log thread; further ones are counted and dropped.
pub const LOG_LINES_MAX: usize = 4096;

/// A head must be there this long after its first byte.
pub const HEAD_DEADLINE: Millis = Millis(10_000);
/// A body must make progress of [`BODY_PROGRESS_BYTES`] in this time.
pub const BODY_DEADLINE: Millis = Millis(60_000);
/// What counts as progress of a body: one byte a minute is an attack, not a slow line.
pub const BODY_PROGRESS_BYTES: usize = 16 * 1024;
/// And a long body at least this part of itself: what it holds of the memory for all is not to be
/// held for hours.
pub const BODY_PROGRESS_STEPS: usize = 8;
/// A source must take our answer in this time.
pub const ANSWER_DEADLINE: Millis = Millis(60_000);
/// A connection without a request is closed after this; Prometheus closes after 5 minutes itself.
pub const IDLE_DEADLINE: Millis = Millis(600_000);
/// After a refusal that closes the connection, so long its remaining bytes are read away: a close
/// with unread bytes is a reset, and would take the answer with it.
pub const LINGER_DEADLINE: Millis = Millis(2_000);
/// An idle connection to the endpoint is closed after this; VictoriaMetrics closes after a minute.
pub const UPSTREAM_IDLE: Millis = Millis(30_000);
/// How often the endpoint's name is resolved again.
pub const RESOLVE_EVERY: Millis = Millis(30_000);
/// How long the end waits for who is promoted to be written down.
pub const STATE_PATIENCE: Millis = Millis(2_000);
/// The beat at which every core looks at its deadlines and shows that it lives.
pub const BEAT: Millis = Millis(100);
/// A core that has shown no beat for this long is reported.
pub const BEAT_MISSED: Millis = Millis(5_000);
/// A beat that comes so late says that the process was stopped, or a core hung: nobody is lost for
/// a silence that we could not have heard.
pub const STANDSTILL: Millis = Millis(700);
/// The longest pause of a Prometheus between two tries (`max_backoff`): a source that we refused
/// and whose connection is closed gets this on top of the expiry before it is taken for dead.
pub const SENDER_BACKOFF_MAX: Millis = Millis(5_000);
/// The silences of a source are remembered for one to two of these spans.
pub const RHYTHM_SPAN: Millis = Millis(300_000);
/// Bounds of the Retry-After that goes with a 503, in seconds; the value between them is random,
/// so that 50 shards do not come back as one.
pub const RETRY_AFTER_SECONDS: std::ops::RangeInclusive<u32> = 1..=5;

/// A pause of more than twice the usual, and of this at least, is a hole in a source's data: a busy
/// machine delays a push by less.
pub const MISSED_MIN: Millis = Millis(2_000);
/// A source must be known for this long, and for four of its longest pauses, before a pause of it can
/// be called unusual.
pub const KNOWN_MIN: Millis = Millis(4_000);
/// After more unusual pauses than this they are the new rhythm.
pub const HOLES_UNUSUAL_MAX: u32 = 3;
/// A source that was without a connection in at most this part of all looks keeps its connections.
pub const DISCONNECTED_LOOKS_PERCENT_MAX: u32 = 20;
/// So many looks say whether a source keeps its connections.
pub const LOOKS_MIN: u32 = 15;
/// A source that waited for an answer in more looks than this of a pause was held up by others.
pub const WAITING_LOOKS_MAX: u32 = 20;
/// What was acknowledged is put together in steps of this length for the low mark.
pub const LOW_MARK_STEP: Millis = Millis(500);
/// The least span that a low mark looks back: a shard with few samples waits for its batch for five
/// seconds (`batch_send_deadline`).
pub const LOW_MARK_SPAN_MIN: Millis = Millis(6_000);
/// And the longest: the longest scrape interval that senders commonly have.
pub const LOW_MARK_SPAN_MAX: Millis = Millis(120_000);
/// A slow scrape bears the time of its begin and comes with the samples of later ones: what is released
/// before its window is over stays so far behind the low mark. It is the usual scrape timeout.
pub const LOW_MARK_SLACK: Millis = Millis(10_000);
/// How often the first timestamp of a forwarded request is looked at, per connection.
pub const SAMPLE_EVERY: Millis = Millis(250);
/// Requests of one group that one core keeps because the endpoint may have stored them without
/// saying so. A source has at most as many under way as it has shards, and tries each again.
pub const DOUBTS_MAX: usize = 256;
/// A request in doubt that its source has not tried again for this long holds nothing up any more:
/// its samples have gone into other requests, or nowhere.
pub const DOUBT_FORGOTTEN: Millis = Millis(60_000);
/// What a core keeps of the delivered requests of a source that is alone in its group: a hundred
/// thousand samples a second for [`ALONE_SPAN`]. Nobody may ever ask for it.
pub const ALONE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What is kept of a source that is alone must reach back so far, twice the time that a batch waits:
/// else it says nothing of shards that send rarely, and is not worth keeping.
pub const ALONE_SPAN: Millis = Millis(12_000);
/// The part of `--hold-memory` that all cores may keep ready for the next requests: what is let go of
/// at a time, a [`LOW_MARK_STEP`], is less than a hundredth of what two minutes hold.
pub const PIECES_IDLE_PART: usize = 16;
/// The part of `--hold-memory` that a core takes at a time, so that cores do not wait for each
/// other's count on every request.
pub const GRANT_BYTES: usize = 256 * 1024;
/// A request that waits for a hand-over is refused after this: its source gives up after 30 s.
pub const PARK_MAX: Millis = Millis(10_000);
/// The first pause before a request is sent on again, and the longest.
pub const REPLAY_BACKOFF_FIRST: Millis = Millis(30);
/// See [`REPLAY_BACKOFF_FIRST`].
pub const REPLAY_BACKOFF_MAX: Millis = Millis(5_000);
/// Bodies that a hand-over reads in one turn, before another group's has its turn.
pub const BODIES_PER_TURN: usize = 16;
/// Hand-overs that are remembered for whoever asks.
pub const HISTORY_MAX: usize = 256;
/// The largest message that a body may decode to unless `--max-decoded` says otherwise.
pub const DECODED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How far back from the low mark what was delivered and held is kept, `--hold-window`.
pub const HOLD_WINDOW: Millis = Millis(120_000);
/// What may be kept for hand-overs, over all sources, `--hold-memory`.
pub const HOLD_BYTES_MAX: usize = 512 * 1024 * 1024;
/// After a restart the seat waits so long for the source that sat in it: the longest pause between
/// two tries of a sender, twice.
pub const RESERVED: Millis = Millis(10_000);

/// Processes whose datagrams are remembered, so that none counts twice: more than a cluster has nodes.
pub const CLUSTER_PROCESSES_MAX: usize = 256;
/// How often a node asks one of the others whether it lives.
pub const PROBE_PERIOD: Millis = Millis(500);
/// How long it waits for the answer until it asks through others.
pub const PROBE_REPLY_MAX: Millis = Millis(200);
/// How long a node that has not answered has to object to being dead.
pub const SUSPECT_MAX: Millis = Millis(700);
/// How often the configured peers are told of this node.
pub const ANNOUNCE_EVERY: Millis = Millis(1_000);
/// How often a node tells the others what has changed in the groups that it leads, at most.
pub const GOSSIP_EVERY: Millis = Millis(200);
/// In this time every group is told of once, changed or not: a datagram may have been lost.
pub const GOSSIP_WHOLE: Millis = Millis(10_000);
/// How often the low marks are told: what is released for them can wait for so long.
pub const MARKS_EVERY: Millis = Millis(1_000);
/// A group that nobody has told of for this long is forgotten, unless this node leads it.
pub const STANDING_FORGOTTEN: Millis = Millis(60_000);
/// Groups that a node knows of: as many as it may have itself, and again as many that others lead.
pub const STANDINGS_MAX: usize = 2 * GROUPS_MAX;
/// How often a node asks again that has got no answer, and asks for its leases.
pub const ASK_EVERY: Millis = Millis(250);
/// A node that begins waits so long for those that it knows of but that do not answer, once another has.
pub const SETTLE_REST: Millis = Millis(1_000);
/// And so long if none answers, unless `--cluster-settle` says otherwise.
pub const SETTLE_MAX: Millis = Millis(5_000);
/// A group without a leader is claimed by the first node in its order, and by each further one after so
/// much more time, should the one before not be able to.
pub const CLAIM_PATIENCE: Millis = Millis(2_000);
/// A node that has not run for this long has perhaps been taken for dead: it asks before it leads again.
/// Less than [`SUSPECT_MAX`], for one that is suspected may stop before it has objected.
pub const LEAD_UNSURE: Millis = Millis(600);
/// After nodes have come or gone, sources that were relayed by them may be without a connection for so
/// long: they ask again who leads, and try again.
pub const RECONNECT_MAX: Millis = Millis(3_000);
/// How long a group is promised to the node that leads it. A dead leader is missed for as long, where
/// leases are asked for.
pub const LEASE: Millis = Millis(3_000);
/// A node whose lease ends sooner than this has not been able to renew it lately: it may be the one that
/// is cut off from all others, and from the sources that they relay.
pub const LEASE_OVERDUE: Millis = Millis(LEASE.0 / 2);
/// What of it is not used: clocks may drift apart by two in a hundred.
pub const LEASE_DRIFT: Millis = Millis(LEASE.0 / 50);
/// A request is not sent any more so long before a lease is over: it must leave this machine before.
pub const LEASE_MARGIN: Millis = Millis(100);
/// How long a node that goes tries to give its groups to others.
pub const LEAVE_MAX: Millis = Millis(3_000);
/// The kernel's room for datagrams that have not been read yet: what a flood sends in some 30 ms.
pub const DATAGRAM_ROOM_BYTES: usize = 4 * 1024 * 1024;
/// Datagrams that are read in one turn: a flood must not keep a node from saying that it lives.
pub const DATAGRAMS_PER_TURN: usize = 256;
/// How old the pass of a relayed request may be: clocks of nodes may differ, and one pass serves for some
/// seconds of requests.
pub const PASS_AGE_MAX: Millis = Millis(60_000);
/// After this a relaying node makes a new one.
pub const PASS_RENEWED: Millis = Millis(10_000);
/// The thread that speaks with other nodes looks at the seats so often, and never sleeps longer.
pub const GOSSIP_TURN: Millis = Millis(50);
/// A node that goes first waits so long for hand-overs to open: what they send on nobody else has.
pub const LEAVE_STEADY_MAX: Millis = Millis(10_000);

/// For how long a lease is asked for: a node that dies is replaced no later than this after its last
/// sign of life. etcd itself takes no less than one and a half times its election, 1.5 s.
pub const LEASE_TTL: Millis = Millis(3_000);
/// How often a lease is kept alive: two tries may fail before it ends.
pub const LEASE_RENEW_EVERY: Millis = Millis(1_000);
/// The pause after a round in which no etcd did what it was asked.
pub const LEASE_RETRY: Millis = Millis(250);
/// How long one etcd may take for one answer: of three, two may hang, and the lease still lives.
pub const LEASE_REQUEST_MAX: Millis = Millis(500);
/// How long giving a lease back may take in all: the process is to end.
pub const LEASE_STOP_MAX: Millis = Millis(1_000);
/// A promise is believed for no longer than this; etcd raises what it is asked for to a few seconds.
pub const LEASE_PROMISE_MAX: Millis = Millis(60_000);
/// What is taken off a promise because two clocks do not run alike: far more than crystals differ.
pub const LEASE_DRIFT_PERCENT: u64 = 2;
/// Keys that one request takes or gives back; etcd takes 128 steps unless told otherwise.
pub const LEASE_KEYS_PER_REQUEST: usize = 64;
/// Keys of one cluster that are read in one answer.
pub const LEASE_ENTRIES_PER_PAGE: usize = 2 * GROUPS_MAX;
/// And in all: the most that thirty nodes lead. Of more, no lease is granted until some have ended.
pub const LEASE_ENTRIES_MAX: usize = 32 * GROUPS_MAX;
/// The longest answer of an etcd: so many keys with the longest names of cluster and node.
pub const LEASE_ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What has been asked of a lease and not yet been taken up.
pub const LEASE_ASKS_MAX: usize = 256;
/// What a lease has said and nobody has taken yet; then it waits, and nothing is prolonged.
pub const LEASE_TOLD_MAX: usize = 4 * GROUPS_MAX;

/// The longest configuration file: some ten thousand lines.
pub const CONFIG_BYTES_MAX: usize = 1 << 20;
/// How deep it may be nested; what is read in it goes four levels down.
pub const CONFIG_DEPTH_MAX: usize = 16;
/// The most faults of it that are told; nobody reads more.
pub const FAULTS_MAX: usize = 1000;
/// The most endpoints: each gets every request.
pub const ENDPOINTS_MAX: usize = 32;
/// So many names endpoints may have had since the start, over all reloads: each thread counts them all
/// apart, in 300 bytes each. Who names them anew at each reload restarts after some hundred.
pub const ENDPOINTS_EVER_MAX: usize = 256;
/// So many routes the first endpoint may have had since the start: new credentials every hour for
/// eleven months. Each is kept, in some hundred bytes, for requests may be kept that were written under
/// it.
pub const ROUTES_EVER_MAX: usize = 8192;
/// How long a reload waits for a core to take it over: one that is stuck is said to be.
pub const RELOAD_PATIENCE: Millis = Millis(5_000);
/// The queue of an endpoint that is removed stays open for what is still on its way into it, for so long
/// at most: longer than a request may wait for its endpoints and its source for the answer.
pub const RETIRE_MAX: Millis = Millis(180_000);
/// The longest file that a configuration names: a chain of certificates, a key, a password.
pub const NAMED_FILE_BYTES_MAX: u64 = 1 << 20;
/// The most bytes of headers that an endpoint gets added, its credentials among them: servers
/// commonly take 8 KiB of head in all, and every request reserves the room.
pub const ADDED_BYTES_MAX: usize = 8 << 10;
/// What a queue may take on disk, unless it is said: a night's outage at 300 KiB a second.
pub const QUEUE_BYTES_MAX: u64 = 10 << 30;
/// The first pause before a queue tries again, and the longest, as in Prometheus.
pub const BACKOFF: (Millis, Millis) = (Millis(30), Millis(5000));
/// The most requests of a queue that may be under way at once: as many as the shards of a Prometheus.
pub const IN_FLIGHT_MAX: usize = 50;
/// A segment of a queue, unless a record is longer: what is preallocated, and what a start reads through,
/// 40 ms. A drained queue still takes one, and [`QUEUE_SPARES_MAX`] files as long.
pub const QUEUE_SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
/// A queue that may be small has smaller segments, as many as this: space comes back by segments.
pub const QUEUE_SEGMENTS_MIN: u64 = 8;
/// How often a queue is synced, unless `sync` says otherwise: what a power cut may cost, against a sync
/// for every request.
pub const QUEUE_SYNC_EVERY: Millis = Millis(200);
/// Of what waits for a sync, so many stretches are told apart: with an endpoint that keeps up, what came in
/// the last of them is all that has not been sent.
pub const QUEUE_STRETCHES_PER_SYNC: u64 = 8;
/// And no more than this, on a disk that hangs.
pub const QUEUE_STRETCHES_MAX: usize = 16;
/// Segments that are full and not synced yet, before the next is begun: what a start has to sync, besides
/// the last.
pub const QUEUE_UNSYNCED_SEGMENTS_MAX: usize = 2;
/// Records that may have been given out while an earlier one has not been sent: read ahead, to find
/// what may be sent beside it. A Prometheus itself has 50 shards at most.
pub const QUEUE_IN_FLIGHT_MAX: usize = 64;
/// Of those, so many are looked at in one turn of a core: it takes a quarter of a millisecond to find out
/// which series a large one speaks of.
pub const QUEUE_TAKEN_PER_TURN: usize = 4;
/// The same where they are sent one by one: enough that the sender never waits for the next.
pub const QUEUE_READ_AHEAD: usize = 8;
/// And the bytes of those that have not been sent, one record always: what draining takes of memory.
pub const QUEUE_IN_FLIGHT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// And the bytes of those that wait in memory to be given out, because nothing lies before them: while
/// the endpoint keeps up, nothing is read from disk.
pub const QUEUE_PASSING_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Records that are written and synced together, and their bytes: a sync is paid once for them.
pub const QUEUE_GROUP_MAX: usize = 256;
/// See [`QUEUE_GROUP_MAX`]. At 500 MB a second, so much takes as long as a sync.
pub const QUEUE_GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Records on their way from the cores to a queue's thread. Beyond, the answer is 503.
pub const QUEUE_INBOX_MAX: usize = 1024;
/// And their bytes, one more always: a disk that hangs must not have them pile up.
pub const QUEUE_INBOX_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Records that are read in one turn, before what is to be appended has its turn.
pub const QUEUE_READS_PER_TURN: usize = 16;
/// Bodies that are remembered so that none is stored twice: those of a hundred sources with fifty
/// shards each are tried again within seconds.
pub const QUEUE_RECENT_MAX: usize = 8192;
/// Segments that have been sent and wait to be written again: one is filled while the one before it is
/// sent.
pub const QUEUE_SPARES_MAX: usize = 2;
/// A write to the page cache that takes as long has waited for the disk: longer than a thread takes to
/// be woken a thousand times.
pub const QUEUE_SLOW_WRITE: Millis = Millis(10);
/// After one of those no core waits for another write, so long.
pub const QUEUE_SLOW_FOR: Millis = Millis(10_000);
/// After a disk has failed or was full, so long it is left alone.
pub const QUEUE_RETRY: Millis = Millis(1_000);
/// What a request takes in a queue besides its body, at most: its head, and what is written around it.
pub const QUEUE_BESIDE_BODY_MAX: usize = 64 * 1024;
/// A place that could not be read for so many tries, on a disk that works, is lost.
pub const QUEUE_READ_TRIES_MAX: u32 = 10;
/// What is read at a time where the next record is looked for.
pub const QUEUE_SEARCH_BYTES: usize = 64 * 1024;
/// Series of one request whose order among others is looked at one by one; a Prometheus sends 2000
/// samples in one. For as many requests as may be read ahead, it takes 8 MiB.
pub const QUEUE_CLAIM_SERIES_MAX: usize = 16 * 1024;
/// The longest time that an endpoint may put us off with Retry-After: one that says a day by mistake
/// is asked again before anybody has noticed.
pub const RETRY_AFTER_MAX: Millis = Millis(300_000);
/// The newest records that are kept in memory to be sent before a backlog, and again so many bytes of
/// them that are out: some seconds of a busy group.
pub const QUEUE_FRESH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What came so long before the newest is not fresh any more. Kept longer, it would be what an endpoint
/// gets first after an outage, before what people look at.
pub const QUEUE_FRESH_AGE_MAX: Millis = Millis(5_000);
/// Of those, so many may be out.
pub const QUEUE_FRESH_OUT_MAX: usize = 16;
/// Rows of records that were sent before their turn and are remembered; while the endpoint answers, all
/// are one row. Of more, some are sent twice.
pub const QUEUE_FRESH_RANGES_MAX: usize = 16 * 1024;

/// Connections to the admin listener at a time: a scraper or two, and people.
pub const ADMIN_CONNECTIONS_MAX: usize = 32;
/// Descriptors of the admin listener: those, what it hears of the end by, and what it reads of the system.
pub const ADMIN_DESCRIPTORS: usize = ADMIN_CONNECTIONS_MAX + 8;
/// How long one of them may be idle, which is longer than scrapes are apart.
pub const ADMIN_IDLE_MAX: Millis = Millis(150_000);
/// How long one may take to send a request, or to read an answer.
pub const ADMIN_TURN_MAX: Millis = Millis(10_000);
/// The longest body of a request there; none needs one.
pub const ADMIN_BODY_BYTES_MAX: u64 = 64 * 1024;
/// A core that has not shown for so long that it lives is stuck: the process is not healthy.
pub const CORE_STUCK: Millis = Millis(5_000);
/// What an operator wants of a seat is given up after so long: long enough for a source that scrapes
/// once a minute.
pub const ORDER_PATIENCE: Millis = Millis(150_000);
/// A group that an operator gives to another node is led on here if none has taken it by then. Asking once
/// takes some milliseconds; with leases it takes what is left of one.
pub const LEAD_GIVEN_MAX: Millis = Millis(10_000);
/// So many groups wait to be given away; more are refused.
pub const LEADS_GIVEN_AT_ONCE: usize = GROUPS_MAX;
/// The hash of a password takes a second at this cost, and twice as long with each more; others who are not
/// known yet wait for it.
pub const BCRYPT_COST_MAX: u32 = 14;
/// So many passwords wait at the data listeners to be checked against their hash; more are answered 503.
pub const STRANGERS_MAX: usize = 1024;
/// So many of them from one address: more than the shards of a Prometheus, and few enough that whoever
/// guesses from one place leaves room for others.
pub const STRANGERS_OF_ONE_MAX: usize = 64;
/// A password that was wrong is known to be for so long, so that a Prometheus with an old one does not have
/// each of its tries checked.
pub const WRONG_KNOWN_FOR: Millis = Millis(30_000);
/// So many of those.
pub const WRONG_KNOWN_MAX: usize = 256;
/// So far apart are the lines of one core that tell the same of handshakes which failed.
pub const FAULTS_TOLD_EVERY: Millis = Millis(10_000);
/// No request waits longer for its password to be checked.
pub const PASSWORD_DEADLINE: Millis = Millis(30_000);
/// With so many connections to the admin listener, those that ask nothing are closed after
/// [`ADMIN_CROWDED_IDLE_MAX`].
pub const ADMIN_CROWDED: usize = ADMIN_CONNECTIONS_MAX * 3 / 4;
/// See [`ADMIN_CROWDED`].
pub const ADMIN_CROWDED_IDLE_MAX: Millis = Millis(500);
