//! A promoted source and a standby at a steady rate: what it takes to keep what both push.
//!
//! First for as long as it is wanted with the proxy's own defaults: once the window has filled,
//! memory must stay where it is. Then A leaves, and what the hand-over under that load has let
//! through is read sample by sample. A second, shorter run keeps everything: there memory grows by
//! what the bodies take, and by as little more as can be.

mod source;
mod steps;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use argh::FromArgs;

use crate::fault::{During, Fault};
use crate::rig::{self, PROMOTED, Rig, STANDBY};
use crate::runner::{machine, proc};
use crate::scrape::SAMPLES;
use source::{Rate, Source};
use steps::Steps;

/// The promoted source speaks first: whoever does has the seat.
const SEAT_TIMEOUT: Duration = Duration::from_secs(10);

/// What arrives is kept from this long before the promoted source leaves.
const BEFORE: Duration = Duration::from_secs(5);
/// And until this long after the hand-over.
const AFTER: Duration = Duration::from_secs(5);
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(240);

/// Until then a run that keeps everything has its buffers.
const WARM: Duration = Duration::from_secs(5);

/// Push as two sources for long, and look at the proxy's memory and CPU time.
#[derive(FromArgs)]
#[argh(subcommand, name = "soak")]
pub struct Options {
    /// seconds with the proxy's defaults (default 600; 0: not at all)
    #[argh(option, default = "600")]
    seconds: u64,

    /// samples a second of each of the two sources (default 100000)
    #[argh(option, default = "100_000")]
    rate: usize,

    /// seconds in which everything is kept (default 60; 0: not at all)
    #[argh(option, default = "60")]
    growth_seconds: u64,

    /// samples a second of each source meanwhile (default 50000)
    #[argh(option, default = "50_000")]
    growth_rate: usize,

    /// series, the same of both sources (default 100000)
    #[argh(option, default = "100_000")]
    series: usize,

    /// samples of a body (default 2000, what a Prometheus sends at most)
    #[argh(option, default = "SAMPLES")]
    body_samples: usize,

    /// connections of each source (default 4)
    #[argh(option, default = "4")]
    connections: usize,

    /// seconds between two looks (default 10)
    #[argh(option, default = "10")]
    every: u64,

    /// flags for the proxy in the long run, separated by spaces (default: none)
    #[argh(option, default = "String::new()")]
    flags: String,

    /// flags for the proxy when everything is kept (default --hold-window 10m --hold-memory 4GiB)
    #[argh(option, default = "String::from(\"--hold-window 10m --hold-memory 4GiB\")")]
    growth_flags: String,

    /// the proxy's binary (default ../target/release/highlander, seen from this package)
    #[argh(option)]
    highlander: Option<PathBuf>,

    /// file for the results, which also go to stdout
    #[argh(option)]
    out: Option<PathBuf>,
}

/// Two sources and the proxy between them and the endpoint.
struct Run {
    // Dropped before the proxy, which would refuse them otherwise.
    promoted: Source,
    standby: Source,
    rig: Rig,
    idle_kib: u64,
    began: Instant,
}

/// Both runs, written down after each.
pub fn run(options: &Options) -> Result<(), Fault> {
    let binary = rig::binary(options.highlander.as_deref())?;
    let mut text = machine::describe("Soak", &[])?;
    if options.seconds > 0 {
        let outcome = soak(options, &binary, &mut text);
        write_results(options, &text)?;
        outcome?;
    }
    if options.growth_seconds > 0 {
        let outcome = grow(options, &binary, &mut text);
        write_results(options, &text)?;
        outcome?;
    }
    println!("{text}");
    Ok(())
}

fn write_results(options: &Options, text: &str) -> Result<(), Fault> {
    match &options.out {
        Some(path) => fs::write(path, text).during(path.display()),
        None => Ok(()),
    }
}

fn soak(options: &Options, binary: &Path, text: &mut String) -> Result<(), Fault> {
    let rate = options.rate(options.rate);
    let mut run = Run::start(binary, &options.flags, rate)?;
    let _ = writeln!(text, "\n## soak\n\n{}", run.words(rate, &options.flags));
    text.push_str(
        "| s | VmRSS MiB | proxy CPU % | others CPU % | A bodies | B bodies | at the endpoint \
         | slowest answer A, B ms | latest body A, B ms |\n|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    run.look_until(options, options.seconds, |run, looked| {
        let (a, b) = (&run.promoted.counts, &run.standby.counts);
        let _ = writeln!(
            text,
            "| {looked} | {} | {} | {} | {}, {} | {}, {} |",
            a.bodies(),
            b.bodies(),
            run.rig.endpoint.bodies(),
            a.take_answer_ms_max(),
            b.take_answer_ms_max(),
            a.take_late_ms_max(),
            b.take_late_ms_max(),
        );
    })?;
    let _ = writeln!(text, "\nAnswers to A: {}.", run.promoted.counts.words());
    let _ = writeln!(text, "Answers to B: {}.", run.standby.counts.words());
    run.hand_over(rate, text)
}

