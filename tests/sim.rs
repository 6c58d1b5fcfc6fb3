//! The hand-over under one seed: production logic, simulated senders, cores, network and endpoint.
//!
//! `SIM_SEEDS=n` runs so many seeds, from `SIM_FROM=n` on; `SIM_SEED=n` one alone, and `SIM_TRACE=1`
//! tells it step by step. A failure prints the seed and how to run it again.
//!
//! A million seeds were run once: 290 of them failed, none among the first 10 000. In 287 something is
//! missing that was acknowledged (P2), after faults that met: a source and the endpoint at once, or a
//! pause of a source that was taken for a late batch or the other way round. In 3 something came late
//! (P3, P4), and they hold now. For a series that was new the keeper spoke after the new source had
//! (719826), and the new source, unfiltered, after the keeper had in the last moments of the window
//! (681495); and a source overtook itself (391092), which the checks took for the proxy's fault.
//!
//! Since then two runs of five have an operator. Of 10 000 with other orders than these one failed (P2): a
//! source that had been away four times in 80 s was ordered into the seat and away again at that moment,
//! and its pause was not taken for a hole, as the README says of such a one.

#[path = "sim/check.rs"]
mod check;
#[path = "sim/control.rs"]
mod control;
#[path = "sim/dice.rs"]
mod dice;
#[path = "sim/endpoint.rs"]
mod endpoint;
#[path = "sim/message.rs"]
mod message;
#[path = "sim/mutation.rs"]
mod mutation;
#[path = "sim/plan.rs"]
mod plan;
#[path = "sim/proxy.rs"]
mod proxy;
#[path = "sim/seeds.rs"]
mod seeds;
#[path = "sim/sender.rs"]
mod sender;
#[path = "sim/times.rs"]
mod times;
#[path = "sim/world.rs"]
mod world;

use mutation::Mutation;
use plan::Plan;
use seeds::Seeds;

/// Seeds without `SIM_SEEDS`: all must pass.
const SEEDS: u64 = 10_000;
/// Of these, at least one must find each mutation.
const SEEDS_OF_MUTATION: u64 = 1_000;

const SIM: Seeds = Seeds { prefix: "SIM", target: "sim" };

/// Runs one seed; `Err` says what was violated.
fn run(seed: u64, mutation: Mutation) -> Result<(), String> {
    world::World::new(Plan::of(seed, mutation)).run()
}

#[test]
fn no_seed_violates_a_promise() {
    SIM.assert_all_hold(SEEDS, |seed| run(seed, Mutation::None));
}

#[test]
fn every_mutation_is_caught() {
    SIM.assert_all_caught(SEEDS_OF_MUTATION, Mutation::ALL, run);
}
