//! What a floor must not name outside its tests.

use crate::house::{Floor, Kind};
use crate::imports::Import;
use crate::text::{Token, starts_with};

/// A banned thing: its line, what kind it is, and why it may not stand there.
pub type Ban = (usize, Kind, String);

/// What of `std::net` is a value and no socket.
const NET_VALUES: [&str; 7] = [
    "IpAddr",
    "Ipv4Addr",
    "Ipv6Addr",
    "SocketAddr",
    "SocketAddrV4",
    "SocketAddrV6",
    "AddrParseError",
];

/// Crates that are sockets, threads or signals through and through.
const SOCKET_CRATES: [&str; 5] = ["monoio", "io_uring", "socket2", "rustix", "signal_hook"];

/// Types that make a `static` a variable; those that begin with `Atomic` or `ArcSwap` come on top.
const CELLS: [&str; 9] = [
    "Mutex",
    "RwLock",
    "OnceLock",
    "LazyLock",
    "OnceCell",
    "LazyCell",
    "Cell",
    "RefCell",
    "UnsafeCell",
];

/// Everything banned in a file, `file` being its path under the source folder.
pub fn bans(file: &str, floor: Floor, tokens: &[Token], imports: &[Import]) -> Vec<Ban> {
    let mut bans = Vec::new();
    for index in (0..tokens.len()).filter(|index| !tokens[*index].test) {
        let found = calls(file, floor, &tokens[index..])
            .or_else(|| (floor < Floor::Shared).then(|| state(index, tokens)).flatten());
        if let Some((kind, why)) = found {
            bans.push((tokens[index].line, kind, why.to_owned()));
        }
    }
    if floor < Floor::Io {
        for import in imports.iter().filter(|import| !import.test) {
            let path: Vec<&str> = import.path.iter().map(String::as_str).collect();
            let named = import.path.join("::");
            let kinds = effects(&path);
            bans.extend(kinds.map(|(kind, why)| (import.line, kind, format!("{named}: {why}"))));
        }
    }
    bans
}

fn calls(file: &str, floor: Floor, rest: &[Token]) -> Option<(Kind, &'static str)> {
    if starts_with(rest, &[".", "unwrap", "(", ")"]) {
        return Some((Kind::Unwrap, "unwrap() hides why it cannot fail"));
    }
    let opens = rest.get(2).is_some_and(|it| matches!(it.text.as_str(), "(" | "[" | "{"));
    if !opens || rest[1].text != "!" {
        return None;
    }
    match rest[0].text.as_str() {
        "todo" | "unimplemented" => Some((Kind::Unfinished, "unfinished code panics")),
        "dbg" => Some((Kind::Print, "dbg! is for debugging")),
        "eprint" | "eprintln" if file == "io/log.rs" => None,
        "print" | "println" | "eprint" | "eprintln" if floor < Floor::Roof => {
            Some((Kind::Print, "only the roof prints, the log aside"))
        }
        "thread_local" if floor < Floor::Shared => {
            Some((Kind::Global, "below `shared` nothing is global"))
        }
        _ => None,
    }
}

fn state(index: usize, tokens: &[Token]) -> Option<(Kind, &'static str)> {
    let name = tokens[index].text.as_str();
    let lifetime = index > 0 && tokens[index - 1].text == "'";
    if name == "static" && !lifetime {
        let of_type = tokens[index..].iter().take_while(|it| it.text != "=" && it.text != ";");
        let variable = of_type.skip(1).any(|it| it.text == "mut" || is_cell(&it.text));
        return variable.then_some((Kind::Global, "below `shared` nothing is global"));
    }
    let shared = matches!(name, "Mutex" | "RwLock" | "Condvar") || name.starts_with("Atomic");
    shared.then_some((Kind::SharedState, "below `shared` nothing is shared between threads"))
}

fn is_cell(name: &str) -> bool {
    CELLS.contains(&name) || name.starts_with("Atomic") || name.starts_with("ArcSwap")
}

/// What a path does to the world, if it does: a path may do two things at once.
fn effects(path: &[&str]) -> impl Iterator<Item = (Kind, &'static str)> + use<> {
    let sleep = matches!(path, ["std", "thread", "sleep", ..]);
    let effect = match path {
        ["std", "net", name, ..] if !NET_VALUES.contains(name) => Some(Kind::Socket),
        ["std", "os", ..] => Some(Kind::Socket),
        [name, ..] if SOCKET_CRATES.contains(name) => Some(Kind::Socket),
        ["std", "fs", ..] => Some(Kind::File),
        ["std", "thread", ..] => Some(Kind::Thread),
        ["std", "time", "Instant" | "SystemTime" | "UNIX_EPOCH" | "*", ..] => Some(Kind::Clock),
        ["Instant" | "SystemTime", "now"] | ["chrono", ..] => Some(Kind::Clock),
        _ => None,
    };
    let why = |kind| match kind {
        Kind::Socket => "no sockets below `io`",
        Kind::File => "no files below `io`",
        Kind::Thread => "no threads below `io`",
        _ => "no clocks below `io`: the time is handed in",
    };
    let slept = sleep.then_some((Kind::Sleep, "nobody sleeps below `io`"));
    effect.map(|kind| (kind, why(kind))).into_iter().chain(slept)
}
