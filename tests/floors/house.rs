//! The tree as a whole: which file lies on which floor, and everything that is wrong with it.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

use crate::bans::bans;
use crate::imports::{Import, ModulePath, imports, test_modules};
use crate::rings::{Graph, rings};
use crate::text::{Token, tokens};

/// A file beyond this is two files.
const LINES_MAX: usize = 500;

/// The floors from the lowest up, and the roof that may import them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Floor {
    Base,
    Wire,
    Logic,
    Shared,
    Io,
    Roof,
}

impl Floor {
    /// The floor of what lies at the crate's root under this name, none if it has none.
    fn named(name: &str) -> Option<Floor> {
        match name {
            "base" => Some(Floor::Base),
            "wire" => Some(Floor::Wire),
            "logic" => Some(Floor::Logic),
            "shared" => Some(Floor::Shared),
            "io" => Some(Floor::Io),
            "main" | "lib" | "cli" | "config" | "config_tests" | "server" | "ctl" | "demo" => {
                Some(Floor::Roof)
            }
            _ => None,
        }
    }
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    NoFloor,
    UpwardImport,
    Ring,
    TooLong,
    Unwrap,
    Unfinished,
    Print,
    Sleep,
    Socket,
    File,
    Thread,
    Clock,
    Global,
    SharedState,
}

impl Kind {
    pub const ALL: [Kind; 14] = [
        Kind::NoFloor,
        Kind::UpwardImport,
        Kind::Ring,
        Kind::TooLong,
        Kind::Unwrap,
        Kind::Unfinished,
        Kind::Print,
        Kind::Sleep,
        Kind::Socket,
        Kind::File,
        Kind::Thread,
        Kind::Clock,
        Kind::Global,
        Kind::SharedState,
    ];
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    pub file: String,
    pub line: usize,
    pub kind: Kind,
    pub why: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {:?}: {}", self.file, self.line, self.kind, self.why)
    }
}

/// What an inspection found, and how much it has read, so that an empty one is noticed.
#[derive(Debug)]
pub struct Report {
    pub violations: Vec<Violation>,
    pub files: usize,
    /// Paths into the crate itself.
    pub imports: usize,
}

struct File {
    /// Under the source folder.
    path: String,
    module: ModulePath,
    floor: Option<Floor>,
    lines: usize,
    tokens: Vec<Token>,
    imports: Vec<Import>,
}

impl File {
    fn read(root: &Path, path: String) -> File {
        let source = fs::read_to_string(root.join(&path)).expect("a source file can be read");
        let stem = path.trim_end_matches(".rs").trim_end_matches("/mod");
        let floor = Floor::named(stem.split('/').next().unwrap_or_default());
        let root_file = stem == "main" || stem == "lib";
        let below = stem.split('/').filter(|_| !root_file).map(str::to_owned);
        let module = ["crate".to_owned()].into_iter().chain(below).collect();
        let lines = source.lines().count();
        File { path, module, floor, lines, tokens: tokens(&source), imports: Vec::new() }
    }

    fn violation(&self, line: usize, kind: Kind, why: String) -> Violation {
        Violation { file: format!("src/{}", self.path), line, kind, why }
    }
}

/// Inspects every Rust file under the source folder `root`.
pub fn inspect(root: &Path) -> Report {
    let files = read_all(root);
    let mut violations = Vec::new();
    for file in &files {
        judge_place(file, &mut violations);
        if let Some(floor) = file.floor {
            let found = bans(&file.path, floor, &file.tokens, &file.imports);
            violations
                .extend(found.into_iter().map(|(line, kind, why)| file.violation(line, kind, why)));
        }
    }
    judge_rings(&files, &mut violations);
    violations.sort();
    violations.dedup_by_key(|it| (it.file.clone(), it.line, it.kind));
    let own = |file: &File| file.imports.iter().filter(|it| it.path[0] == "crate").count();
    Report { violations, files: files.len(), imports: files.iter().map(own).sum() }
}

fn read_all(root: &Path) -> Vec<File> {
    let mut paths = Vec::new();
    collect(root, "", &mut paths);
    paths.sort();
    let mut files: Vec<File> = paths.into_iter().map(|path| File::read(root, path)).collect();
    let modules: BTreeSet<ModulePath> = files.iter().map(|file| file.module.clone()).collect();
    let tests: Vec<ModulePath> =
        files.iter().flat_map(|file| test_modules(&file.tokens, &file.module)).collect();
    for file in &mut files {
        if tests.iter().any(|test| file.module.starts_with(test)) {
            file.tokens.iter_mut().for_each(|token| token.test = true);
        }
        file.imports = imports(&file.tokens, &file.module, &modules);
    }
    files
}

fn collect(root: &Path, below: &str, paths: &mut Vec<String>) {
    for entry in fs::read_dir(root.join(below)).expect("a source folder can be read") {
        let entry = entry.expect("a source folder can be read to its end");
        let name = entry.file_name().into_string().expect("a source file has a plain name");
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        if root.join(&path).is_dir() {
            collect(root, &path, paths);
        } else if path.ends_with(".rs") {
            paths.push(path);
        }
    }
}

fn judge_place(file: &File, violations: &mut Vec<Violation>) {
    if file.lines > LINES_MAX {
        let why = format!("{} lines, {LINES_MAX} is the end", file.lines);
        violations.push(file.violation(LINES_MAX + 1, Kind::TooLong, why));
    }
    let Some(floor) = file.floor else {
        let why = "lies on no floor and is no part of the roof".to_owned();
        violations.push(file.violation(1, Kind::NoFloor, why));
        return;
    };
    for import in &file.imports {
        if let Some(target) = floor_of(&import.path).filter(|target| *target > floor) {
            let why = format!("{floor:?} imports {} from {target:?}", import.path.join("::"));
            violations.push(file.violation(import.line, Kind::UpwardImport, why));
        }
    }
}

/// The floor a path leads to, none if it leads out of the crate or is only the crate's name. What
/// the crate's root has itself belongs to the roof.
fn floor_of(path: &[String]) -> Option<Floor> {
    match path {
        [root, name, ..] if root == "crate" => Some(Floor::named(name).unwrap_or(Floor::Roof)),
        _ => None,
    }
}

/// Rings within a floor; between floors there are none unless an import points up. Tests may know
/// who uses what they test, so their imports make no ring.
fn judge_rings(files: &[File], violations: &mut Vec<Violation>) {
    let target = |import: &Import| {
        let all = (0..files.len()).filter(|it| import.path.starts_with(&files[*it].module));
        all.max_by_key(|it| files[*it].module.len())
    };
    let mut graph = Graph::new();
    for (index, file) in files.iter().enumerate() {
        let targets =
            file.imports.iter().filter(|it| !it.test && it.path.len() > 1).filter_map(target);
        let beside = targets.filter(|to| *to != index && files[*to].floor == file.floor);
        graph.insert(index, beside.collect());
    }
    for ring in rings(&graph) {
        let (first, second) = (&files[ring[0]], ring[1]);
        let line = first.imports.iter().find(|it| !it.test && target(it) == Some(second));
        let mut way: Vec<&str> = ring.iter().map(|it| files[*it].path.as_str()).collect();
        way.push(&first.path);
        let line = line.map_or(1, |import| import.line);
        violations.push(first.violation(line, Kind::Ring, way.join(" -> ")));
    }
}
