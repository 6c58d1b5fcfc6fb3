//! The Debian package: installed, configured, run as its unit says, upgraded, removed and purged.
//!
//! This happens on a system that is the machine's own to look at and nobody's to write to: an overlay in
//! a mount namespace, whose upper half is in memory, with networks and processes apart. So no port is
//! another's, a Highlander that is installed here stays, and whatever becomes of the test nothing is left.
//! It takes root, as the tests of networks do; `tests/run` installs what else it needs.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
/// Set for the process that is in the namespaces already.
const WITHIN: &str = "HIGHLANDER_PACKAGE_WITHIN";
/// Root's own; whoever runs the tests may have another one.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const CONFIG: &str = "/etc/highlander/highlander.yml";
const STATE: &str = "/var/lib/highlander";
const UNIT: &str = "/usr/lib/systemd/system/highlander.service";
/// What the package says when it is new.
const HINT: &str = "name your storage in /etc/highlander/highlander.yml";

#[test]
fn a_package_is_installed_run_upgraded_and_purged_without_a_trace() {
    if let Some(folder) = env::var_os(WITHIN) {
        return within(&System::make(Path::new(&folder)));
    }
    // Another run of it may be under way.
    let name = format!("package-{}", std::process::id());
    let folder = Folder(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
    let _ = fs::remove_dir_all(&folder.0);
    fs::create_dir_all(&folder.0).expect("a new folder");
    build(&folder.0);
    // All of it ends with this process: it holds the namespaces.
    let ran = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "--"])
        .arg(env::current_exe().expect("it runs"))
        .args(["--exact", "--nocapture"])
        .arg("a_package_is_installed_run_upgraded_and_purged_without_a_trace")
        .env(WITHIN, &folder.0)
        .output();
    let said = done("the test within its namespaces", ran.expect("unshare is there"));
    assert!(said.contains("1 passed"), "{said}");
}

/// Is removed with the test, however that ends.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A package of the program as it was built, and another one that differs by its version and by the
/// configuration that it brings.
fn build(folder: &Path) {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/package");
    let binary = env!("CARGO_BIN_EXE_highlander");
    let said = run(&path(&script), &[binary, &path(folder), "1.0.0"]);
    let (first, second) = (folder.join("1.0.0.deb"), folder.join("1.0.1.deb"));
    fs::rename(said.trim_end(), &first).expect("the path is its last line");
    let again = folder.join("again");
    run("dpkg-deb", &["-R", &path(&first), &path(&again)]);
    let control = fs::read_to_string(again.join("DEBIAN/control")).expect("each package has one");
    let control = control.replace("\nVersion: 1.0.0\n", "\nVersion: 1.0.1\n");
    fs::write(again.join("DEBIAN/control"), control).expect("it can be written");
    let config = again.join(CONFIG.trim_start_matches('/'));
    let text = fs::read_to_string(&config).expect("it is in the package") + "# More to say.\n";
    fs::write(&config, text).expect("it can be written");
    // Not to spend seconds on making it small.
    run("dpkg-deb", &["--root-owner-group", "-Znone", "-b", &path(&again), &path(&second)]);
}

/// What was said, by what must have gone well.
fn done(what: &str, output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {}\n{said}{wrong}", output.status);
    said + &wrong
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    done(&format!("{program} {args:?}"), output.expect("the program is there"))
}

/// A system like this one, to which it can be written.
struct System {
    root: PathBuf,
    /// What has been written.
    upper: PathBuf,
}

