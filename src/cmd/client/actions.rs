//! What can be asked of a server on the command line, and the request that asks it.

use crate::client::{self, Method, Outgoing};
use crate::cmd::shared::files::{bounded, file};
use crate::domain::{Dimension, IdempotencyKey, PoolId, ReservationId, Status};
use crate::limits::{COMMAND_BYTES_MAX, DEADLINE_MAX_MS};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use std::io;
use std::path::Path;

/// How long the hold of a check lasts when nobody releases it, in milliseconds: longer than both calls may take.
const CHECK_HOLD_MS: u64 = 4 * DEADLINE_MAX_MS;

/// A call of a server, with all that is said in it.
#[derive(Debug, Subcommand)]
pub(in crate::cmd) enum Action {
    /// Take capacity of a pool: the whole demand, or nothing
    Reserve {
        /// Id of the pool
        #[arg(value_parser = PoolId::new)]
        pool: PoolId,
        #[command(flatten)]
        demand: Demand,
        /// Reserve a hold, which ends after so many milliseconds unless it is confirmed
        #[arg(long, value_name = "MS")]
        hold_ttl_ms: Option<u64>,
        /// Order that the reservation is for
        #[arg(long, value_name = "NAME")]
        order_ref: Option<String>,
        #[command(flatten)]
        command: Command,
    },
    /// Reserve, and release what was reserved: shows that a pool can be called
    ///
    /// What is reserved is a hold, so that the units come back by themselves when the release fails.
    Check {
        /// Id of the pool
        #[arg(value_parser = PoolId::new)]
        pool: PoolId,
        #[command(flatten)]
        demand: Demand,
        /// Deadline of each of the two calls, in milliseconds (default: the server's)
        #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=DEADLINE_MAX_MS))]
        timeout_ms: Option<u64>,
    },
    /// Give the units of a reservation back
    Release(OnReservation),
    /// Make a hold a reservation for good
    Confirm(OnReservation),
    /// Give a hold more time
    Extend {
        #[command(flatten)]
        on: OnReservation,
        /// Time from now, in milliseconds; a hold that had more left ends sooner
        #[arg(long, value_name = "MS")]
        hold_ttl_ms: u64,
    },
    /// Take other units of the same pool; a dimension that is not named is given back
    Amend {
        #[command(flatten)]
        on: OnReservation,
        #[command(flatten)]
        demand: Demand,
    },
    /// Show a reservation
    Get {
        /// Id of the reservation, as the answer to its reserve had it
        #[arg(value_parser = ReservationId::parse)]
        reservation: ReservationId,
        #[command(flatten)]
        read: Read,
    },
    /// List the pools that serve a place, a time and a demand; every condition may be left out
    Availability(Availability),
    /// Show, define and change pools
    #[command(subcommand)]
    Pools(Pools),
}

/// A call about pools.
#[derive(Debug, Subcommand)]
pub(in crate::cmd) enum Pools {
    /// List all pools, page by page
    List {
        #[command(flatten)]
        page: Page,
        #[command(flatten)]
        read: Read,
    },
    /// Show a pool
    Get {
        /// Id of the pool
        #[arg(value_parser = PoolId::new)]
        pool: PoolId,
        #[command(flatten)]
        read: Read,
    },
    /// Make a pool, or replace all that is said of it
    Put(Edit),
    /// Change parts of a pool and keep the rest
    Patch(Edit),
    /// End the life of a pool: it and its live reservations are unknown from then on
    Retire {
        /// Id of the pool
        #[arg(value_parser = PoolId::new)]
        pool: PoolId,
        /// End live reservations with the pool; without it they keep the pool
        #[arg(long)]
        with_reservations: bool,
        #[command(flatten)]
        expected: Expected,
        #[command(flatten)]
        command: Command,
    },
    /// List the reservations of a pool, page by page; for a while also those that have ended
    Reservations {
        /// Id of the pool
        #[arg(value_parser = PoolId::new)]
        pool: PoolId,
        /// Only those with this status
        #[arg(long, value_parser = Status::ADMITTED.map(|status| status.code().unwrap_or_default()))]
        status: Option<String>,
        /// At most so many reservations
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
        /// Where the list before ended
        #[arg(long, value_parser = ReservationId::parse)]
        cursor: Option<ReservationId>,
        #[command(flatten)]
        read: Read,
    },
    /// Open, pause or close a pool
    Mode {
        /// Id of the pool
        #[arg(value_parser = PoolId::new)]
        pool: PoolId,
        /// open, paused or closed
        mode: String,
        #[command(flatten)]
        expected: Expected,
        #[command(flatten)]
        command: Command,
    },
}

