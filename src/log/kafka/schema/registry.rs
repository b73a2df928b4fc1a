//! The schema registry. It is asked with a time limit and never on the thread of an owner: when a server starts, by `headroom
//! schemas`, about an id that was never seen, and every minute about ids that it did not know as ours (see [`super::resolver`]). A
//! server registers nothing.

use crate::log::kafka::Topics;
use crate::log::{LogError, LogErrorKind};
use crate::wire::schema::{COMMAND, EVENT, REPLY};
use reqwest::{RequestBuilder, StatusCode};
use schema_registry_converter::async_impl::schema_registry::{
    SrSettings, is_compatible_schema, perform_sr_call, post_schema,
};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{
    RawError, RawRegisteredSchema, SchemaType, SrCall, SuppliedSchema,
};
use serde_json::{Value, json};
use std::error::Error;
use std::fmt;
use std::time::Duration;

/// The registry's address and how to authenticate.
#[derive(Clone, PartialEq, Eq)]
pub struct Registry {
    /// Has no slash at its end.
    pub url: String,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// User name and password; `None` asks without.
    pub user: Option<(String, String)>,
}

impl fmt::Debug for Registry {
    /// Leaves out the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// The subject under which the schemas of a topic's values are registered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subject {
    /// The topic's name with `-value` (TopicNameStrategy).
    pub name: String,
    /// The compatibility level that the subject must have.
    pub level: &'static str,
    /// Its schemas, oldest first.
    pub versions: &'static [&'static str],
}

/// The subjects of the topics whose records have schemas.
pub fn subjects(topics: &Topics) -> [Subject; 3] {
    let subject = |topic: &str, level, versions| Subject { name: format!("{topic}-value"), level, versions };
    [
        subject(&topics.commands, "FULL", COMMAND),
        // Events are kept for ever, so every version must read every other.
        subject(&topics.events, "FULL_TRANSITIVE", EVENT),
        subject(&topics.replies, "FULL", REPLY),
    ]
}

/// The state of a schema in the registry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Registration {
    /// Registered, with this id.
    Registered(u32),
    /// Not registered; the registry would accept it.
    Acceptable,
    /// Not registered, and the registry would refuse it.
    Refused,
}

/// Error codes that mean "not found". The library does not show the HTTP status.
const NOT_FOUND: std::ops::RangeInclusive<u32> = 40_401..=40_499;

impl Registry {
    /// The ids of a subject's schemas, in their order; `None` for one that is not registered.
    ///
    /// # Errors
    /// [`LogError`] when the registry does not answer, or refuses us.
    pub fn ids(&self, subject: &Subject) -> Result<Vec<Option<u32>>, LogError> {
        self.ask(async |asking| {
            let mut ids = Vec::new();
            for text in subject.versions {
                ids.push(asking.id(&subject.name, text).await?);
            }
            Ok(ids)
        })
    }

    /// The compatibility level of a subject, `None` if it has none of its own, and the state of each of its schemas.
    ///
    /// # Errors
    /// [`LogError`] when the registry does not answer, or refuses us.
    pub fn registrations(&self, subject: &Subject) -> Result<(Option<String>, Vec<Registration>), LogError> {
        self.ask(async |asking| {
            let mut registrations = Vec::new();
            for text in subject.versions {
                registrations.push(match asking.id(&subject.name, text).await? {
                    Some(id) => Registration::Registered(id),
                    None if asking.is_accepted(&subject.name, text).await? => Registration::Acceptable,
                    None => Registration::Refused,
                });
            }
            Ok((asking.level(&subject.name).await?, registrations))
        })
    }

    /// Sets the compatibility level, then registers every schema, oldest first. A second call changes nothing.
    ///
    /// # Errors
    /// [`LogError`] when the registry does not answer, or refuses a schema.
    pub fn register(&self, subject: &Subject) -> Result<Vec<u32>, LogError> {
        self.ask(async |asking| {
            asking.set_level(&subject.name, subject.level).await?;
            let mut ids = Vec::new();
            for text in subject.versions {
                ids.push(asking.register(&subject.name, text).await?);
            }
            Ok(ids)
        })
    }

    /// The schemas of these ids, in order; `None` for an id that does not exist. An error is no answer. All are asked for at
    /// the same time.
    pub fn schemas(&self, ids: &[u32]) -> Vec<Result<Option<String>, LogError>> {
        let asked = self.ask(async |asking| {
            let call = |id: u32| {
                let settings = asking.settings.clone();
                tokio::spawn(async move { perform_sr_call(&settings, SrCall::GetById(id)).await })
            };
            // Registries use signed ids, and do not understand larger ones.
            let calls: Vec<_> = ids.iter().map(|id| i32::try_from(*id).is_ok().then(|| call(*id))).collect();
            let mut answers = Vec::new();
            for asked in calls {
                answers.push(match asked {
                    Some(asked) => asking.text(asked.await),
                    None => Ok(None),
                });
            }
            Ok(answers)
        });
        asked.unwrap_or_else(|error| vec![Err(error); ids.len()])
    }

    /// Runs `work` on a thread of its own, because the caller may or may not be a thread of an async runtime.
    fn ask<T: Send>(&self, work: impl AsyncFnOnce(&Asking<'_>) -> Result<T, LogError> + Send) -> Result<T, LogError> {
        let asked = || {
            let cannot = |error: &dyn fmt::Display| LogError::internal(format!("cannot ask a registry: {error}"));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let asking = Asking::new(self).map_err(|error| cannot(&error))?;
            runtime.map_err(|error| cannot(&error))?.block_on(work(&asking))
        };
        let ended = std::thread::scope(|scope| scope.spawn(asked).join());
        ended.unwrap_or_else(|_| Err(LogError::internal("asking the registry failed")))
    }
}

/// The clients for some questions. Calls of the converter library are used where it has them.
struct Asking<'a> {
    registry: &'a Registry,
    settings: SrSettings,
    http: reqwest::Client,
}