impl System {
    fn make(folder: &Path) -> System {
        let stage = folder.join("stage");
        fs::create_dir(&stage).expect("a new folder");
        let place = |name: &str| {
            let place = stage.join(name);
            fs::create_dir(&place).expect("a new folder");
            place
        };
        let text = |path: &Path| path.to_string_lossy().into_owned();
        run("mount", &["-t", "tmpfs", "tmpfs", &text(&stage)]);
        let (upper, work, root) = (place("upper"), place("work"), place("root"));
        let layers = format!("lowerdir=/,upperdir={},workdir={}", text(&upper), text(&work));
        run("mount", &["-t", "overlay", "overlay", "-o", &layers, &text(&root)]);
        run("mount", &["-t", "proc", "proc", &text(&root.join("proc"))]);
        run("mount", &["--rbind", "/dev", &text(&root.join("dev"))]);
        run("ip", &["link", "set", "lo", "up"]);
        for version in ["1.0.0", "1.0.1"] {
            let package = folder.join(format!("{version}.deb"));
            fs::copy(package, root.join(format!("{version}.deb"))).expect("there is room");
        }
        let system = System { root, upper };
        // One that is installed on this machine is none of ours.
        let _ = system.command(&["dpkg", "--purge", "highlander"]).output();
        let _ = fs::remove_dir_all(system.path("/etc/highlander"));
        let _ = fs::remove_dir_all(system.path(STATE));
        system
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.root).args(args).env("DEBIAN_FRONTEND", "noninteractive");
        command.env("LC_ALL", "C.UTF-8").env("PATH", PATH).current_dir("/");
        command
    }

    fn run(&self, args: &[&str]) -> String {
        done(&format!("{args:?}"), self.command(args).output().expect("chroot is there"))
    }

    /// Has dpkg do something. What it would make other packages do is not looked at, and takes seconds.
    fn dpkg(&self, args: &[&str]) -> String {
        self.run(&[&["dpkg", "--no-triggers"], args].concat())
    }

    /// Owner, group, mode.
    fn rights(&self, path: &str) -> String {
        self.run(&["stat", "-c", "%U %G %a", path]).trim_end().to_owned()
    }

    /// What has been written whose name tells whose it is, and that is still there.
    fn left(&self) -> String {
        let upper = self.upper.to_string_lossy();
        // A device without a number stands for what was removed; `man` keeps pages that it was asked for.
        let found = run("find", &[&upper, "-iname", "*highlander*", "!", "-type", "c"]);
        found.lines().filter(|path| !path.contains("/var/cache/man/")).collect()
    }
}

fn within(system: &System) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let storage = listener.local_addr().expect("a bound socket");
    let (sender, bodies) = channel();
    thread::spawn(move || store(&listener, &sender));

    install(system);
    let edited = format!("  - url: http://{storage}/api/v1/push\n");
    let written = fs::read_to_string(system.path(CONFIG)).expect("it is installed");
    let edited = written.replace("  - url: http://localhost:8428/api/v1/write\n", &edited);
    assert_ne!(edited, written);
    fs::write(system.path(CONFIG), &edited).expect("it can be written");
    serve(system, &bodies);

    // Without it dpkg would ask which of the two configurations it is to be.
    let said = system.dpkg(&["--force-confold", "-i", "/1.0.1.deb"]);
    assert!(!said.contains(HINT), "{said}");
    assert!(system.path(&format!("{CONFIG}.dpkg-dist")).exists(), "the new one lies beside it");
    let version = system.run(&["dpkg-query", "-W", "-f", "${Version} ${Status}", "highlander"]);
    assert_eq!(version, "1.0.1 install ok installed");
    assert_eq!(fs::read_to_string(system.path(CONFIG)).ok().as_deref(), Some(&*edited));
    assert_eq!(system.rights(CONFIG), "root highlander 640");
    assert_eq!(system.run(&["systemctl", "is-enabled", "highlander"]), "enabled\n");
    serve(system, &bodies);
    remove(system, &edited);
}

/// It is there, is good, belongs to whom it should, and does nothing by itself.
fn install(system: &System) {
    let said = system.dpkg(&["-i", "/1.0.0.deb"]);
    assert_eq!(said.matches(HINT).count(), 1, "{said}");
    assert_eq!(system.rights("/etc/highlander"), "root highlander 750");
    assert_eq!(system.rights(CONFIG), "root highlander 640");
    assert_eq!(system.rights(STATE), "highlander highlander 700");
    let enabled = system.command(&["systemctl", "is-enabled", "highlander"]).output();
    assert_eq!(enabled.expect("chroot is there").stdout, b"disabled\n");
    let said = system.run(&["highlander", "check", CONFIG]);
    assert_eq!(
        said,
        format!("{CONFIG} is good: it writes to http://localhost:8428/api/v1/write\n")
    );
    // Whether `man` is there, and shows it, is not the unit's fault.
    let said = system.run(&["systemd-analyze", "verify", "--man=no", UNIT]);
    assert_eq!(said, "", "systemd-analyze verify");
    // A machine may have been told to leave manuals and documents out.
    let verified = system.dpkg(&["--verify", "highlander"]);
    let wrong: Vec<_> = verified.lines().filter(|line| !line.contains(" /usr/share/")).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let held = run("dpkg-deb", &["-c", &system.path("/1.0.0.deb").to_string_lossy()]);
    for file in ["README.md", "RUNBOOK.md", "alerts.yml", "grafana.json", "copyright"] {
        assert!(held.contains(&format!("/usr/share/doc/highlander/{file}\n")), "{held}");
    }
    assert!(held.contains("/usr/share/man/man1/highlander.1.gz\n"), "{held}");
    assert!(held.lines().all(|line| line.contains(" root/root ")), "{held}");
    system.run(&["systemctl", "--quiet", "enable", "highlander"]);
}