/// What every command takes.
#[derive(Debug, Args)]
pub(in crate::cmd) struct Command {
    /// Idempotency key: the same call under the same key is done once (default: a new key, which is printed)
    #[arg(long, value_parser = IdempotencyKey::new)]
    key: Option<IdempotencyKey>,
    /// Deadline of the call, in milliseconds (default: the server's)
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=DEADLINE_MAX_MS))]
    timeout_ms: Option<u64>,
}

/// A command on a reservation.
#[derive(Debug, Args)]
pub(in crate::cmd) struct OnReservation {
    /// Id of the reservation, as the answer to its reserve had it
    #[arg(value_parser = ReservationId::parse)]
    reservation: ReservationId,
    #[command(flatten)]
    command: Command,
}

/// Units of a pool.
#[derive(Debug, Args)]
pub(in crate::cmd) struct Demand {
    /// Units by dimension, such as orders=1 crates=4
    #[arg(value_name = "DIMENSION=UNITS", required = true, value_parser = amount)]
    units: Vec<(Dimension, u64)>,
}

/// The version that a change was made for.
#[derive(Debug, Args)]
pub(in crate::cmd) struct Expected {
    /// Refuse the change when the pool has another version
    #[arg(long, value_name = "VERSION")]
    if_match: Option<u64>,
}

/// A change of a pool whose content is JSON.
#[derive(Debug, Args)]
pub(in crate::cmd) struct Edit {
    /// Id of the pool
    #[arg(value_parser = PoolId::new)]
    pool: PoolId,
    /// Content as JSON, as the reference of the API describes it: the text, @FILE, or - for standard input
    #[arg(value_name = "JSON")]
    content: String,
    #[command(flatten)]
    expected: Expected,
    #[command(flatten)]
    command: Command,
}

/// What every read takes.
#[derive(Debug, Args)]
pub(in crate::cmd) struct Read {
    /// Wait for everything that was committed before this call
    #[arg(long)]
    fresh: bool,
}

/// A part of a list.
#[derive(Debug, Args)]
pub(in crate::cmd) struct Page {
    /// At most so many pools
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Where the list before ended
    #[arg(long, value_parser = PoolId::new)]
    cursor: Option<PoolId>,
}

/// Conditions on pools.
#[derive(Debug, Args)]
pub(in crate::cmd) struct Availability {
    /// Units that a pool would take now, such as orders=1 crates=4
    #[arg(value_name = "DIMENSION=UNITS", value_parser = amount)]
    units: Vec<(Dimension, u64)>,
    /// Area that a pool serves; with several, one of them
    #[arg(long, value_name = "NAME")]
    area: Vec<String>,
    /// Label that a pool carries; with several, all of them
    #[arg(long, value_name = "NAME=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// Pools whose window ends after this, in RFC 3339, and pools without a window
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Pools whose window starts before this, in RFC 3339, and pools without a window
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    #[command(flatten)]
    page: Page,
    #[command(flatten)]
    read: Read,
}

/// A request, and what is to be known of it afterwards.
pub(super) struct Ask {
    pub(super) request: Outgoing,
    /// The key of a command; a read has none.
    pub(super) key: Option<String>,
    /// Whether the key was made here.
    pub(super) is_key_made: bool,
    pub(super) timeout_ms: Option<u64>,
}

