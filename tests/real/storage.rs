//! A real VictoriaMetrics as the long-term storage.
//!
//! It takes everything in any order and keeps doubles as long as no deduplication is asked for:
//! what a proxy does wrong can be seen in it, where a Prometheus would refuse it.

use std::path::{Path, PathBuf};

use crate::http;
use crate::json::Json;
use crate::program::{Program, free_port};
use crate::prometheus::{Edition, peer};
use crate::series::{Sample, Series};

/// A running VictoriaMetrics.
pub struct Storage {
    // Kept for its drop, which ends it.
    _program: Program,
    port: u16,
}

impl Storage {
    /// Starts it, with its data in `dir`.
    pub fn start(dir: &Path, edition: Edition) -> Storage {
        let binary = match edition {
            Edition::Old => PathBuf::from("/usr/bin/victoria-metrics"),
            Edition::New => peer("victoria-metrics"),
        };
        let port = free_port();
        let args = [
            format!("-httpListenAddr=127.0.0.1:{port}"),
            format!("-storageDataPath={}", dir.join("storage.data").display()),
            "-retentionPeriod=10y".to_owned(),
            "-loggerLevel=WARN".to_owned(),
        ];
        let mut program = Program::start(dir, "storage", &binary, &args);
        program.await_ready(|| http::get(port, "/health").is_ok());
        Storage { _program: program, port }
    }

    /// Where it listens; it takes remote writes at `/api/v1/write`.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Everything it has of the scraped job.
    pub fn samples(&self) -> Series {
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

    /// Writes lines of its own import format.
    pub fn import(&self, lines: &str) {
        http::post(self.port, "/api/v1/import", lines).expect("an import");
    }
}
