//! A real storage: VictoriaMetrics, or a Prometheus that takes remote writes.
//!
//! VictoriaMetrics takes everything in any order and keeps doubles as long as no deduplication is
//! asked for: what a proxy does wrong can be seen in it. A Prometheus refuses what is out of order,
//! and says so to the sender; the same sample twice it keeps once. What it has acknowledged is there
//! after a `kill -9`; what VictoriaMetrics has acknowledged in the last seconds is not.

use std::path::{Path, PathBuf};

use crate::http;
use crate::json::Json;
use crate::program::{Program, free_port};
use crate::prometheus::{Prometheus, peer};
use crate::series::{Sample, Series};

/// Further back than any test began.
const ALL_SECONDS: u64 = 3600;

/// Which program it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// The machine's own release of VictoriaMetrics.
    OldVictoria,
    /// A newer VictoriaMetrics, brought by `tests/peers`.
    NewVictoria,
    /// Prometheus 3.x, brought by `tests/peers`: the only one here that keeps remote write 2.0.
    Prometheus,
}

/// A storage on a port and with data of its own.
pub struct Storage {
    kind: Kind,
    dir: PathBuf,
    port: u16,
    running: Running,
}

enum Running {
    Victoria(Program),
    Prometheus(Prometheus),
    Killed,
}

impl Storage {
    /// Starts it, with its data in `dir`.
    pub fn start(dir: &Path, kind: Kind) -> Storage {
        let port = free_port();
        Storage { kind, dir: dir.to_owned(), port, running: run(dir, kind, port) }
    }

    /// Kills it without a word of warning.
    pub fn kill(&mut self) {
        self.running = Running::Killed;
    }

    /// Starts it again where it was, with the data that it had.
    pub fn start_again(&mut self) {
        assert!(matches!(self.running, Running::Killed), "it was not killed");
        self.running = run(&self.dir, self.kind, self.port);
    }

    /// Stops it as an overloaded machine would: its connections stay, and nothing comes.
    pub fn freeze(&self) {
        match &self.running {
            Running::Victoria(program) => program.signal("STOP"),
            Running::Prometheus(prometheus) => prometheus.freeze(),
            Running::Killed => panic!("it was killed"),
        }
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        match &self.running {
            Running::Victoria(program) => program.signal("CONT"),
            Running::Prometheus(prometheus) => prometheus.thaw(),
            Running::Killed => panic!("it was killed"),
        }
    }

    /// Where it listens; it takes remote writes at `/api/v1/write`.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Everything it has of the scraped job.
    pub fn samples(&self) -> Series {
        match &self.running {
            Running::Victoria(_) => self.export(),
            Running::Prometheus(prometheus) => prometheus.samples(ALL_SECONDS),
            Running::Killed => panic!("it was killed"),
        }
    }

    fn export(&self) -> Series {
        // What came in a moment ago is not yet found without it.
        http::get(self.port, "/internal/force_flush").expect("a flush");
        // reduce_mem_usage gives the blocks as they lie there, one line each; else they would be
        // merged for us, and we want to see what is there.
        let matching = http::escape("{job=\"load\"}");
        let target = format!("/api/v1/export?reduce_mem_usage=1&match[]={matching}");
        let answer = http::get(self.port, &target).expect("an export");
        let mut series = Series::default();
        for line in answer.lines() {
            let block = Json::read(line);
            let times = block.member("timestamps").items().iter();
            let samples = times
                .zip(block.member("values").items())
                .map(|(at, value)| Sample { at_ms: at.number() as i64, value: value.number() });
            series.add(block.member("metric"), samples);
        }
        series
    }

    /// Writes lines of VictoriaMetrics's own import format.
    pub fn import(&self, lines: &str) {
        http::post(self.port, "/api/v1/import", lines).expect("an import");
    }
}

fn run(dir: &Path, kind: Kind, port: u16) -> Running {
    let binary = match kind {
        Kind::OldVictoria => PathBuf::from("/usr/bin/victoria-metrics"),
        Kind::NewVictoria => peer("victoria-metrics"),
        Kind::Prometheus => return Running::Prometheus(Prometheus::start_storage(dir, port)),
    };
    let args = [
        format!("-httpListenAddr=127.0.0.1:{port}"),
        format!("-storageDataPath={}", dir.join("storage.data").display()),
        "-retentionPeriod=10y".to_owned(),
        "-loggerLevel=WARN".to_owned(),
    ];
    let mut program = Program::start(dir, "storage", &binary, &args);
    program.await_ready(|| http::get(port, "/health").is_ok());
    Running::Victoria(program)
}
