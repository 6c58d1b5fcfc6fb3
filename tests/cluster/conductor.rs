//! The conductor of a node: one machine for each seat, its words and its orders.

use std::collections::BTreeMap;
use std::sync::Arc;

use highlander::base::time::Millis;
use highlander::logic::handover::{Effect, Handover};
use highlander::logic::view::{Event, Lead, Stage};
use highlander::shared::state::{Seat, SeatId};

use crate::mutation::Mutation;
use crate::node::Node;
use crate::order::Order;

pub struct Conductor {
    window: Millis,
    led: BTreeMap<SeatId, (Arc<Seat>, Handover)>,
}

impl Conductor {
    pub fn new(window: Millis) -> Conductor {
        Conductor { window, led: BTreeMap::new() }
    }
}

impl Node {
    pub fn on_order(&mut self, order: Order) {
        let now = self.now();
        match order {
            Order::Changed(seat) => drop(self.led(&seat)),
            Order::Gathered(seat, turn, core, gathered) => {
                let covered = seat.marks.covered();
                self.led(&seat).on_gathered(turn, core, gathered, covered);
            }
            Order::Asked(seat, id, voice, push) => self.led(&seat).on_ask(id, voice, push),
            Order::Done(seat, id, outcome) => self.on_done(&seat, id, outcome),
            Order::Sent(seat, outcome) => self.led(&seat).on_sent(outcome, now),
            Order::Gather(seat, core, turn, wanted) => {
                self.passages.shelves(&seat, core).on_asked(turn, wanted);
                return self.gather(&seat, core);
            }
            Order::Send(seat, core, push) => return self.send_on(&seat, core, push),
            Order::Tell(seat, id, verdict) => return self.on_told(&seat, id, verdict),
            Order::Replayed(seat, core, to) => {
                self.passages.shelves(&seat, core).on_replayed(to);
                for source in &seat.sources().all {
                    source.set_doubts(core, 0);
                }
                return;
            }
        }
        self.conduct();
    }

    fn led(&mut self, seat: &Arc<Seat>) -> &mut Handover {
        let Conductor { window, led } = &mut self.conductor;
        let new = || (seat.clone(), Handover::new(*window));
        &mut led.entry(seat.id).or_insert_with(new).1
    }

    fn on_done(
        &mut self,
        seat: &Arc<Seat>,
        id: highlander::logic::ask::AskId,
        outcome: highlander::logic::ask::Outcome,
    ) {
        self.led(seat);
        if let Some((_, handover)) = self.conductor.led.get_mut(&seat.id) {
            handover.on_done(&mut self.lens, id, outcome);
        }
    }

    /// Does what the machines want done.
    pub fn conduct(&mut self) {
        let ids: Vec<SeatId> = self.conductor.led.keys().copied().collect();
        for id in ids {
            self.lead(id);
        }
        self.conductor
            .led
            .retain(|_, (seat, handover)| !handover.is_idle() && !seat.is_forgotten());
    }

    fn lead(&mut self, id: SeatId) {
        let (now, cores) = (self.now(), self.cores);
        loop {
            let Some((seat, handover)) = self.conductor.led.get_mut(&id) else { return };
            let seat = seat.clone();
            if let Stage::Closed(turn) = seat.view().stage {
                handover.on_turn(turn, seat.marks.covered(), cores, now);
            }
            if seat.view().lead != Lead::Us && self.mutation != Mutation::KeepHandover {
                handover.on_left();
            }
            if seat.view().stage == Stage::Steady {
                handover.on_released(seat.marks.covered());
            }
            let mut is_busy = false;
            while let Some((_, handover)) = self.conductor.led.get_mut(&id)
                && let Some(effect) = handover.poll(&mut self.lens, now)
            {
                is_busy = matches!(effect, Effect::Busy);
                self.carry_out(&seat, effect);
                if is_busy {
                    break;
                }
            }
            if !is_busy {
                return;
            }
        }
    }

    fn carry_out(&mut self, seat: &Arc<Seat>, effect: Effect) {
        let cores = self.cores;
        match effect {
            Effect::Gather(turn, wanted) => {
                for core in 0..cores {
                    let order = Order::Gather(seat.clone(), core, turn, wanted.clone());
                    self.order(Order::to_core(core), order);
                }
            }
            Effect::Send(push) => {
                let core = seat.id.0 as usize % cores;
                self.order(Order::to_core(core), Order::Send(seat.clone(), core, push));
            }
            Effect::Tell(id, verdict) => {
                self.order(Order::to_core(id.core), Order::Tell(seat.clone(), id, verdict));
            }
            Effect::Open(turn, _) => {
                for core in 0..cores {
                    let order = Order::Replayed(seat.clone(), core, turn.to);
                    self.order(Order::to_core(core), order);
                }
                self.publish_stage(seat, Event::Opened(turn.epoch));
            }
            Effect::Settle(turn) => self.publish_stage(seat, Event::Settled(turn.epoch)),
            Effect::Busy => {}
        }
    }

    /// Parked requests ask the view again.
    fn publish_stage(&mut self, seat: &Seat, event: Event) {
        if seat.on_event(event, Millis(0)).is_some() {
            if crate::world::is_traced() {
                println!("{}: node {} {event:?}", self.world, self.place);
            }
            self.wake();
        }
    }
}
