//! Runs the candidates side by side and writes down what they cost.
//!
//! Rounds are interleaved (A B C, A B C, …): what the machine does meanwhile hits all alike, and
//! the spread between rounds shows how much it did.

pub mod bench;
mod candidate;
pub mod child;
mod churn;
mod half_sent;
pub mod http;
pub mod machine;
pub mod proc;
mod report;
mod scenario;
mod trial;

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use argh::FromArgs;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::fault::{During, Fault};
use crate::load::Shape;
use crate::ring;
use crate::tls::Certificate;
use candidate::{Candidate, Programs};
use child::Recipe;
use scenario::{Scenario, Verdict};

/// Compare candidates: each alone on one core, load and sink on another, in interleaved rounds.
#[derive(FromArgs)]
#[argh(subcommand, name = "runner")]
pub struct Options {
    /// forward, tls, standby, cores, churn, half-sent; several with commas (default
    /// forward,standby,cores)
    #[argh(option, default = "List(Scenario::USUAL.to_vec())")]
    scenario: List<Scenario>,

    /// highlander, highlander-epoll, highlander-before, highlander-pair, highlander-tls,
    /// highlander-tls-before, haproxy, haproxy-tls, haproxy-204, nginx, relay; several with commas
    /// (default: all that the scenario is about)
    #[argh(option, default = "List(Vec::new())")]
    candidates: List<Candidate>,

    /// sizes of bodies (default 2048,32768,102400)
    #[argh(option, default = "List(vec![2048, 32768, 102_400])")]
    bodies: List<usize>,

    /// connections at a time (default 1,16,64)
    #[argh(option, default = "List(vec![1, 16, 64])")]
    connections: List<usize>,

    /// rounds (default 5)
    #[argh(option, default = "5")]
    rounds: usize,

    /// measured requests in a round; for churn, the connections in all (default 50000, churn
    /// 100000)
    #[argh(option)]
    requests: Option<u64>,

    /// requests before them (default 5000)
    #[argh(option, default = "5000")]
    warmup: u64,

    /// clients that stay half-sent (default 400)
    #[argh(option, default = "400")]
    stalled: usize,

    /// how the load sends: whole or codec (default whole)
    #[argh(option, default = "Shape::Whole")]
    send: Shape,

    /// the core of the candidate, and of the runs on several cores the first (default 0)
    #[argh(option, default = "0")]
    candidate_core: usize,

    /// the core of load and sink (default 1)
    #[argh(option, default = "1")]
    load_core: usize,

    /// haproxy's tune.bufsize (default 65536)
    #[argh(option, default = "65536")]
    haproxy_bufsize: usize,

    /// the proxy's binary (default ../target/release/highlander, seen from this package)
    #[argh(option)]
    highlander: Option<PathBuf>,

    /// another build of the proxy, the candidate highlander-before
    #[argh(option)]
    before: Option<PathBuf>,

    /// further arguments for the proxy, separated by spaces
    #[argh(option, default = "String::new()")]
    highlander_args: String,

    /// file for the results, which also go to stdout
    #[argh(option)]
    out: Option<PathBuf>,
}

/// What every scenario needs to know.
pub struct Settings {
    programs: Programs,
    /// What the candidates show that are pushed to over TLS.
    certificate: Certificate,
    requests: Option<u64>,
    warmup: u64,
    send: Shape,
    candidate_core: usize,
    load_core: usize,
    interrupted: Arc<AtomicBool>,
}

/// Runs the scenarios one after the other and writes the results after each, so that a fault costs
/// no more than the scenario it is in.
pub fn run(options: Options) -> Result<(), Fault> {
    // The children inherit this core, those that need another are moved.
    ring::pin(Some(options.load_core))?;
    let settings = Settings::new(&options)?;
    let mut text = machine::describe("Side by side", &settings.describe())?;
    // Also before the first: a file that cannot be written shall not cost an hour.
    write_results(&options, &text)?;
    let mut verdict = Verdict::Clean;
    for scenario in &options.scenario.0 {
        let outcome = scenario.run(&settings, &options, &mut text);
        if outcome.is_err() {
            text.push_str("\n**Ended by a fault: what is missing was not measured.**\n");
            println!("{text}");
        }
        write_results(&options, &text)?;
        verdict = verdict.max(outcome?);
    }
    println!("{text}");
    match verdict {
        Verdict::Clean => Ok(()),
        Verdict::Failures => {
            Err(Fault(String::from("there were failures; the figures are not to be trusted")))
        }
    }
}

