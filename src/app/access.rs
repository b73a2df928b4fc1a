//! How the process knows its callers: what the settings name is read at the start, and read again while it runs.

use super::{StartError, looks};
use crate::access::{Access, NewToken, TOKEN_RANDOM_BYTES, Ways};
use crate::config::{Auth, Config, Proofs};
use crate::limits::JWKS_LOOK_MS;
use crate::threads;
use crate::time::Clock;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Interval at which files of tokens, certificates and keys are checked for changes, in milliseconds. A revoked token may be used
/// so long.
const ACCESS_LOOK_MS: u64 = 500;

/// How long a start waits for the keys of an issuer, in milliseconds.
const FIRST_KEYS_MS: u64 = 1_000;

/// Draws a token that nobody has.
#[expect(clippy::disallowed_methods, reason = "the composition root draws identities and secrets")]
pub fn new_token() -> NewToken {
    NewToken::of(rand::random::<[u8; TOKEN_RANDOM_BYTES]>())
}

/// Reads what the settings name. `local` is the token of local commands.
pub(super) fn open(config: &Config, local: NewToken, clock: Arc<dyn Clock>) -> Result<Access, StartError> {
    let Proofs { tokens, issuer, certificates } = match &config.auth {
        Auth::Off { is_written_out } => {
            if *is_written_out {
                let listen = config.listen;
                tracing::warn!(%listen, "auth is none: whoever can connect is served, under every role and no name");
            }
            return Ok(Access::anybody());
        }
        Auth::On(proofs) => proofs.clone(),
    };
    if tokens && !config.tokens_file.exists() {
        let file = config.tokens_file.display();
        let hint = "write one with headroom tokens new NAME --roles ROLE";
        return Err(StartError::Access(format!("{file}: there is none: {hint}")));
    }
    let tokens = tokens.then(|| config.tokens_file.clone());
    let access = Access::only(Ways { local: Some(local), tokens, issuer, certificates }, clock);
    let access = access.map_err(StartError::Access)?;
    let [tokens, issuer_keys, certificates] = access.counts().known;
    tracing::info!(tokens, issuer_keys, certificates, "callers have to prove who they are");
    Ok(access)
}

/// Reads the keys of an issuer, so that a caller with a JWT is known from the first call on. An issuer that does not answer keeps
/// nobody waiting: what is broken off here is asked again as soon as callers are served.
pub(super) async fn first_keys(access: &Access) {
    let _ = timeout(Duration::from_millis(FIRST_KEYS_MS), access.refresh_keys()).await;
}

/// Keeps what is known of callers up to date, until the tasks are aborted.
pub(super) fn keep(access: &Arc<Access>) -> [JoinHandle<()>; 2] {
    let (files, keys) = (Arc::clone(access), Arc::clone(access));
    [tokio::spawn(look_at_files(files)), tokio::spawn(refresh_keys(keys))]
}

async fn look_at_files(access: Arc<Access>) {
    let _watched = threads::watch("access files");
    let mut ticks = looks::every(ACCESS_LOOK_MS);
    loop {
        ticks.tick().await;
        let access = Arc::clone(&access);
        if looks::blocking(move || access.look_at_files()).await.is_none() {
            return;
        }
    }
}

async fn refresh_keys(access: Arc<Access>) {
    let _watched = threads::watch("access keys");
    let mut ticks = looks::every(JWKS_LOOK_MS);
    loop {
        ticks.tick().await;
        access.refresh_keys().await;
    }
}
