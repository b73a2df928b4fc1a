//! A real Kafka and a real schema registry in a test's hands; `tests/rig/up` says what they are. Whatever way this
//! process ends, they notice and stop.

use crate::process::try_spawn;
use parking_lot::{Condvar, Mutex};
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::panic;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;
use tempfile::TempDir;

/// Brokers, and perhaps a registry. Dropping it stops them; what they wrote is kept if the test fails, or always with
/// `HEADROOM_RIG_KEEP`. With `HEADROOM_RIG_OWN=no` there are none but the shared one: another process runs the tests that have
/// their own.
pub struct Rig {
    /// None once it is to be kept.
    dir: Option<TempDir>,
    ports: Ports,
    brokers: String,
    registry_url: Option<String>,
    _turn: Option<Turn>,
}

impl Rig {
    /// One of this test's own, to do harm to. There is one of them at a time, since a JVM takes its share of a machine.
    pub fn start(brokers: u8, with_registry: bool) -> Rig {
        Rig::up(brokers, with_registry, std::process::id(), Some(Turn::take()), &[])
    }

    /// One broker of a test's own with a secured listener, too; `tests/rig/up` says what has to be in `tls`.
    pub fn secured(tls: &Path) -> Rig {
        Rig::up(1, false, std::process::id(), Some(Turn::take()), &[("HEADROOM_RIG_TLS", tls.to_str().unwrap())])
    }

    /// One broker of a test's own with a listener for a proxy's clients, too, and with these settings of its own.
    pub fn proxied(settings: &[&str]) -> Rig {
        let settings = settings.join("\n");
        let more = [("HEADROOM_RIG_PROXY", "yes"), ("HEADROOM_RIG_BROKER", settings.as_str())];
        Rig::up(1, false, std::process::id(), Some(Turn::take()), &more)
    }

    /// One broker of a test's own that stops when this process ends instead of the tests'.
    pub fn owned_by(process: u32) -> Rig {
        Rig::up(1, false, process, Some(Turn::take()), &[])
    }

    /// One broker and the registry, for all tests of this process: each of them uses names of its own, and harms nothing.
    pub fn shared() -> &'static Rig {
        static SHARED: OnceLock<Rig> = OnceLock::new();
        SHARED.get_or_init(|| {
            let rig = Rig::up(1, true, std::process::id(), None, &[]);
            // Nobody drops it: it stops when this process is gone, and leaves its logs if they find this.
            let keep = rig.path("keep");
            let usual = panic::take_hook();
            panic::set_hook(Box::new(move |panicked| {
                usual(panicked);
                if File::create_new(&keep).is_ok() {
                    eprintln!("the shared rig's logs will be beside {}", keep.display());
                }
            }));
            rig
        })
    }

    fn up(brokers: u8, with_registry: bool, owner: u32, turn: Option<Turn>, more: &[(&str, &str)]) -> Rig {
        let dir = tempfile::Builder::new().prefix("headroom-rig-").tempdir().unwrap();
        let (ports, brokers_wanted) = (Ports::claim(), brokers.to_string());
        let mut rig = Rig { dir: Some(dir), ports, brokers: String::new(), registry_url: None, _turn: turn };
        let mut command = rig.command("up", [&brokers_wanted]);
        command.env("HEADROOM_RIG_OWNER", owner.to_string());
        command.envs(more.iter().copied());
        command.env("HEADROOM_RIG_REGISTRY", if with_registry { "yes" } else { "no" });
        run(command).unwrap_or_else(|said| panic!("{said}"));
        let config = fs::read_to_string(rig.path("headroom.toml")).unwrap();
        let value = |name: &str| {
            let line = config.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
            line.map(|value| value.trim_matches('"').to_owned())
        };
        rig.brokers = value("kafka_brokers").unwrap();
        rig.registry_url = value("registry_url");
        rig
    }

    /// Where the brokers are: `host:port`, with commas between.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Where the secured listener of one is.
    pub fn secured_broker(&self) -> String {
        format!("127.0.0.1:{}", self.ports.first + 1)
    }

    /// Where the clients of a proxy find it, and the broker, which says the same.
    pub fn proxied_broker(&self) -> String {
        format!("127.0.0.1:{}", self.ports.first + 4)
    }

    /// Where a proxy finds the listener that it stands before.
    pub fn behind_proxy(&self) -> String {
        format!("127.0.0.1:{}", self.ports.first + 2)
    }

    /// Without a slash at its end.
    pub fn registry_url(&self) -> &str {
        self.registry_url.as_deref().expect("a rig with a registry")
    }

    /// `kill`, `stop`, `start`, `pause` or `resume`, for the n-th broker from 1 on. After `start` it serves.
    #[track_caller]
    pub fn broker(&self, n: u8, what: &str) {
        run(self.command("broker", [&n.to_string(), what])).unwrap_or_else(|said| panic!("{said}"));
    }

    /// `stop` or `start`. After `start` it answers, with the schemas it had.
    #[track_caller]
    pub fn registry(&self, what: &str) {
        run(self.command("registry", [what])).unwrap_or_else(|said| panic!("{said}"));
    }

    /// A file of the rig.
    fn path(&self, name: &str) -> PathBuf {
        self.dir.as_ref().expect("until it is dropped").path().join(name)
    }

    fn command<const N: usize>(&self, name: &str, args: [&str; N]) -> Command {
        let mut command = Command::new(format!("{}/tests/rig/{name}", env!("CARGO_MANIFEST_DIR")));
        command
            .args(args)
            .env("HEADROOM_RIG_DIR", self.path(""))
            .env("HEADROOM_RIG_PORT", self.ports.first.to_string());
        command
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let keep = std::thread::panicking() || std::env::var_os("HEADROOM_RIG_KEEP").is_some();
        let down = if keep { self.command("down", []) } else { self.command("down", ["--wipe"]) };
        if let Err(said) = run(down) {
            eprintln!("{said}");
        }
        if let Some(dir) = self.dir.take().filter(|_| keep) {
            eprintln!("the rig's logs are in {}", dir.keep().display());
        }
    }
}