/// Runs what the unit runs, as the user and without the rights that the unit takes, and pushes through it.
fn serve(system: &System, bodies: &Receiver<Vec<u8>>) {
    let unit = fs::read_to_string(system.path(UNIT)).expect("it is installed");
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart="));
    let line = format!("umask 0077; exec {}", line.expect("it starts something"));
    let mut service = Service(
        system
            .command(&["setpriv", "--reuid=highlander", "--regid=highlander", "--clear-groups"])
            .args(["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--reset-env"])
            .args(["sh", "-c", &line])
            .spawn()
            .expect("chroot is there"),
    );
    let start = Instant::now();
    while !ask("127.0.0.1:9092", b"GET /-/ready HTTP/1.1\r\nHost: a\r\n\r\n")
        .starts_with("HTTP/1.1 200 ")
    {
        assert!(service.0.try_wait().expect("a child").is_none(), "it has ended");
        assert!(start.elapsed() < PATIENCE, "it is not ready");
        thread::sleep(Duration::from_millis(20));
    }
    let answer = ask(
        "127.0.0.1:9091",
        b"POST /api/v1/write?highlander_weight=5&highlander_source=a HTTP/1.1\r\nHost: a\r\n\
          Content-Length: 3\r\n\r\nabc",
    );
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert_eq!(bodies.recv_timeout(PATIENCE).as_deref(), Ok(&b"abc"[..]));
    let promoted = format!("{STATE}/promoted");
    while !system.path(&promoted).exists() {
        assert!(start.elapsed() < PATIENCE, "nothing is kept of who is promoted");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(system.rights(&promoted), "highlander highlander 600");
    run("kill", &["-s", "TERM", &service.0.id().to_string()]);
    let start = Instant::now();
    let ended = loop {
        match service.0.try_wait().expect("a child") {
            Some(ended) => break ended,
            None => assert!(start.elapsed() < PATIENCE, "it does not end"),
        }
        thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(ended.code(), Some(0));
}

/// What is removed leaves what is the administrator's, what is purged leaves nothing.
fn remove(system: &System, edited: &str) {
    fs::write(system.path("/etc/highlander/password"), "geheim").expect("it can be written");
    system.dpkg(&["--remove", "highlander"]);
    for path in ["/usr/bin/highlander", UNIT, "/usr/share/doc/highlander"] {
        assert!(!system.path(path).exists(), "{path} is left");
    }
    assert_eq!(fs::read_to_string(system.path(CONFIG)).ok().as_deref(), Some(edited));
    assert!(system.path(STATE).join("promoted").exists(), "what it kept is gone");
    let link = "/etc/systemd/system/multi-user.target.wants/highlander.service";
    assert!(system.path(link).symlink_metadata().is_err(), "{link} leads nowhere");
    system.dpkg(&["--purge", "highlander"]);
    assert_eq!(system.left(), "");
    assert!(!system.path("/etc/highlander").exists() && !system.path(STATE).exists());
    let known = system.command(&["dpkg-query", "-W", "highlander"]).output();
    assert!(!known.expect("chroot is there").status.success(), "dpkg still knows it");
}

/// Ends with the test.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a request and reads the beginning of what comes back; nothing while nobody listens.
fn ask(address: &str, request: &[u8]) -> String {
    let Ok(mut stream) = TcpStream::connect(address) else { return String::new() };
    stream.set_read_timeout(Some(PATIENCE)).expect("a live socket");
    let mut answer = [0; 4096];
    let length = stream.write_all(request).and_then(|()| stream.read(&mut answer));
    String::from_utf8_lossy(&answer[..length.unwrap_or(0)]).into_owned()
}

/// A storage that takes everything, one connection after the other is enough.
fn store(listener: &TcpListener, bodies: &Sender<Vec<u8>>) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { return };
        let bodies = bodies.clone();
        thread::spawn(move || {
            let mut reader = BufReader::new(stream.try_clone().expect("a live socket"));
            loop {
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 {
                        return;
                    }
                    let line = line.trim_end().to_ascii_lowercase();
                    if let Some(value) = line.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap_or(0);
                    }
                    if line.is_empty() {
                        break;
                    }
                }
                let mut body = vec![0; length];
                if reader.read_exact(&mut body).is_err() {
                    return;
                }
                let _ = bodies.send(body);
                if stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_err() {
                    return;
                }
            }
        });
    }
}
