//! What becomes of a remote write request: forwarded, held, parked, filtered.
//!
//! Its body has its place before its source is answered: at the endpoint, or on a shelf.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use monoio::buf::IoBuf;

use crate::base::limits::{ANSWER_DEADLINE, PARK_MAX};
use crate::base::time::{Millis, Nanos, UnixMillis};
use crate::io::answer::{self, Manner};
use crate::io::channel::Channel;
use crate::io::core::Core;
use crate::io::deadline::{Patience, Slot};
use crate::io::fan::{self, Ending};
use crate::io::link::Link;
use crate::io::orders::Word;
use crate::io::relay;
use crate::io::speaker::Speaker;
use crate::io::upstream::{self, Outgoing};
use crate::logic::ask::{AskId, Outcome, Verdict};
use crate::logic::pressure::Pressure;
use crate::logic::shelf::{Kept, Sent};
use crate::logic::source::Payload;
use crate::logic::view::{Fate, Lead, Voice};
use crate::shared::labels::Course;
use crate::shared::metrics::Counter;
use crate::shared::presence::Answered;
use crate::wire::http::answer::{Answer, Asked};
use crate::wire::http::head::{Framing, Persistence, Version};
use crate::wire::http::reply::{self, Refusal};
use crate::wire::http::rewrite::add_pass;
use crate::wire::remote_write::points::Counts;
use crate::wire::remote_write::protocol::Protocol;
use crate::wire::remote_write::push::Push;

/// Why a request was not answered by the endpoint or as a standby's.
#[derive(Debug)]
pub enum Fault {
    /// To be answered.
    Refused(Refusal),
    /// Nobody is there to be answered.
    Gone,
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        Fault::Refused(refusal)
    }
}

/// What a request counts as, its bytes, and how long it took.
pub type Counted = (Counter, Counter, Course);
/// What one counts as that the endpoint has answered.
pub const FORWARDED: Counted = (Counter::Forwarded, Counter::ForwardedBytes, Course::Forwarded);
/// And one that another node has answered.
pub const RELAYED: Counted = (Counter::Relayed, Counter::RelayedBytes, Course::Relayed);

/// One remote write request whose last byte has been read.
pub struct Passage<'c> {
    /// The core that it came to.
    pub core: &'c Rc<Core>,
    /// The deadline of its connection.
    pub slot: &'c Slot,
    /// Its connection.
    pub channel: &'c mut Channel,
    /// Who sends it.
    pub speaker: &'c Speaker,
    /// How its source is spoken to.
    pub manner: Manner,
    /// When its head had been read.
    pub begun: Nanos,
    /// The request.
    pub push: Push,
    /// Whether it is on a shelf already.
    pub is_held: bool,
    /// Whether it has waited already.
    pub has_parked: bool,
}

