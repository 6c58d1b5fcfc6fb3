//! What one core keeps for hand-overs: the shelves of each group, and the requests that wait.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use crossbeam::channel::Sender;

use crate::base::limits::ALONE_BYTES_MAX;
use crate::base::time::{Millis, Nanos, UnixMillis};
use crate::io::asks::Asks;
use crate::io::clock::Clock;
use crate::io::deadline::{Elapsed, Patience, Slot};
use crate::io::orders::Word;
use crate::io::pieces::Pieces;
use crate::logic::ask::{AskId, Outcome, Verdict};
use crate::logic::pressure::Pressure;
use crate::logic::shelf::{Kept, Sent, Shelves, Wanted};
use crate::logic::source::SourceId;
use crate::logic::view::{Epoch, Voice};
use crate::shared::marks::{Extent, Kind};
use crate::shared::memory::Holding;
use crate::shared::metrics::{Counter, Counters};
use crate::shared::presence::Source;
use crate::shared::state::{Seat, SeatId};
use crate::wire::remote_write::push::Push;

/// The shelves of one group on one core.
pub struct Stock {
    seat: Arc<Seat>,
    shelves: RefCell<Shelves>,
}

/// All stocks of one core.
pub struct Store {
    core: usize,
    stocks: RefCell<HashMap<SeatId, Rc<Stock>>>,
    holding: Holding,
    pieces: Pieces,
    conductor: Sender<Word>,
    clock: Clock,
    asks: Asks<Verdict>,
    parked: RefCell<Parked>,
}

/// Who waits for the core to be woken, each task once, in the order in which they came.
#[derive(Default)]
struct Parked {
    wakers: Vec<Waker>,
    /// The same tasks, by their address.
    tasks: HashSet<usize>,
}

impl Parked {
    fn add(&mut self, waker: &Waker) {
        if self.tasks.insert(waker.data().addr()) {
            self.wakers.push(waker.clone());
        }
    }
}

impl Store {
    /// Nothing is kept yet on core number `core`.
    pub fn new(
        core: usize,
        holding: Holding,
        pieces: Pieces,
        conductor: Sender<Word>,
        clock: Clock,
    ) -> Store {
        Store {
            core,
            stocks: RefCell::default(),
            holding,
            pieces,
            conductor,
            clock,
            asks: Asks::new(),
            parked: RefCell::default(),
        }
    }

    /// The shelves of a group.
    pub fn stock(&self, seat: &Arc<Seat>) -> Rc<Stock> {
        let mut stocks = self.stocks.borrow_mut();
        let new = || Rc::new(Stock { seat: seat.clone(), shelves: RefCell::default() });
        stocks.entry(seat.id).or_insert_with(new).clone()
    }

    /// How full the memory is.
    pub fn pressure(&self) -> Pressure {
        self.holding.pressure()
    }

    /// Tells the conductor something. It never waits: what is under way is bounded by what may be
    /// kept and by the connections.
    pub fn tell(&self, word: Word) {
        // It ends after the cores have.
        let _ = self.conductor.send(word);
    }

    /// A request of the promoted source goes to the endpoint.
    pub fn on_sent(&self, stock: &Stock, source: &Source, first: Option<UnixMillis>) {
        stock.shelves.borrow_mut().on_sent(source.id, first);
    }

    /// It has come to its end: kept as delivered, or as one that the endpoint may have.
    pub fn on_forwarded(
        &self,
        stock: &Stock,
        source: &Source,
        sent: Sent,
        outcome: Outcome,
        counters: &Counters,
        look: impl FnOnce(&Push) -> Option<UnixMillis>,
    ) {
        let ((now, nanos), is_certain) = (self.clock.both(), outcome.is_certain());
        self.change(stock, |shelves| {
            if is_certain {
                shelves.on_acknowledged(sent, now);
            } else if shelves.on_doubtful(sent, now, look) {
                counters.add(Counter::DoubtsForgotten, 1);
            }
        });
        self.drop_delivered(stock, nanos, counters);
        if !is_certain || source.has_doubts() {
            source.set_doubts(self.core, stock.shelves.borrow().doubts());
        }
        if is_certain && self.pressure() >= Pressure::Fold {
            self.fold(stock, counters);
        }
        self.gather(stock);
    }

