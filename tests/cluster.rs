//! A cluster under one seed: production logic on each node, simulated threads, network, senders and
//! endpoint.
//!
//! `CLUSTER_SEEDS=n` runs so many seeds, from `CLUSTER_FROM=n` on; `CLUSTER_SEED=n` one alone, and
//! `CLUSTER_TRACE=1` tells it step by step. A failure prints the seed and how to run it again.

#[path = "sim/check.rs"]
mod check;
#[path = "cluster/conductor.rs"]
mod conductor;
#[path = "sim/dice.rs"]
mod dice;
#[path = "sim/endpoint.rs"]
mod endpoint;
#[path = "cluster/faults.rs"]
mod faults;
#[path = "cluster/mutation.rs"]
mod mutation;
#[path = "cluster/network.rs"]
mod network;
#[path = "cluster/node.rs"]
mod node;
#[path = "cluster/order.rs"]
mod order;
#[path = "cluster/passage.rs"]
mod passage;
#[path = "cluster/plan.rs"]
mod plan;
#[path = "cluster/relay.rs"]
mod relay;
#[path = "sim/sender.rs"]
mod sender;
#[path = "cluster/sources.rs"]
mod sources;
#[path = "sim/times.rs"]
mod times;
#[path = "cluster/world.rs"]
mod world;

use mutation::Mutation;
use plan::Plan;
use world::Cost;

/// Seeds without `CLUSTER_SEEDS`: all must pass.
const SEEDS: u64 = 10_000;
/// Of these, at least one must find each mutation.
const SEEDS_OF_MUTATION: u64 = 400;

/// Runs one seed; `Err` says what was violated.
fn run(seed: u64, mutation: Mutation) -> Result<Cost, String> {
    let run = || world::World::new(Plan::of(seed, mutation)).run();
    // A violated assertion of the production logic is a finding, too.
    std::panic::catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(format!("a panic: {}", text.unwrap_or_default()))
    })
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_seed_violates_a_promise() {
    let seeds = match number("CLUSTER_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let from = number("CLUSTER_FROM").unwrap_or(0);
            from..from + number("CLUSTER_SEEDS").unwrap_or(SEEDS)
        }
    };
    let count = seeds.end - seeds.start;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let parts: Vec<(Vec<u64>, Cost)> = std::thread::scope(|scope| {
        let run_part = |part: usize| {
            let seeds = seeds.clone().skip(part).step_by(threads);
            scope.spawn(move || run_all(seeds))
        };
        let parts: Vec<_> = (0..threads).map(run_part).collect();
        parts.into_iter().map(|part| part.join().expect("panics are caught")).collect()
    });
    let failed: Vec<u64> = parts.iter().flat_map(|(failed, _)| failed.iter().copied()).collect();
    let sum = |of: fn(&Cost) -> usize| parts.iter().map(|(_, cost)| of(cost)).sum::<usize>();
    let (doubled, disordered) = (sum(|cost| cost.doubled), sum(|cost| cost.disordered));
    let unknowable = sum(|cost| cost.unknowable);
    println!("{count} seeds, {} failed", failed.len());
    println!("without leases: {doubled} samples were sent while two nodes led");
    println!("and {disordered} requests came after newer ones of their series");
    println!("and {} runs lost something acknowledged", sum(|cost| cost.lossy));
    println!(
        "{unknowable} came after what nobody could know when source and leader had died at once"
    );
    assert!(failed.is_empty(), "{} seeds failed: {failed:?}", failed.len());
}

fn run_all(seeds: impl Iterator<Item = u64>) -> (Vec<u64>, Cost) {
    let (mut failed, mut all) = (Vec::new(), Cost::default());
    for seed in seeds {
        match run(seed, Mutation::None) {
            Ok(Cost { doubled, disordered, lossy, unknowable }) => {
                all.lossy += lossy;
                all.doubled += doubled;
                all.disordered += disordered;
                all.unknowable += unknowable;
            }
            Err(what) => {
                println!("SEED={seed}: {what}");
                println!("  CLUSTER_SEED={seed} cargo test --test cluster no_seed");
                failed.push(seed);
            }
        }
    }
    (failed, all)
}

#[test]
fn every_mutation_is_caught() {
    let seeds = number("CLUSTER_SEEDS").unwrap_or(SEEDS_OF_MUTATION);
    let mut escaped = Vec::new();
    for mutation in Mutation::ALL {
        let caught =
            (0..seeds).find_map(|seed| run(seed, *mutation).err().map(|what| (seed, what)));
        match caught {
            Some((seed, what)) => println!("{mutation:?}: caught by seed {seed}: {what}"),
            None => escaped.push(*mutation),
        }
    }
    assert!(escaped.is_empty(), "not caught: {escaped:?}");
}