/// Runs one of the rig's commands, each of which has limits of its own. An error is what it said.
fn run(mut command: Command) -> Result<(), String> {
    let ended = try_spawn(&mut command).and_then(Child::wait_with_output).map_err(|error| error.to_string())?;
    let said = || format!("{command:?}: {}\n{}", ended.status, String::from_utf8_lossy(&ended.stderr));
    ended.status.success().then_some(()).ok_or_else(said)
}

/// Ports for one rig, below those the system gives away by itself.
struct Ports {
    first: u16,
    /// On the port after the rig's: other processes that look for ports see that these are taken, also before they are.
    _claim: TcpListener,
}

impl Ports {
    const FROM: u16 = 20_000;
    /// Of a rig, and the claim.
    const EACH: u16 = 8;
    const BLOCKS: u32 = 1_500;

    fn claim() -> Ports {
        let bind = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let free = (0..Ports::BLOCKS).find_map(|n| {
            // Processes begin at different places.
            let block = u16::try_from((std::process::id() + n) % Ports::BLOCKS).unwrap();
            let first = Ports::FROM + block * Ports::EACH;
            let claim = bind(first + Ports::EACH - 1).ok()?;
            let free = (first..first + Ports::EACH - 1).all(|port| bind(port).is_ok());
            free.then_some(Ports { first, _claim: claim })
        });
        free.expect("eight free ports in a row")
    }
}

/// The right to a rig of one's own.
struct Turn;

static TAKEN: Mutex<bool> = Mutex::new(false);
static FREED: Condvar = Condvar::new();

impl Turn {
    fn take() -> Turn {
        let is_elsewhere = std::env::var_os("HEADROOM_RIG_OWN").is_some_and(|own| own == "no");
        assert!(!is_elsewhere, "a test with a rig of its own: name it in own_rigs of tests/run");
        let mut taken = TAKEN.lock();
        FREED.wait_while(&mut taken, |taken| *taken);
        *taken = true;
        Turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *TAKEN.lock() = false;
        FREED.notify_one();
    }
}
