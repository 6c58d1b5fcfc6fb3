//! The queue under one seed: production logic on a disk that tears what it writes, forgets what was not
//! synced, rots, fills up and fails; checked against a list of what was acknowledged.
//!
//! `QUEUE_SEEDS=n` runs so many seeds, from `QUEUE_FROM=n` on; `QUEUE_SEED=n` one alone. A failure
//! prints the seed and how to run it again.

#[path = "sim/dice.rs"]
mod dice;
#[path = "queue/disk.rs"]
mod disk;
#[path = "queue/faults.rs"]
mod faults;
#[path = "queue/list.rs"]
mod list;
#[path = "queue/mutation.rs"]
mod mutation;
#[path = "queue/real.rs"]
mod real;
#[path = "sim/seeds.rs"]
mod seeds;
#[path = "queue/world.rs"]
mod world;

use mutation::Mutation;
use seeds::Seeds;

/// Seeds without `QUEUE_SEEDS`: all must pass.
const SEEDS: u64 = 20_000;
/// Of these, at least one must find each mutation.
const SEEDS_OF_MUTATION: u64 = 500;

const QUEUE: Seeds = Seeds { prefix: "QUEUE", target: "queue" };

/// Runs one seed; `Err` says what was violated.
fn run(seed: u64, mutation: Mutation) -> Result<world::Seen, String> {
    let world = world::World::new(seed, mutation);
    let setting = world.setting;
    world.run().map_err(|what| format!("{what}; {setting:?}"))
}

#[test]
fn no_seed_violates_a_promise() {
    let seen = QUEUE.assert_all_hold(SEEDS, |seed| run(seed, Mutation::None));
    let all = seen.into_iter().reduce(world::Seen::with).unwrap_or_default();
    println!("{all:?}");
    if std::env::var_os("QUEUE_SEED").is_none() {
        all.assert_everything_happened();
    }
}

#[test]
fn every_mutation_is_caught() {
    QUEUE.assert_all_caught(SEEDS_OF_MUTATION, Mutation::ALL, run);
}