impl Passage<'_> {
    /// Sees the request to its answer. `fate` is what the view said of it when it had come.
    pub async fn run(mut self, fate: Fate) -> Result<Persistence, Fault> {
        let due = self.core.now().after(PARK_MAX);
        let first = self.speaker.first(self.push.protocol(), self.push.body());
        // A jump of its samples may just have put its source under suspicion.
        let mut fate = if first.is_some() { self.decide()? } else { fate };
        loop {
            match fate {
                Fate::Forward => return self.forward(first).await,
                Fate::Hold => return self.hold().await,
                Fate::Park => self.park(due).await?,
                Fate::Filter(voice) => {
                    if let Some(persistence) = self.filter(voice, due).await? {
                        return Ok(persistence);
                    }
                }
                Fate::Relay(to) => {
                    if let Some(persistence) = self.relay(to).await? {
                        return Ok(persistence);
                    }
                    // Who leads now is known after a moment.
                    self.park(due).await?;
                }
                Fate::Contend | Fate::Take => return Err(Refusal::SeatChanged.into()),
            }
            if self.core.draining.get() {
                return Err(Refusal::ShuttingDown.into());
            }
            fate = self.decide()?;
        }
    }

    fn decide(&self) -> Result<Fate, Fault> {
        Ok(self.speaker.decide(Payload::RemoteWrite)?)
    }

    /// The promoted source's request: to the endpoint, kept as delivered unless nothing of its source is,
    /// and the endpoint's answer back.
    async fn forward(&mut self, first: Option<UnixMillis>) -> Result<Persistence, Fault> {
        let (core, speaker) = (self.core, self.speaker);
        if core.store.pressure() >= Pressure::Over {
            return Err(Refusal::HoldFull.into());
        }
        let (stock, source) = (speaker.stock(), speaker.source());
        core.store.on_sent(stock, source, first);
        let Ending { answer, outcome } = {
            let _in_flight = speaker.in_flight();
            fan::send(core, self.slot, speaker.seat(), &self.push).await
        };
        let counters = &core.handle.counters;
        let has_waited = self.is_held || self.has_parked;
        if !has_waited && speaker.is_thin() && stock.may_leave(outcome) {
            core.store.on_unkept(stock, source, first, self.push.whole().len(), counters);
        } else {
            let kept = Kept { arrived: core.store.nanos(), push: self.push.clone() };
            let sent = Sent { kept, first };
            let look = |push: &Push| speaker.look_at(push.protocol(), push.body());
            core.store.on_forwarded(stock, source, sent, outcome, counters, look);
        }
        self.tell(answer?).await
    }

    /// The endpoints' answer, or that it is taken, back to the source.
    async fn tell(&mut self, answer: Option<(Link, Answer)>) -> Result<Persistence, Fault> {
        match answer {
            Some((link, answer)) => self.pass_on(link, answer, FORWARDED).await,
            None => {
                self.count(Counter::Forwarded, Counter::ForwardedBytes);
                self.take(Course::Forwarded).await
            }
        }
    }

    /// The endpoint's answer, back to the source.
    async fn pass_on(
        &mut self,
        link: Link,
        answer: Answer,
        (requests, bytes, course): Counted,
    ) -> Result<Persistence, Fault> {
        self.speaker.answered(Answered::with(answer.status));
        self.count(requests, bytes);
        answer::count(&self.core.handle.counters, requests, &answer);
        let (slot, channel) = (self.slot, &mut *self.channel);
        let passed = answer::pass_on(self.core, slot, channel, link, answer, self.manner);
        let persistence = passed.await.map_err(|_| Fault::Gone)?;
        self.core.on_answered(course, self.begun);
        Ok(persistence)
    }

    /// A standby's request: on a shelf, and answered.
    async fn hold(&mut self) -> Result<Persistence, Fault> {
        self.shelve()?;
        self.count(Counter::Held, Counter::HeldBytes);
        self.take(Course::Held).await
    }

    fn shelve(&mut self) -> Result<(), Fault> {
        if !self.is_held {
            let source = self.speaker.source().id;
            if !self.core.store.hold(self.speaker.stock(), source, self.push.clone()) {
                self.core.handle.counters.add(Counter::HoldRefused, 1);
                return Err(Refusal::HoldFull.into());
            }
            self.is_held = true;
        }
        Ok(())
    }

    /// Sends it to the node that takes requests at `to`. `None`: that does not answer, or does not lead.
    async fn relay(&mut self, to: SocketAddr) -> Result<Option<Persistence>, Fault> {
        let Some(pass) = self.speaker.pass() else { return Err(Refusal::NoLeader.into()) };
        // What is the endpoint's alone is not told to another node, which puts in what it knows itself.
        let push = self.core.terms().in_common(&self.push).map_err(Refusal::Head)?;
        let (mut head, body) = (push.head().to_vec(), push.body());
        add_pass(Framing::Length(body.len() as u64), &pass, &mut head);
        head.extend_from_slice(body);
        let range = 0..head.len();
        let outgoing = Outgoing::whole(Arc::new(head), range, Asked::Other);
        match relay::exchange(self.core, self.slot, self.speaker, to, outgoing).await {
            Some((link, answer)) => self.pass_on(link, answer, RELAYED).await.map(Some),
            None => Ok(None),
        }
    }

    /// Waits until the view may have changed.
    async fn park(&mut self, due: Millis) -> Result<(), Fault> {
        if !std::mem::replace(&mut self.has_parked, true) {
            self.core.handle.counters.add(Counter::Parked, 1);
        }
        let _in_flight = self.speaker.in_flight();
        let turned = self.core.store.turned(self.slot, due).await;
        if turned.is_err() || self.core.now() >= due {
            return Err(match self.speaker.seat().view().lead {
                Lead::Us => Refusal::HandOver,
                Lead::Relay(_) | Lead::Mirror | Lead::Orphan | Lead::Nobody => Refusal::NoLeader,
            }
            .into());
        }
        Ok(())
    }

    /// Asks the open hand-over what of the request goes out. `None`: it is not open any more.
    async fn filter(&mut self, voice: Voice, due: Millis) -> Result<Option<Persistence>, Fault> {
        if voice == Voice::Old {
            // All of it is held too: the new source may die before it has spoken.
            self.shelve()?;
        }
        let (core, speaker) = (self.core, self.speaker);
        let _in_flight = speaker.in_flight();
        let push = self.push.clone();
        let asked = core.store.ask(speaker.seat(), voice, push, self.slot, due).await;
        let (id, verdict) = asked.map_err(|_| Refusal::HandOver)?;
        if !matches!(verdict, Verdict::Overtaken) {
            core.handle.counters.add(Counter::Filtered, 1);
        }
        match verdict {
            Verdict::Overtaken => Ok(None),
            // The word may have been long on its way: others may have sent what is newer by now.
            Verdict::AsItIs | Verdict::Changed(_) if !speaker.seat().may_send(|| core.now()) => {
                core.store.tell(Word::Done(speaker.seat().clone(), id, Outcome::Unsent));
                Ok(None)
            }
            Verdict::Covered => {
                core.handle.counters.add(Counter::Covered, 1);
                self.take(Course::Covered).await.map(Some)
            }
            Verdict::AsItIs => {
                let answer = self.let_out(id, &self.push).await?;
                self.tell(answer).await.map(Some)
            }
            Verdict::Changed(push) => {
                let answer = self.let_out(id, &push).await?;
                if let Some((link, answer)) = answer {
                    if !(200..300).contains(&answer.status) {
                        return self.pass_on(link, answer, FORWARDED).await.map(Some);
                    }
                    // What the endpoint says of a part is not the answer to the whole.
                    upstream::discard(&core.outlet(&core.terms()), link, &answer);
                }
                self.tell(None).await.map(Some)
            }
        }
    }

    /// Sends what may go out, and tells the hand-over how it ended.
    async fn let_out(&self, id: AskId, push: &Push) -> Result<Option<(Link, Answer)>, Fault> {
        let seat = self.speaker.seat();
        let Ending { answer, outcome } = fan::send(self.core, self.slot, seat, push).await;
        self.core.store.tell(Word::Done(seat.clone(), id, outcome));
        Ok(answer?)
    }

    /// Answers that it is taken, as its protocol wants it.
    async fn take(&mut self, course: Course) -> Result<Persistence, Fault> {
        self.speaker.answered(Answered::Settled);
        let Manner { version, persistence } = self.manner;
        match self.counts() {
            Some(Counts { samples, histograms, exemplars }) => {
                let text = reply::written(samples, histograms, exemplars, version, persistence);
                self.write(text).await?;
            }
            None if version == Version::Http10 && persistence == Persistence::KeepAlive => {
                self.write(reply::TAKEN_KEEP_ALIVE).await?;
            }
            None => self.write(reply::taken(persistence)).await?,
        }
        self.core.on_answered(course, self.begun);
        Ok(persistence)
    }

    /// What a version 2 request carries; `None` for version 1, and for what cannot be read.
    fn counts(&self) -> Option<Counts> {
        if self.push.protocol() == Protocol::V1 {
            return None;
        }
        let mut reader = self.core.reader.borrow_mut();
        let limit = self.core.terms().decoded_bytes_max;
        Counts::of_block(Protocol::V2, self.push.body(), limit, &mut reader.decoder).ok()
    }

    async fn write(&mut self, text: impl IoBuf + AsRef<[u8]>) -> Result<(), Fault> {
        let due = self.core.now().after(ANSWER_DEADLINE);
        let work = self.channel.write_all(text);
        let written = self.slot.within(due, Patience::Busy, work).await.map_err(|_| Fault::Gone)?;
        written.map_err(|_| Fault::Gone)
    }

    fn count(&self, requests: Counter, bytes: Counter) {
        let counters = &self.core.handle.counters;
        counters.add(requests, 1);
        counters.add(bytes, self.push.body().len() as u64);
    }
}
