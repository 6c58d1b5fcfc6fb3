//! The binary: arguments in, signals in, exit code out.

use std::io::Write as _;
use std::process::ExitCode;

use highlander::cli::{Cli, Command, Exit};
use highlander::config::Config;
use highlander::{ctl, demo, server};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The command line or a value in it is wrong.
const USAGE: u8 = 2;
/// How long the message of a panic may take.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_millis(100);
/// A second signal ended the program at once.
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    abort_on_panic();
    let args: Vec<String> = match std::env::args_os().skip(1).map(|arg| arg.into_string()).collect()
    {
        Ok(args) => args,
        Err(arg) => return fault(&[format!("{} is not UTF-8", arg.to_string_lossy())]),
    };
    let cli = match Cli::parse(&args) {
        Ok(cli) => cli,
        Err(Exit::Help(text)) => {
            return print(text.trim_end());
        }
        Err(Exit::Fault(text)) => return fault(&[text.trim_end().to_owned()]),
    };
    if cli.version {
        return print(concat!("highlander ", env!("CARGO_PKG_VERSION")));
    }
    match cli.command {
        Some(Command::Demo(_)) => demo::run(),
        Some(Command::Check(ref it)) => check(&it.file, &cli),
        Some(Command::Ctl(ref it)) => ctl::ctl(it),
        Some(Command::Status(ref it)) => ctl::status(it),
        None => serve(&cli),
    }
}

fn serve(cli: &Cli) -> ExitCode {
    // Before all else, so that no signal is missed, nor ends the process.
    let mut signals = match Signals::new([SIGTERM, SIGINT, SIGHUP]) {
        Ok(signals) => signals,
        Err(error) => {
            tell(&format!("highlander: can't wait for signals: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let config = match Config::from_cli(cli) {
        Ok(config) => config,
        Err(faults) => return fault(&faults),
    };
    let flags = cli.clone();
    let read = move |before: &Config| before.read_again(&flags);
    let running = match server::start_with(config, Box::new(read)) {
        Ok(running) => running,
        Err(error) => {
            tell(&format!("highlander: {error}"));
            return ExitCode::FAILURE;
        }
    };
    // On a thread of its own: a file that does not come is not to keep us from the end. One that comes while
    // another waits is that one.
    let (again, asked) = std::sync::mpsc::sync_channel::<()>(1);
    let reload = running.reloading();
    std::thread::spawn(move || asked.iter().for_each(|()| reload("SIGHUP")));
    for signal in signals.forever() {
        if signal != SIGHUP {
            break;
        }
        let _ = again.try_send(());
    }
    std::thread::spawn(move || {
        if signals.forever().any(|signal| signal != SIGHUP) {
            std::process::exit(INTERRUPTED);
        }
    });
    running.stop();
    ExitCode::SUCCESS
}

/// Faults begin with the file and the line, where an editor looks for them.
fn check(file: &str, cli: &Cli) -> ExitCode {
    match Config::from_cli(&Cli { config: Some(file.to_owned()), ..cli.clone() }) {
        Ok(config) => {
            for warning in &config.warnings {
                tell(warning);
            }
            let remotes: Vec<String> = config.remotes().collect();
            print(&format!("{file} is good: it writes to {}", remotes.join(", ")))
        }
        Err(faults) => {
            for fault in faults {
                tell(&fault);
            }
            ExitCode::from(USAGE)
        }
    }
}

fn fault(faults: &[String]) -> ExitCode {
    for fault in faults {
        tell(&format!("highlander: {fault}"));
    }
    ExitCode::from(USAGE)
}

/// Says what was asked for. A pipe that nobody reads any more, or a full disk, has not taken it.
fn print(text: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Says what went wrong. Where that can't be said, the exit code is all there is.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A core without its thread would answer nobody: better no process, and a new one.
fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let text = format!("highlander: thread '{}': {panic}", thread.name().unwrap_or("?"));
        // A pipe that nobody reads may block the message; it must not keep the process alive.
        let told = std::thread::Builder::new().spawn(move || tell(&text));
        if let Ok(told) = told {
            let start = std::time::Instant::now();
            while !told.is_finished() && start.elapsed() < LAST_WORDS {
                std::thread::yield_now();
            }
        }
        std::process::abort();
    }));
}
