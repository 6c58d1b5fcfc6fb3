//! Highlander: a highly available reverse proxy for Prometheus `remote_write`.
//!
//! Several Prometheus servers scrape the same targets and all push to Highlander; exactly one of
//! them, the promoted source, reaches the long-term storage. When it fails, another takes over.
//! There can be only one.
//!
//! # The promises
//!
//! People put this in front of all their metrics. What they may rely on, each checked by tests that
//! can fail, and by a simulation under faults:
//!
//! 1. **One voice.** For a group, at any moment, only the promoted source's data goes out. While a
//!    hand-over is open this holds series by series.
//! 2. **Nothing acknowledged is lost.** A 2xx is sent only when the endpoint has acknowledged the
//!    request, or it is kept where a hand-over finds it, or all of its samples are covered by what
//!    was delivered. What is kept is kept in memory: it is gone when this process dies.
//! 3. **No overlap.** At a hand-over, per series, only samples newer than the newest one delivered go
//!    out. Samples of two replicas are never interleaved.
//! 4. **Order.** Per series, timestamps never go back at an endpoint, as long as the source itself
//!    sends in order.
//! 5. **Bounded.** Every buffer has a limit ([`base::limits`]). At the limit the answer is 503 with
//!    Retry-After, so that the sender's WAL keeps the data; never 429, which Prometheus drops.
//! 6. **Byte for byte.** The promoted source's request reaches the endpoint unchanged, but for
//!    `Host`, hop-by-hop headers, `X-Highlander-Instance` and the `highlander_*` parameters. Its
//!    answer comes back unchanged.
//! 7. **Any payload.** The election works for any HTTP request. What is not remote write is switched
//!    without a hand-over.
//!
//! # The words
//!
//! One word per thing, in code, logs, metrics, flags and documents.
//!
//! | word | means |
//! |---|---|
//! | source | one Prometheus replica, however many connections it speaks on |
//! | group | sources that carry the same data: a tenant and a `highlander_group` |
//! | weight | `highlander_weight`; the bigger one wins |
//! | promoted, standby | the source whose data goes out; the others |
//! | seat | the place of the promoted source of a group |
//! | view | the published answer to "who is promoted, and who leads", with an epoch that only rises |
//! | node, member | one process of a cluster; the same as the others know it |
//! | leader | the node that decides and forwards for a group |
//! | term | counts the changes of a group's leader |
//! | standing | what nodes tell each other of a group |
//! | lease, promise | a leader's right to lead, until when; what it is made of at those who give it |
//! | settled | a node that knows how the groups stand, and may lead |
//! | pass | what a relaying node says of who sent a request |
//! | trusted proxy | a balancer that is believed about where others speak from |
//! | rule, ruling | what an operator says of sources: of whom, and the weight and group they have |
//! | last heard, silence | when a source's last whole request came; the time since |
//! | expiry, patience | the configured limit of silence; what it comes to for one source now |
//! | rhythm | how long a source's pauses are, learned by looking |
//! | tick | the moment at which silence is looked at |
//! | beat | the moment, ten times a second, at which a core looks at its deadlines |
//! | forward, hold, park, filter, relay, refuse | what can become of a request: to the endpoint; kept for a hand-over; waiting for one; through one; to the leader; a status of our own |
//! | held, delivered, in doubt | kept requests: a standby's; those the endpoint acknowledged; those it may have |
//! | hand-over | what a change of the seat sets off: closed while held requests are sent on, then open |
//! | keeper | the live source that keeps its voice in an open hand-over |
//! | watermark | of each series, the newest time delivered |
//! | low mark | up to where the promoted source has delivered everything |
//! | floor | what is older is covered by what was delivered |
//! | endpoint, edition | a remote-write receiver; one more of it each time a reload changes it |
//! | link | a connection to the endpoint |
//! | terms | the settings that a request is under, to its end, whatever a reload makes of them meanwhile |
//! | route, form | how heads are written for an endpoint; for which route that of a request was |
//! | queue | the requests that an endpoint is still to get, on disk |
//! | segment, record | a file of a queue; a request in it |
//! | mark | up to where a queue has been sent |
//!
//! # The house
//!
//! Five floors; a file uses its own floor and those below, never above, never in a ring
//! (`tests/floors.rs`).
//!
//! * [`base`]: vocabulary. Time as a number, every bound with its reason.
//! * [`wire`]: bytes to values and back. HTTP/1.1, remote write, the datagrams of a cluster.
//! * [`logic`]: decisions, pure: no socket, file, thread or clock.
//! * [`shared`]: what cores share: seats, presence of sources, counters.
//! * [`io`]: threads, sockets, the clock, the log.
//!
//! Above them the roof: [`cli`], [`config`], [`server`], [`ctl`], [`demo`].
//!
//! # The way of a request
//!
//! One straight line, on one core, without a lock: [`io::acceptor`] hands the connection to a core,
//! [`io::worker`] opens it, [`io::conn`] reads it into [`io::inbound`], [`wire::http::head`] and
//! [`wire::http::body`] parse it, [`io::speaker`] finds out who it is from
//! ([`logic::source`], [`shared::state`]) and asks the view what becomes of it
//! ([`logic::view::View::judge`]), and now and then at its timestamps ([`logic::lookout`]). Remote
//! write goes through [`io::passage`]: forwarded, it takes [`io::upstream`] to the endpoint, by
//! [`io::fan`] to each if there are several, and by [`io::appends`] into the queues ([`io::queue`]) of
//! those that have one, out of which [`io::queue::sender`] sends it when [`logic::queue::dispatch`] says
//! so. [`io::answer`] brings the answer back, the worst of them, and [`io::store`]
//! keeps the request as delivered; held, it is kept there too, in the piece of memory that it was read
//! into ([`io::pieces`]). Anything else, and what a lone source sends too fast to be kept, goes straight
//! through [`wire::http::rewrite`] and [`io::upstream`], to an https endpoint in the records of
//! [`io::tls`].
//! Whatever is wrong gets the status that [`wire::http::reply::Refusal`] gives it.
//!
//! # The way of a hand-over
//!
//! A change of the seat closes it ([`logic::view::Stage`]). The conductor ([`io::conductor`]), a thread
//! of its own, asks every core for what it keeps ([`logic::shelf`]), reads what was delivered into a
//! watermark ([`logic::desk`], [`logic::watermark`]) and has the cores send on what was held
//! ([`logic::handover`]). Then it opens the hand-over, filters live requests until the new source has
//! spoken for every series, and settles it.
//!
//! # The way of a tick
//!
//! [`io::control`] looks at all sources ([`shared::presence`]), learns their rhythm
//! ([`logic::expiry`], [`logic::continuity`]), puts the low mark together ([`logic::low_mark`],
//! [`shared::marks`], [`logic::progress`]) and asks [`logic::election::Group`] what follows; the event goes to the seat
//! ([`shared::state::Seat::on_event`]), where [`logic::view::View::step`] makes the next view of it
//! and one compare-and-swap publishes it. The same place, and the same loop, takes the events of
//! requests: the first source heard takes an empty seat at its first whole request.
//!
//! # The way of a look from outside
//!
//! [`io::admin`] takes it on a listener of its own and gathers what all threads have left where anybody may
//! read it ([`io::admin::sight`], [`shared::metrics`], [`shared::nodes`], [`io::process`]); as metrics it
//! is written by [`wire::exposition`], as JSON by [`io::admin::status`], which the page of
//! [`io::admin::status_page`] shows to whoever comes with a browser ([`wire::http::accept`]).
//!
//! # The way of a reload
//!
//! A signal, or [`io::admin::steer`], has [`server`] read the configuration again, compare it with the one in
//! force, and make what is new: endpoints ([`io::endpoint`]) and queues. If all of it can be had, each core
//! finds its new settings ([`io::settings`]) in its inbox; the other threads look at theirs when they turn
//! ([`shared::tuning`]). Requests end under the terms that they are under; what is kept and sent on later
//! gets its head anew then ([`wire::http::form`]).
//!
//! # The way of a gossip message
//!
//! A datagram ([`io::gossip`]) is opened ([`wire::cluster::seal`]), must not have come before
//! ([`logic::cluster::replays`]) and is a notice ([`logic::cluster::notice`]) to the member
//! ([`logic::cluster::member`]): of who is alive ([`logic::cluster::swim`]), how groups stand
//! ([`logic::cluster::standing`]), what is promised to whom ([`logic::cluster::lease`]; where an etcd
//! promises, [`io::etcd`] and [`io::leases`]). Who leads a group follows
//! ([`logic::cluster::leadership`]), and takes the way of a tick's event from there: to the seat
//! ([`io::seating`]), through the pure step, published by the same swap.
//!
//! A request whose view names another node goes there ([`wire::http::rewrite::add_pass`],
//! [`logic::cluster::pass`], [`io::upstream::relay`]); the leader takes its source from the pass.

pub mod base;
pub mod cli;
pub mod config;
pub mod ctl;
pub mod demo;
pub mod io;
pub mod logic;
pub mod server;
pub mod shared;
pub mod wire;