fn write_results(options: &Options, text: &str) -> Result<(), Fault> {
    match &options.out {
        Some(path) => fs::write(path, text).during(path.display()),
        None => Ok(()),
    }
}

impl Settings {
    fn new(options: &Options) -> Result<Self, Fault> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let highlander = match &options.highlander {
            // The candidates run in a folder of their own.
            Some(path) => std::path::absolute(path).during(path.display())?,
            None => package.join("../target/release/highlander"),
        };
        let before =
            options.before.as_ref().map(|path| std::path::absolute(path).during(path.display()));
        let words = options.highlander_args.split_whitespace();
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            signal_hook::flag::register(signal, Arc::clone(&interrupted)).during("signals")?;
        }
        Ok(Self {
            programs: Programs {
                highlander,
                before: before.transpose()?,
                highlander_args: words.map(str::to_owned).collect(),
                haproxy_bufsize: options.haproxy_bufsize,
                own: std::env::current_exe().during("this program's path")?,
            },
            certificate: Certificate::make()?,
            requests: options.requests,
            warmup: options.warmup,
            send: options.send,
            candidate_core: options.candidate_core,
            load_core: options.load_core,
            interrupted,
        })
    }

    /// What the head of the results says of this run.
    fn describe(&self) -> Vec<(&'static str, String)> {
        vec![
            ("candidate", format!("core {}", self.candidate_core)),
            ("load and sink", format!("core {}, requests sent {}", self.load_core, self.send)),
            ("haproxy", machine::version("haproxy", "-v")),
            ("haproxy's TLS", machine::said("haproxy", "-vv", "Running on OpenSSL")),
            ("nginx", machine::version("nginx", "-v")),
        ]
    }

    /// A fault once a signal has asked for the end; Drop then ends the children.
    fn check_interrupted(&self) -> Result<(), Fault> {
        // Relaxed: a lone flag.
        let interrupted = self.interrupted.load(Ordering::Relaxed);
        if interrupted { Err(Fault(String::from("interrupted"))) } else { Ok(()) }
    }

    /// A part of this program as a process of its own, on the load's core.
    fn own_part(&self, name: &str, args: &[&str]) -> Recipe {
        let own = self.programs.own.to_string_lossy().into_owned();
        let args = args.iter().map(|arg| (*arg).to_owned());
        let argv = std::iter::once(own).chain(args).collect();
        Recipe { name: name.to_owned(), argv, cores: self.load_core.to_string() }
    }

    fn candidate_cores(&self, cores: usize) -> std::ops::Range<usize> {
        self.candidate_core..self.candidate_core + cores
    }

    fn candidate_cpu_list(&self, cores: usize) -> String {
        let list: Vec<String> = self.candidate_cores(cores).map(|core| core.to_string()).collect();
        list.join(",")
    }

    /// Seconds that the candidate's cores were busy so far, with whomever.
    fn candidate_busy_s(&self, cores: usize) -> Result<f64, Fault> {
        self.candidate_cores(cores).map(proc::core_busy_s).sum()
    }
}

/// Values with commas between them. A type of its own, because argh takes a Vec for an option that
/// is given several times.
struct List<T>(Vec<T>);

impl<T: FromStr> FromStr for List<T>
where
    T::Err: std::fmt::Display,
{
    type Err = String;

    fn from_str(words: &str) -> Result<Self, String> {
        let values = words.split(',').map(|word| word.trim().parse::<T>());
        values.collect::<Result<_, _>>().map(Self).map_err(|why| format!("{words}: {why}"))
    }
}