fn grow(options: &Options, binary: &Path, text: &mut String) -> Result<(), Fault> {
    let rate = options.rate(options.growth_rate);
    let mut run = Run::start(binary, &options.growth_flags, rate)?;
    let _ = writeln!(text, "\n## all is kept\n\n{}", run.words(rate, &options.growth_flags));
    text.push_str(
        "| s | VmRSS MiB | proxy CPU % | others CPU % | kept, held and delivered MB \
         | growth since idle / kept | growth since the first look / kept since |\n\
         |--:|--:|--:|--:|--:|--:|--:|\n",
    );
    thread::sleep(WARM);
    let (warm_bytes, warm_kib) = (run.kept_bytes(), run.rss_kib()?);
    run.look_until(options, options.growth_seconds, |run, looked| {
        let (bytes, kib) = (run.kept_bytes(), run.rss_kib().unwrap_or(0));
        let growth = |from_kib: u64, from_bytes: u64| {
            kib.saturating_sub(from_kib) as f64 * 1024.0 / (bytes - from_bytes) as f64
        };
        let _ = writeln!(
            text,
            "| {looked} | {:.1} | {:.3} | {:.3} |",
            bytes as f64 / 1e6,
            growth(run.idle_kib, 0),
            growth(warm_kib, warm_bytes),
        );
    })?;
    let _ = writeln!(text, "\nAnswers to A: {}.", run.promoted.counts.words());
    let _ = writeln!(text, "Answers to B: {}.", run.standby.counts.words());
    Ok(())
}

impl Options {
    fn rate(&self, samples_per_s: usize) -> Rate {
        let body_samples = self.body_samples.max(1);
        let series = (self.series / body_samples).max(1) * body_samples;
        Rate { series, body_samples, samples_per_s, connections: self.connections.max(1) }
    }
}

impl Run {
    fn start(binary: &Path, flags: &str, rate: Rate) -> Result<Self, Fault> {
        let rig = Rig::start(binary, flags, Duration::ZERO)?;
        let idle_kib = proc::rss_kib(rig.proxy.pid())?;
        let promoted = Source::start(rig.address, PROMOTED, rate, 0.0)?;
        let began = Instant::now();
        while promoted.counts.bodies() == 0 {
            if began.elapsed() > SEAT_TIMEOUT {
                return Err(rig.proxy.failure("has taken nothing of the promoted source"));
            }
            thread::sleep(Duration::from_millis(5));
        }
        let standby = Source::start(rig.address, STANDBY, rate, 0.5)?;
        Ok(Self { rig, promoted, standby, idle_kib, began })
    }

    fn words(&self, rate: Rate, flags: &str) -> String {
        let flags = if flags.is_empty() { "none" } else { flags };
        format!(
            "{} samples/s of each of two sources, {} series, {} in a body, {} connections each. \
             Flags of the proxy: {flags}. Idle it took {:.1} MiB.\n",
            rate.samples_per_s,
            rate.series,
            rate.body_samples,
            rate.connections,
            self.idle_kib as f64 / 1024.0,
        )
    }

    /// Looks at the proxy every few seconds, and gives what it has seen as cells of a table.
    fn look_until(
        &mut self,
        options: &Options,
        seconds: u64,
        mut on_look: impl FnMut(&Self, &str),
    ) -> Result<(), Fault> {
        let mut before = self.rig.busy()?;
        let mut due_s = self.began.elapsed().as_secs();
        while due_s < seconds {
            due_s = (due_s + options.every.max(1)).min(seconds);
            thread::sleep(Duration::from_secs(due_s).saturating_sub(self.began.elapsed()));
            self.rig.proxy.check()?;
            let after = self.rig.busy()?;
            let percent = |busy_s: f64| busy_s * 100.0 / after.s_since(&before);
            let looked = format!(
                "{due_s} | {:.1} | {:.1} | {:.1}",
                self.rss_kib()? as f64 / 1024.0,
                percent(after.proxy_s_since(&before)),
                percent(after.others_s_since(&before)),
            );
            eprintln!("soak: {looked}");
            on_look(self, &looked);
            before = after;
        }
        Ok(())
    }

    fn rss_kib(&self) -> Result<u64, Fault> {
        proc::rss_kib(self.rig.proxy.pid())
    }

    /// Bytes of the bodies that both have had taken.
    fn kept_bytes(&self) -> u64 {
        self.promoted.counts.bytes() + self.standby.counts.bytes()
    }

    /// The promoted source leaves in the midst of it.
    fn hand_over(mut self, rate: Rate, text: &mut String) -> Result<(), Fault> {
        self.rig.endpoint.keep();
        thread::sleep(BEFORE);
        let left_ms = crate::body::now_ms()?;
        self.promoted.stop();
        self.standby.counts.take_answer_ms_max();
        self.standby.counts.take_late_ms_max();
        let line = self.rig.wait_for_hand_over(HAND_OVER_TIMEOUT);
        let rss_mib = proc::rss_kib(self.rig.proxy.pid())? as f64 / 1024.0;
        let took_ms = crate::body::now_ms()? - left_ms;
        thread::sleep(AFTER);
        let counts = self.standby.counts.clone();
        self.standby.stop();
        let steps = Steps::of(rate, &self.rig.endpoint.take())?;
        let _ = writeln!(
            text,
            "\nThen A left. {took_ms} ms later the log said\n\n    {}\n\nVmRSS was {rss_mib:.1} \
             MiB then. The slowest answer to B took {} ms, its latest body was {} ms late; answers \
             to B by then: {}. At the endpoint, of {} series from {} s before to {} s after it: {} \
             samples, {} not newer than the one before, {} with a gap before them (the longest \
             step {} ms of {} ms), {} with a wrong value.",
            line.as_ref().map_or_else(|Fault(why)| why.clone(), |line| line.text.clone()),
            counts.take_answer_ms_max(),
            counts.take_late_ms_max(),
            counts.words(),
            rate.series,
            BEFORE.as_secs(),
            AFTER.as_secs(),
            steps.samples,
            steps.back,
            steps.gaps,
            steps.longest_ms,
            rate.interval().as_millis(),
            steps.wrong,
        );
        let log = self.rig.proxy.log()?;
        let _ = writeln!(text, "\nThe whole log:\n");
        for line in log.lines() {
            let _ = writeln!(text, "    {line}");
        }
        line.map(drop)
    }
}