impl Action {
    /// The request.
    ///
    /// # Errors
    /// The content of a pool cannot be read.
    pub(super) fn ask(&self) -> Result<Ask, String> {
        match self {
            Action::Reserve { pool, demand, hold_ttl_ms, order_ref, command } => {
                command.ask(reserve(pool, demand, *hold_ttl_ms, order_ref.as_deref())?)
            }
            Action::Check { pool, demand, timeout_ms } => {
                let command = Command { key: None, timeout_ms: *timeout_ms };
                command.ask(reserve(pool, demand, Some(CHECK_HOLD_MS), None)?)
            }
            Action::Release(on) => on.ask(Method::DELETE, "", None),
            Action::Confirm(on) => on.ask(Method::POST, "/confirm", None),
            Action::Extend { on, hold_ttl_ms } => {
                on.ask(Method::POST, "/extend", Some(json!({ "hold_ttl_ms": hold_ttl_ms })))
            }
            Action::Amend { on, demand } => {
                on.ask(Method::PATCH, "", Some(json!({ "demand": by_dimension(&demand.units)? })))
            }
            Action::Get { reservation, read } => get(&format!("/v1/reservations/{reservation}"), read, []),
            Action::Availability(query) => query.ask(),
            Action::Pools(pools) => pools.ask(),
        }
    }

    /// The request that follows when the first one was done, and `answer` is its body; most calls have none.
    ///
    /// # Errors
    /// The answer does not say what the request is to be about.
    pub(super) fn then(&self, answer: &Value) -> Result<Option<Ask>, String> {
        let Action::Check { timeout_ms, .. } = self else { return Ok(None) };
        let id = answer["reservation"].as_str().ok_or("the answer names no reservation")?;
        let reservation = ReservationId::parse(id).map_err(|error| format!("the answer's reservation {error}"))?;
        let command = Command { key: None, timeout_ms: *timeout_ms };
        OnReservation { reservation, command }.ask(Method::DELETE, "", None).map(Some)
    }
}

impl Pools {
    fn ask(&self) -> Result<Ask, String> {
        match self {
            Pools::List { page: Page { limit, cursor }, read } => {
                let cursor = cursor.as_ref().map(PoolId::to_string);
                get("/v1/pools", read, [("limit", limit.map(|n| n.to_string())), ("cursor", cursor)])
            }
            Pools::Get { pool, read } => get(&at(pool), read, []),
            Pools::Reservations { pool, status, limit, cursor, read } => {
                let (limit, cursor) = (limit.map(|n| n.to_string()), cursor.map(|id| id.to_string()));
                let query = [("status", status.clone()), ("limit", limit), ("cursor", cursor)];
                get(&format!("{}/reservations", at(pool)), read, query)
            }
            Pools::Put(edit) => edit.ask(Method::PUT),
            Pools::Patch(edit) => edit.ask(Method::PATCH),
            Pools::Retire { pool, with_reservations, expected, command } => {
                let query = if *with_reservations { "?with_reservations=true" } else { "" };
                let path = client::path(&format!("{}{query}", at(pool)))?;
                command.ask(expected.of(client::bare(Method::DELETE, path)))
            }
            Pools::Mode { pool, mode, expected, command } => {
                let path = client::path(&format!("{}/mode", at(pool)))?;
                let request = client::json(Method::POST, path, json!({ "mode": mode }).to_string());
                command.ask(expected.of(request))
            }
        }
    }
}

impl Command {
    fn ask(&self, request: Outgoing) -> Result<Ask, String> {
        let (key, is_key_made) = match &self.key {
            Some(key) => (key.as_str().to_owned(), false),
            None => (new_key(), true),
        };
        let request = client::keyed(request, &key);
        let request = self.timeout_ms.map_or(request.clone(), |ms| client::timed(request, ms));
        Ok(Ask { request, key: Some(key), is_key_made, timeout_ms: self.timeout_ms })
    }
}

impl OnReservation {
    fn ask(&self, method: Method, rest: &str, body: Option<Value>) -> Result<Ask, String> {
        let path = client::path(&format!("/v1/reservations/{}{rest}", self.reservation))?;
        self.command.ask(match body {
            Some(body) => client::json(method, path, body.to_string()),
            None => client::bare(method, path),
        })
    }
}

