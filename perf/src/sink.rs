//! A remote-write receiver that costs next to nothing, and notices a corrupted stream.
//!
//! It shares its core with the load, so it reads into one large buffer per connection, keeps
//! nothing, and answers with a fixed string.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use argh::FromArgs;
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::TcpStream;
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::fault::{During, Fault};
use crate::framer::{Event, Framer};
use crate::ring;

/// Takes the largest measured body with its head in one read.
const BUFFER_BYTES: usize = 128 * 1024;

const ACCEPTED: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
const REFUSED: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Take remote-write requests, count them and answer 204. GET /stats gives the counts, SIGTERM
/// prints them.
#[derive(FromArgs)]
#[argh(subcommand, name = "sink")]
pub struct Options {
    /// address to listen on
    #[argh(option)]
    listen: String,

    /// core to run on
    #[argh(option)]
    core: Option<usize>,
}

/// What was received since the start, as it is printed.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Stats {
    /// Pushes that came in whole.
    pub requests: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Streams that were no stream of pushes: a candidate has corrupted them.
    pub slips: u64,
    /// Connections that ended in the middle of a request.
    pub truncated: u64,
}

/// The counts, also readable by the thread that waits for the signal. Relaxed throughout: they
/// are numbers that guard nothing, written by one thread.
#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    bytes: AtomicU64,
    slips: AtomicU64,
    truncated: AtomicU64,
}

impl Counts {
    fn line(&self) -> String {
        let stats = Stats {
            requests: self.requests.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            slips: self.slips.load(Ordering::Relaxed),
            truncated: self.truncated.load(Ordering::Relaxed),
        };
        serde_json::to_string(&stats).expect("four numbers are always JSON")
    }
}

/// Receives until SIGTERM or SIGINT.
pub fn run(options: &Options) -> Result<(), Fault> {
    ring::pin(options.core)?;
    let counts = Arc::new(Counts::default());
    print_at_the_end(Arc::clone(&counts))?;
    ring::block_on(|driver| async move {
        let listener = ring::listen(&options.listen)?;
        eprintln!("sink: {} on {driver}", options.listen);
        loop {
            let (client, _) = listener.accept().await.during("accept")?;
            monoio::spawn(serve(client, Arc::clone(&counts)));
        }
    })?
}

fn print_at_the_end(counts: Arc<Counts>) -> Result<(), Fault> {
    let mut signals = Signals::new([SIGTERM, SIGINT]).during("signals")?;
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            println!("{}", counts.line());
            std::process::exit(0);
        }
    });
    Ok(())
}

async fn serve(mut client: TcpStream, counts: Arc<Counts>) {
    // A socket that refuses the option is on its way out, which the next read finds.
    let _ = client.set_nodelay(true);
    let mut framer = Framer::new();
    // An error between two requests is a peer that closed its idle connection with a reset.
    let _ = receive(&mut client, &mut framer, &counts).await;
    if !framer.is_between_requests() {
        counts.truncated.fetch_add(1, Ordering::Relaxed);
    }
}

async fn receive(client: &mut TcpStream, framer: &mut Framer, counts: &Counts) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    loop {
        let (read, filled) = client.read(buffer).await;
        if read? == 0 {
            return Ok(());
        }
        let mut input: &[u8] = &filled;
        loop {
            match framer.next(&mut input) {
                Ok(Event::More) => break,
                Ok(Event::Push { body_bytes }) => {
                    counts.requests.fetch_add(1, Ordering::Relaxed);
                    counts.bytes.fetch_add(body_bytes, Ordering::Relaxed);
                    client.write_all(ACCEPTED).await.0?;
                }
                Ok(Event::Stats) => {
                    let line = counts.line();
                    let answer =
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{line}", line.len());
                    client.write_all(answer.into_bytes()).await.0?;
                }
                Err(slip) => {
                    counts.slips.fetch_add(1, Ordering::Relaxed);
                    eprintln!("sink: the stream has slipped: {slip:?}");
                    client.write_all(REFUSED).await.0?;
                    *framer = Framer::new();
                    return Ok(());
                }
            }
        }
        buffer = filled;
    }
}