    /// The same of a request of so many bytes that has left nothing behind, see [`Shelves::may_leave`].
    pub fn on_unkept(
        &self,
        stock: &Stock,
        source: &Source,
        first: Option<UnixMillis>,
        bytes: usize,
        counters: &Counters,
    ) {
        let (now, nanos) = self.clock.both();
        stock.shelves.borrow_mut().on_unkept(first, bytes, now);
        stock.seat.marks.on_dropped(nanos, self.clock.unix_now());
        counters.add(Counter::DeliveredDropped, 1);
        if source.has_doubts() {
            source.set_doubts(self.core, 0);
        }
        self.gather(stock);
    }

    /// An empty piece of memory for a request of so many bytes that may be kept.
    pub fn piece(&self, bytes: usize) -> Vec<u8> {
        let idle_bytes = self.pieces.bytes();
        let piece = self.pieces.take(bytes);
        self.holding.change(idle_bytes, self.pieces.bytes());
        piece
    }

    /// Keeps a standby's request, unless there is no room for it or nobody could say later what of it
    /// had been delivered.
    pub fn hold(&self, stock: &Stock, source: SourceId, push: Push) -> bool {
        if self.pressure() >= Pressure::Full || !self.reaches_back(stock) {
            return false;
        }
        let kept = Kept { arrived: self.clock.nanos(), push };
        self.change(stock, |shelves| shelves.hold(source, kept));
        true
    }

    fn reaches_back(&self, stock: &Stock) -> bool {
        stock.seat.marks.reaches_back(self.clock.unix_now())
    }

    /// A hand-over asks for what is kept.
    pub fn on_gather(&self, seat: &Arc<Seat>, turn: Epoch, wanted: Wanted) {
        let stock = self.stock(seat);
        stock.shelves.borrow_mut().on_asked(turn, wanted);
        self.gather(&stock);
    }

    /// What was held by the new source has been sent on.
    pub fn on_replayed(&self, seat: &Arc<Seat>, to: Option<SourceId>) {
        let stock = self.stock(seat);
        self.change(&stock, |shelves| shelves.on_replayed(to));
        for source in &seat.sources().all {
            source.set_doubts(self.core, 0);
        }
    }

    /// Lets go of what may go, and says how far the promoted source has come here.
    pub fn on_beat(&self, counters: &Counters) {
        let now = self.clock.now();
        let stocks: Vec<Rc<Stock>> = self.stocks.borrow().values().cloned().collect();
        for stock in stocks {
            self.look_after(&stock, now, counters);
        }
        let idle_bytes = self.pieces.bytes();
        self.pieces.on_beat();
        self.holding.change(idle_bytes, self.pieces.bytes());
        // A forgotten seat has sent on what was held; what was delivered is of no use any more.
        let is_used = |stock: &Rc<Stock>| {
            let is_of_use = !stock.seat.is_forgotten() && !stock.shelves.borrow().is_empty();
            Rc::strong_count(stock) > 1 || is_of_use
        };
        self.stocks.borrow_mut().retain(|_, stock| {
            let is_used = is_used(stock);
            if !is_used {
                self.holding.change(stock.shelves.borrow().bytes(), 0);
            }
            is_used
        });
    }

    fn look_after(&self, stock: &Stock, now: Millis, counters: &Counters) {
        let seat = &stock.seat;
        if let Some(promoted) = seat.view().promoted {
            let span = seat.marks.span();
            let low = stock.shelves.borrow_mut().low_mark(promoted.source, now, span);
            seat.marks.set_core(self.core, low);
        }
        let mark = self.clock.nanos_at(seat.marks.release());
        let idle_bytes = self.pieces.bytes();
        self.change(stock, |shelves| {
            shelves.release(mark, |kept| {
                kept.push.into_piece().into_iter().for_each(|piece| self.pieces.give(piece));
            });
        });
        self.holding.change(idle_bytes, self.pieces.bytes());
        let is_alone = seat.sources().all.len() <= 1;
        stock.shelves.borrow_mut().set_alone(is_alone, ALONE_BYTES_MAX);
        self.drop_delivered(stock, self.nanos(), counters);
        self.tell_kept(stock);
    }

