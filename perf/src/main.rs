//! Measures Highlander beside haproxy, nginx and a bare relay.
//!
//! One program with several parts instead of several programs: the runner starts load, sink and
//! relay as processes of their own, and finds them by its own path.

mod body;
mod endpoint;
mod fault;
mod framer;
mod gossip;
mod histogram;
mod load;
mod queues;
mod reading;
mod relay;
mod replay;
mod rig;
mod ring;
mod runner;
mod scrape;
mod sink;
mod soak;
mod tls;

use std::process::ExitCode;

use argh::FromArgs;

use crate::fault::Fault;

/// Measures Highlander beside haproxy, nginx and a bare relay.
#[derive(FromArgs)]
struct Cli {
    #[argh(subcommand)]
    part: Part,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Part {
    Load(load::Options),
    Sink(sink::Options),
    Relay(relay::Options),
    Runner(Box<runner::Options>),
    Replay(replay::Options),
    Soak(soak::Options),
    Gossip(gossip::Options),
    Queues(queues::Options),
}

fn main() -> ExitCode {
    let cli: Cli = argh::from_env();
    let outcome = match cli.part {
        Part::Load(options) => load::run(&options),
        Part::Sink(options) => sink::run(&options),
        Part::Relay(options) => relay::run(&options),
        Part::Runner(options) => runner::run(*options),
        Part::Replay(options) => replay::run(&options),
        Part::Soak(options) => soak::run(&options),
        Part::Gossip(options) => gossip::run(&options),
        Part::Queues(options) => queues::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Fault(why)) => {
            eprintln!("highlander-perf: {why}");
            ExitCode::FAILURE
        }
    }
}