impl Asking<'_> {
    fn new(registry: &Registry) -> Result<Asking<'_>, Box<dyn Error>> {
        let mut settings = SrSettings::new_builder(registry.url.clone());
        settings.set_timeout(registry.timeout);
        if let Some((user, password)) = &registry.user {
            settings.set_basic_authorization(user, Some(password));
        }
        let http = reqwest::Client::builder().timeout(registry.timeout).build()?;
        Ok(Asking { registry, settings: settings.build()?, http })
    }

    async fn id(&self, subject: &str, text: &str) -> Result<Option<u32>, LogError> {
        let body = json!({"schemaType": "AVRO", "schema": text}).to_string();
        let answer = perform_sr_call(&self.settings, SrCall::PostForVersion(subject, &body)).await;
        Ok(self.found(answer)?.and_then(|answer| answer.id))
    }

    fn text<E: Error + 'static>(
        &self,
        answer: Result<Result<RawRegisteredSchema, SRCError>, E>,
    ) -> Result<Option<String>, LogError> {
        let answer = answer.map_err(|error| self.cannot(format_args!("be asked"), &error))?;
        let Some(answer) = self.found(answer)? else { return Ok(None) };
        // A schema that exists has a text.
        let none = || LogError::operator(format!("the registry at {} answers without a schema", self.registry.url));
        answer.schema.map(Some).ok_or_else(none)
    }

    async fn is_accepted(&self, subject: &str, text: &str) -> Result<bool, LogError> {
        let answer = is_compatible_schema(&self.settings, subject.to_owned(), supplied(text)).await;
        // A subject that does not exist accepts anything.
        Ok(self.found(answer)?.unwrap_or(true))
    }

    async fn register(&self, subject: &str, text: &str) -> Result<u32, LogError> {
        let answer = post_schema(&self.settings, subject.to_owned(), supplied(text)).await;
        answer.map(|registered| registered.id).map_err(|error| self.cannot(format_args!("register {subject}"), &error))
    }

    async fn level(&self, subject: &str) -> Result<Option<String>, LogError> {
        let answer = self.configured(self.http.get(self.config_of(subject))).await?;
        Ok(answer.and_then(|answer| Some(answer.get("compatibilityLevel")?.as_str()?.to_owned())))
    }

    async fn set_level(&self, subject: &str, level: &str) -> Result<(), LogError> {
        let body = json!({"compatibility": level}).to_string();
        let put = self.http.put(self.config_of(subject)).body(body);
        let answer = self.configured(put.header("content-type", "application/vnd.schemaregistry.v1+json")).await?;
        let missing = || LogError::operator(format!("the registry at {} has no config/{subject}", self.registry.url));
        answer.map(|_| ()).ok_or_else(missing)
    }

    fn config_of(&self, subject: &str) -> String {
        format!("{}/config/{subject}", self.registry.url)
    }

    async fn configured(&self, request: RequestBuilder) -> Result<Option<Value>, LogError> {
        let request = match &self.registry.user {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        };
        let answer = request.send().await.map_err(|error| self.cannot(format_args!("be asked"), &error))?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => {
                let text = answer.text().await.map_err(|error| self.cannot(format_args!("be asked"), &error))?;
                let value = serde_json::from_str(&text);
                value.map(Some).map_err(|error| self.cannot(format_args!("be understood"), &error))
            }
            status => {
                let may_pass = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
                let kind = if may_pass { LogErrorKind::Transient } else { LogErrorKind::Operator };
                Err(LogError::new(kind, format!("the registry at {} answers {status}", self.registry.url)))
            }
        }
    }

    /// `None` when the registry says that it does not exist.
    fn found<T>(&self, answer: Result<T, SRCError>) -> Result<Option<T>, LogError> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(error) => match error.source().and_then(|cause| cause.downcast_ref::<RawError>()) {
                Some(raw) if NOT_FOUND.contains(&raw.error_code) => Ok(None),
                _ => Err(self.cannot(format_args!("be asked"), &error)),
            },
        }
    }

    fn cannot(&self, what: fmt::Arguments<'_>, error: &(dyn Error + 'static)) -> LogError {
        let mut cause = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let told = match (error.downcast_ref::<SRCError>(), cause.downcast_ref::<RawError>()) {
            (Some(error), Some(raw)) if raw.error_code == 0 => error.error.clone(),
            (_, Some(raw)) => raw.message.clone(),
            _ => cause.to_string(),
        };
        let advice = tls_advice(&self.registry.url, &told);
        LogError::transient(format!("the registry at {} cannot {what}: {told}{advice}", self.registry.url))
    }
}

/// Advice where one side seems to speak TLS and the other does not, because the error alone does not say so.
fn tls_advice(url: &str, told: &str) -> &'static str {
    let hung_up = ["reset by peer", "connection closed", "invalid HTTP version", "unexpected end of file"];
    match url.starts_with("https:") {
        true if told.contains("wrong version number") => ": it does not seem to speak TLS, and registry_url says https",
        false if hung_up.iter().any(|sign| told.contains(sign)) => {
            ": it closes the connection, which a server does that expects TLS, and registry_url says http"
        }
        _ => "",
    }
}

fn supplied(text: &str) -> SuppliedSchema {
    SuppliedSchema::new(None, SchemaType::Avro, text.to_owned())
}