    /// Says how much is kept, for whoever looks at it.
    fn tell_kept(&self, stock: &Stock) {
        let shelves = stock.shelves.borrow();
        let held = Extent { bytes: shelves.held_bytes(), since: shelves.held_since() };
        let (bytes, since) = (shelves.delivered_bytes(), shelves.delivered_since());
        stock.seat.marks.set_kept(self.core, Kind::Held, held);
        stock.seat.marks.set_kept(self.core, Kind::Delivered, Extent { bytes, since });
    }

    fn drop_delivered(&self, stock: &Stock, now: Nanos, counters: &Counters) {
        let mut dropped = None;
        self.change(stock, |shelves| dropped = shelves.drop_delivered(ALONE_BYTES_MAX, now));
        if let Some(dropped) = dropped {
            stock.seat.marks.on_dropped(dropped, self.clock.unix_at(dropped));
            counters.add(Counter::DeliveredDropped, 1);
        }
    }

    /// Hands the older half of what was delivered to the conductor, which reads it.
    fn fold(&self, stock: &Stock, counters: &Counters) {
        let mut folded = Vec::new();
        self.change(stock, |shelves| folded = shelves.take_delivered());
        counters.add(Counter::Folded, folded.len() as u64);
        self.tell(Word::Folded(stock.seat.clone(), folded));
    }

    fn gather(&self, stock: &Stock) {
        let gathered = stock.shelves.borrow_mut().poll_gathered();
        if let Some((turn, gathered)) = gathered {
            self.tell(Word::Gathered(stock.seat.clone(), turn, self.core, gathered));
        }
    }

    fn change(&self, stock: &Stock, change: impl FnOnce(&mut Shelves)) {
        let mut shelves = stock.shelves.borrow_mut();
        let before = shelves.bytes();
        change(&mut shelves);
        self.holding.change(before, shelves.bytes());
    }

    /// Asks the conductor what of a live request may go out, and waits for its word.
    pub async fn ask(
        &self,
        seat: &Arc<Seat>,
        voice: Voice,
        push: Push,
        slot: &Slot,
        due: Millis,
    ) -> Result<(AskId, Verdict), Elapsed> {
        let asked = self.asks.open();
        let id = AskId { core: self.core, number: asked.number };
        self.tell(Word::Asked(seat.clone(), id, voice, push));
        let told = slot.within(due, Patience::Busy, asked.told()).await;
        told.map(|verdict| (id, verdict))
    }

    /// The conductor's word. Nobody may wait for it any more: then nothing is sent.
    pub fn on_told(&self, seat: Arc<Seat>, id: AskId, verdict: Verdict) {
        if self.asks.tell(id.number, verdict).is_err() {
            self.tell(Word::Done(seat, id, Outcome::Unsent));
        }
    }

    /// Waits until the core has been woken: something may have changed.
    pub async fn turned(&self, slot: &Slot, due: Millis) -> Result<(), Elapsed> {
        let mut is_back = false;
        let turned = poll_fn(|context| {
            if std::mem::replace(&mut is_back, true) {
                return Poll::Ready(());
            }
            self.parked.borrow_mut().add(context.waker());
            Poll::Pending
        });
        slot.within(due, Patience::Busy, turned).await
    }

    /// Wakes whoever this is the next time that parked requests ask the view again. To be called from a
    /// poll that is woken by other things too.
    pub fn wake_later(&self, waker: &Waker) {
        self.parked.borrow_mut().add(waker);
    }

    /// Lets the parked requests ask the view again.
    pub fn wake_parked(&self) {
        let Parked { wakers, mut tasks } = self.parked.take();
        // Its room is used again.
        tasks.clear();
        self.parked.borrow_mut().tasks = tasks;
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The order of arrival.
    pub fn nanos(&self) -> Nanos {
        self.clock.nanos()
    }
}

impl Stock {
    /// Whether a request that ended so need not be kept, see [`Shelves::may_leave`].
    pub fn may_leave(&self, outcome: Outcome) -> bool {
        self.shelves.borrow().may_leave(outcome)
    }

    /// Whether nothing that is delivered is to be kept, see [`Shelves::is_thin`].
    pub fn is_thin(&self) -> bool {
        self.shelves.borrow().is_thin()
    }

    /// Whose shelves.
    pub fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }
}
