//! Measures Highlander beside haproxy, nginx and a bare relay.
//!
//! One program with four parts instead of four programs: the runner starts the other three as
//! processes of their own, and finds them by its own path.

mod body;
mod fault;
mod framer;
mod histogram;
mod load;
mod relay;
mod ring;
mod runner;
mod sink;

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
}

fn main() -> ExitCode {
    let cli: Cli = argh::from_env();
    let outcome = match cli.part {
        Part::Load(options) => load::run(&options),
        Part::Sink(options) => sink::run(&options),
        Part::Relay(options) => relay::run(&options),
        Part::Runner(options) => runner::run(*options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Fault(why)) => {
            eprintln!("highlander-perf: {why}");
            ExitCode::FAILURE
        }
    }
}
