//! Which records are under way when, under one seed: production logic between a queue that is read, an
//! endpoint that answers as it likes or not at all, and crashes; checked against what arrived.
//!
//! `DISPATCH_SEEDS=n` runs so many seeds, from `DISPATCH_FROM=n` on; `DISPATCH_SEED=n` one alone. A
//! failure prints the seed and how to run it again.

#[path = "sim/dice.rs"]
mod dice;
#[path = "dispatch/mutation.rs"]
mod mutation;
#[path = "sim/seeds.rs"]
mod seeds;
#[path = "dispatch/world.rs"]
mod world;

use mutation::Mutation;
use seeds::Seeds;

/// Seeds without `DISPATCH_SEEDS`: all must pass.
const SEEDS: u64 = 20_000;
/// Of these, at least one must find each mutation.
const SEEDS_OF_MUTATION: u64 = 500;

const DISPATCH: Seeds = Seeds { prefix: "DISPATCH", target: "dispatch" };

fn run(seed: u64, mutation: Mutation) -> Result<world::Seen, String> {
    let world = world::World::new(seed, mutation);
    let rule = world.rule;
    world.run().map_err(|what| format!("{what}; {rule:?}"))
}

#[test]
fn no_seed_violates_a_promise() {
    let seen = DISPATCH.assert_all_hold(SEEDS, |seed| run(seed, Mutation::None));
    let all = seen.into_iter().reduce(world::Seen::with).unwrap_or_default();
    println!("{all:?}");
    if std::env::var_os("DISPATCH_SEED").is_none() {
        all.assert_everything_happened();
    }
}

#[test]
fn every_mutation_is_caught() {
    DISPATCH.assert_all_caught(SEEDS_OF_MUTATION, Mutation::ALL, run);
}