impl Expected {
    fn of(&self, request: Outgoing) -> Outgoing {
        match self.if_match {
            Some(version) => client::matching(request, &format!("\"{version}\"")),
            None => request,
        }
    }
}

impl Edit {
    fn ask(&self, method: Method) -> Result<Ask, String> {
        let content = match self.content.strip_prefix('@') {
            Some(path) => file("JSON", Path::new(path), COMMAND_BYTES_MAX as u64)?,
            None if self.content == "-" => {
                let read = bounded(io::stdin().lock(), COMMAND_BYTES_MAX as u64);
                read.map_err(|why| format!("standard input {why}"))?
            }
            None => self.content.clone().into_bytes(),
        };
        let request = client::json(method, client::path(&at(&self.pool))?, content);
        self.command.ask(self.expected.of(request))
    }
}

impl Availability {
    fn ask(&self) -> Result<Ask, String> {
        let mut body = json!({});
        put(&mut body, "areas", (!self.area.is_empty()).then_some(&*self.area));
        put(&mut body, "from", self.from.as_deref());
        put(&mut body, "to", self.to.as_deref());
        if !self.units.is_empty() {
            body["demand"] = by_dimension(&self.units)?;
        }
        if !self.label.is_empty() {
            body["labels"] = self.label.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        }
        put(&mut body, "limit", self.page.limit);
        put(&mut body, "cursor", self.page.cursor.as_ref().map(PoolId::as_str));
        let path = if self.read.fresh { "/v1/availability?fresh=true" } else { "/v1/availability" };
        Ok(read_only(client::json(Method::POST, client::path(path)?, body.to_string())))
    }
}

/// A key that nobody else has.
#[expect(clippy::disallowed_methods, reason = "a random number tells this call from all others")]
fn new_key() -> String {
    format!("cli-{:032x}", rand::random::<u128>())
}

/// The path of a pool. None of the characters of its id means anything in a path.
fn at(pool: &PoolId) -> String {
    format!("/v1/pools/{}", pool.as_str())
}

/// A read with these parameters, of which none of the values means anything in a query.
fn get<const N: usize>(path: &str, read: &Read, query: [(&str, Option<String>); N]) -> Result<Ask, String> {
    let said = query.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
    let query: Vec<String> = said.chain(read.fresh.then(|| "fresh=true".to_owned())).collect();
    let mark = if query.is_empty() { "" } else { "?" };
    Ok(read_only(client::bare(Method::GET, client::path(&format!("{path}{mark}{}", query.join("&")))?)))
}

fn reserve(
    pool: &PoolId,
    demand: &Demand,
    hold_ttl_ms: Option<u64>,
    order_ref: Option<&str>,
) -> Result<Outgoing, String> {
    let mut body = json!({ "pool": pool.as_str(), "demand": by_dimension(&demand.units)? });
    put(&mut body, "hold_ttl_ms", hold_ttl_ms);
    put(&mut body, "order_ref", order_ref);
    Ok(client::json(Method::POST, client::path("/v1/reservations")?, body.to_string()))
}

fn read_only(request: Outgoing) -> Ask {
    Ask { request, key: None, is_key_made: false, timeout_ms: None }
}

fn put(body: &mut Value, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        body[name] = value.into();
    }
}

/// The units as JSON.
fn by_dimension(units: &[(Dimension, u64)]) -> Result<Value, String> {
    let mut map = Map::new();
    for (dimension, units) in units {
        if map.insert(dimension.to_string(), json!(units)).is_some() {
            return Err(format!("the dimension {dimension} is given twice"));
        }
    }
    Ok(Value::Object(map))
}

fn amount(text: &str) -> Result<(Dimension, u64), String> {
    let (dimension, units) = text.split_once('=').ok_or("give a dimension and a number, such as orders=1")?;
    let named = Dimension::new(dimension).map_err(|error| format!("the dimension {error}"))?;
    let units = units.parse().map_err(|_| format!("{units:?} is not a whole number of units"))?;
    Ok((named, units))
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("give a name and a value, such as fleet=van")?;
    Ok((name.to_owned(), value.to_owned()))
}
