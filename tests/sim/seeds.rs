//! Seeds: which ones are run, on all cores, and what is said of those that fail.

use std::fmt::Debug;
use std::ops::Range;

/// Which simulation it is, in its variables and in the command that runs a seed again.
pub struct Seeds {
    /// What its variables begin with.
    pub prefix: &'static str,
    /// The name of its test target.
    pub target: &'static str,
}

impl Seeds {
    fn number(&self, name: &str) -> Option<u64> {
        std::env::var(format!("{}_{name}", self.prefix)).ok()?.parse().ok()
    }

    /// The seeds that are asked for, `count` if none are.
    pub fn asked(&self, count: u64) -> Range<u64> {
        match self.number("SEED") {
            Some(seed) => seed..seed + 1,
            None => {
                let from = self.number("FROM").unwrap_or(0);
                from..from + self.number("SEEDS").unwrap_or(count)
            }
        }
    }

    /// Runs all that are asked for and asserts that none fails; what the others give.
    pub fn assert_all_hold<T: Send>(
        &self,
        count: u64,
        run: impl Fn(u64) -> Result<T, String> + Sync,
    ) -> Vec<T> {
        let seeds = self.asked(count);
        let count = seeds.end - seeds.start;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let results: Vec<Result<T, u64>> = std::thread::scope(|scope| {
            let run_part = |part: usize| {
                let (seeds, run) = (seeds.clone().skip(part).step_by(threads), &run);
                let one = move |seed| guarded(|| run(seed)).map_err(|what| self.tell(seed, &what));
                scope.spawn(move || seeds.map(one).collect::<Vec<_>>())
            };
            let parts: Vec<_> = (0..threads).map(run_part).collect();
            parts.into_iter().flat_map(|part| part.join().expect("panics are caught")).collect()
        });
        let failed: Vec<u64> = results.iter().filter_map(|it| it.as_ref().err().copied()).collect();
        println!("{count} seeds, {} failed", failed.len());
        assert!(failed.is_empty(), "{} seeds failed: {failed:?}", failed.len());
        results.into_iter().flatten().collect()
    }

    /// Says what was violated and how to see it again.
    fn tell(&self, seed: u64, what: &str) -> u64 {
        let Seeds { prefix, target } = self;
        println!("SEED={seed}: {what}\n  {prefix}_SEED={seed} cargo test --test {target} no_seed");
        seed
    }

    /// Asserts that each mutation fails one of the first `count` seeds.
    pub fn assert_all_caught<M: Copy + Debug, T>(
        &self,
        count: u64,
        all: &[M],
        run: impl Fn(u64, M) -> Result<T, String>,
    ) {
        let seeds = self.number("SEEDS").unwrap_or(count);
        let mut escaped = Vec::new();
        for mutation in all {
            let fails = |seed| guarded(|| run(seed, *mutation)).err().map(|what| (seed, what));
            match (0..seeds).find_map(fails) {
                Some((seed, what)) => println!("{mutation:?}: caught by seed {seed}: {what}"),
                None => escaped.push(*mutation),
            }
        }
        assert!(escaped.is_empty(), "not caught: {escaped:?}");
    }
}

/// A violated assertion of the production logic is a finding, too.
fn guarded<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(format!("a panic: {}", text.unwrap_or_default()))
    })
}
