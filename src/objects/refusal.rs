//! What a place refuses until a person has changed something, and what that is: a right, a key, a bucket, a region. Whoever waits
//! for such a place waits for ever, so it is told apart from one that is slow, full or away.

use crate::config::{ObjectPlace, StoreKind};
use object_store::Error;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;

/// Longest name of an error that a store gives, in characters, and longest sentence about it.
const CODE_CHARS_MAX: usize = 60;
const MESSAGE_CHARS_MAX: usize = 300;

/// What is done to an object, or to those of a folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Act {
    Read,
    /// Also of one that is there.
    Write,
    /// Of one that is as it was seen, or is not there.
    Replace,
    List,
    Delete,
}

impl Act {
    pub(super) fn name(self) -> &'static str {
        match self {
            Act::Read => "read",
            Act::Write => "write",
            Act::Replace => "replace",
            Act::List => "list",
            Act::Delete => "delete",
        }
    }
}

/// What a person has to change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Change {
    Right,
    Credentials,
    /// Credentials that were good, and have ended.
    Renewal,
    Bucket,
    Region,
    Clock,
    /// Of the object: it was moved to where it is kept and not read.
    Tier,
    Account,
}

/// Why the place refuses this, and what to change; `None` when the same may succeed later. `path` is where the object is in a
/// folder.
pub(super) fn refused(error: &Error, place: &ObjectPlace, (act, path): (Act, &Path)) -> Option<String> {
    let (store, url, prefix) = match place {
        ObjectPlace::Folder(_) => return not_allowed(system_error(error)?, path),
        ObjectPlace::Bucket { store, url, prefix } => (store, url, prefix),
    };
    let text = error.to_string();
    let answer = Answer::of(&text);
    let todo = match answer.change(act, is_of_bucket(error, &text))? {
        Change::Right => right(*store, act, url.split_once("://").map_or(url, |(_, bucket)| bucket), prefix),
        Change::Credentials => credentials(*store).to_owned(),
        Change::Renewal => format!("the credentials have ended: {}", credentials(*store)),
        Change::Bucket => "there is no such bucket: make it, or name another place".to_owned(),
        Change::Region => region(*store).to_owned(),
        Change::Clock => "set the clock of this machine".to_owned(),
        Change::Tier => {
            "bring the object back from the archive tier, and let no rule move what is here there".to_owned()
        }
        Change::Account => "settle with the provider what is wrong with the account of the bucket".to_owned(),
    };
    Some(format!("the store refuses it ({answer}): {todo}"))
}

/// Why a folder refuses an act, and what to change; `None` when the error is another one.
pub(super) fn not_allowed(error: &io::Error, path: &Path) -> Option<String> {
    let todo = match error.kind() {
        io::ErrorKind::PermissionDenied => "give this process the right to it, or name another place",
        io::ErrorKind::ReadOnlyFilesystem => "mount the disk so that it can be written, or name another place",
        _ => return None,
    };
    Some(format!("the system refuses it ({}: {error}): {todo}", path.display()))
}

/// What the system said, where an error comes from a folder.
fn system_error(error: &Error) -> Option<&io::Error> {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(said) = error.downcast_ref() {
            return Some(said);
        }
        cause = error.source();
    }
    None
}

/// Whether the bucket has no object of this name. A bucket that is not there is something else.
pub(super) fn is_no_object(error: &Error) -> bool {
    matches!(error, Error::NotFound { .. }) && !Answer::of(&error.to_string()).is_of_no_bucket()
}

/// Whether the bucket has answered, and not whoever gives out credentials.
fn is_of_bucket(error: &Error, text: &str) -> bool {
    !matches!(error, Error::Generic { .. })
        || [" list request", "elete request", "DeleteObjects"].iter().any(|of| text.contains(of))
}

/// What a store has answered, as far as it can be read from the client's words.
#[derive(Clone, Copy, Debug)]
struct Answer<'a> {
    status: Option<u16>,
    /// The name of the error.
    code: Option<&'a str>,
    /// A sentence about it.
    message: Option<&'a str>,
    /// The store has sent the client elsewhere, and did not say where.
    is_elsewhere: bool,
}

impl<'a> Answer<'a> {
    fn of(text: &'a str) -> Answer<'a> {
        let between = |from: &str, to: &str| Some(text.split_once(from)?.1.split_once(to)?.0.trim());
        let status = text.split_once("status code: ").and_then(|(_, rest)| rest.get(..3)?.parse().ok());
        let code = between("<Code>", "</Code>").or_else(|| between("(code: ", ")"));
        let message = between("<Message>", "</Message>").and_then(|message| message.lines().next());
        Answer { status, code, message, is_elsewhere: text.contains("Received redirect without LOCATION") }
    }

    fn is_of_no_bucket(&self) -> bool {
        matches!(self.code, Some("NoSuchBucket" | "ContainerNotFound" | "InvalidBucketName"))
    }

    /// What has to change; `None` when nothing is known to.
    fn change(&self, act: Act, is_of_bucket: bool) -> Option<Change> {
        match (self.code.unwrap_or_default(), self.status) {
            _ if self.is_of_no_bucket() => Some(Change::Bucket),
            ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "InvalidSecurity", _)
            | ("AuthenticationFailed" | "InvalidAuthenticationInfo" | "NoAuthenticationInformation", _)
            | ("KeyBasedAuthenticationNotPermitted", _) => Some(Change::Credentials),
            ("ExpiredToken" | "TokenRefreshRequired", _) => Some(Change::Renewal),
            ("PermanentRedirect" | "AuthorizationHeaderMalformed", _) => Some(Change::Region),
            ("RequestTimeTooSkewed" | "RequestExpired", _) => Some(Change::Clock),
            ("InvalidObjectState" | "BlobArchived" | "BlobBeingRehydrated", _) => Some(Change::Tier),
            ("AccountProblem" | "UserProjectAccountProblem" | "AccountIsDisabled", _)
            | ("AllAccessDisabled" | "NotSignedUp" | "InvalidPayer", _) => Some(Change::Account),
            _ if self.is_elsewhere => Some(Change::Region),
            // Of an object that is gone before it was replaced.
            ("NoSuchKey" | "BlobNotFound", _) => None,
            // A store that is full until somebody makes room is waited for, whatever its status.
            ("QuotaExceeded" | "StorageQuotaExceeded" | "InsufficientStorage", _) => None,
            (_, Some(401)) => Some(Change::Credentials),
            ("AccessDenied", _) | (_, Some(403)) if is_of_bucket => Some(Change::Right),
            (_, Some(403)) => Some(Change::Credentials),
            (_, Some(404)) if is_of_bucket && matches!(act, Act::List | Act::Write) => Some(Change::Bucket),
            _ => None,
        }
    }
}

impl fmt::Display for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = |text: &str, most: usize| text.chars().take(most).collect::<String>();
        let status = self.status.map(|status| status.to_string());
        let code = self.code.map(|code| cut(code, CODE_CHARS_MAX));
        let parts: Vec<String> = status.into_iter().chain(code).collect();
        f.write_str(&if parts.is_empty() { "it sends this elsewhere".to_owned() } else { parts.join(" ") })?;
        self.message.map_or(Ok(()), |message| write!(f, ", {}", cut(message, MESSAGE_CHARS_MAX).trim_end_matches('.')))
    }
}

/// The right that is missing.
fn right(store: StoreKind, act: Act, bucket: &str, prefix: &str) -> String {
    let under = if prefix.is_empty() { format!("{bucket}/*") } else { format!("{bucket}/{prefix}/*") };
    match (store, act) {
        (StoreKind::S3, Act::List) => format!("allow s3:ListBucket on {bucket}"),
        (StoreKind::S3, Act::Read) => {
            format!("allow s3:GetObject under {under} and s3:ListBucket on {bucket}")
        }
        (StoreKind::S3, Act::Write | Act::Replace) => format!("allow s3:PutObject under {under}"),
        (StoreKind::S3, Act::Delete) => format!("allow s3:DeleteObject under {under}"),
        (StoreKind::Google, _) => format!(
            "allow {} under {under}, as the role Storage Object User does",
            match act {
                Act::Read => "storage.objects.get and storage.objects.list",
                Act::Write | Act::Replace => "storage.objects.create and storage.objects.delete",
                Act::List => "storage.objects.list",
                Act::Delete => "storage.objects.delete",
            }
        ),
        (StoreKind::Azure, _) => format!(
            "allow to {} blobs of {bucket}, as the role Storage Blob Data Contributor does, and let this machine in",
            act.name()
        ),
    }
}

/// How the client is told where the bucket is.
fn region(store: StoreKind) -> &'static str {
    match store {
        StoreKind::S3 => "set AWS_REGION to the region of the bucket",
        StoreKind::Google => "set GOOGLE_BASE_URL to where the bucket is, or leave it out",
        StoreKind::Azure => "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ENDPOINT to the account of the container",
    }
}

/// Where the credentials come from.
fn credentials(store: StoreKind) -> &'static str {
    match store {
        StoreKind::S3 => {
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, with AWS_SESSION_TOKEN if they end, or give this machine or pod a role"
        }
        StoreKind::Google => "set GOOGLE_APPLICATION_CREDENTIALS, or give this machine or pod an identity",
        StoreKind::Azure => {
            "set AZURE_STORAGE_ACCOUNT_KEY or other credentials, or give this machine or pod an identity"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::object_place;

    fn told(error: &Error, act: Act) -> Option<String> {
        told_by("s3://lake/a/b", error, act)
    }

    fn told_by(place: &str, error: &Error, act: Act) -> Option<String> {
        refused(error, &object_place(place).unwrap(), (act, Path::new("/backups/log/1")))
    }

    fn status(status: &str, code: &str) -> Box<dyn std::error::Error + Send + Sync> {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>It says no.</Message></Error>");
        format!(
            "Error performing PUT http://store/lake/x in 1ms - Server returned non-2xx status code: {status}: {body}"
        )
        .into()
    }

    fn generic(status_text: &str, code: &str) -> Error {
        Error::Generic { store: "S3", source: status(status_text, code) }
    }

    fn denied(code: &str) -> Error {
        Error::PermissionDenied { path: "a/b/x".to_owned(), source: status("403 Forbidden", code) }
    }

    #[test]
    fn what_stays_until_somebody_acts_is_told_with_what_to_do() {
        for (error, act, expected) in [
            (denied("AccessDenied"), Act::Write, "(403 AccessDenied, It says no): allow s3:PutObject under lake/a/b/*"),
            (denied("AccessDenied"), Act::Read, "allow s3:GetObject under lake/a/b/* and s3:ListBucket on lake"),
            (denied("AccessDenied"), Act::Delete, "allow s3:DeleteObject under lake/a/b/*"),
            (denied("InvalidAccessKeyId"), Act::Write, "(403 InvalidAccessKeyId, It says no): set AWS_ACCESS_KEY_ID"),
            (denied("RequestTimeTooSkewed"), Act::Write, "set the clock of this machine"),
            (
                generic("400 Bad Request", "ExpiredToken"),
                Act::Write,
                "It says no): the credentials have ended: set AWS_",
            ),
            (
                generic("400 Bad Request", "TokenRefreshRequired"),
                Act::Read,
                "the credentials have ended: set AWS_ACCESS",
            ),
            (
                denied("InvalidObjectState"),
                Act::Read,
                "(403 InvalidObjectState, It says no): bring the object back from",
            ),
            (
                denied("AccountProblem"),
                Act::List,
                "It says no): settle with the provider what is wrong with the account",
            ),
            (generic("400 Bad Request", "AuthorizationHeaderMalformed"), Act::Read, "set AWS_REGION to the region"),
            (
                Error::NotFound { path: "x".to_owned(), source: status("404 Not Found", "NoSuchBucket") },
                Act::Read,
                "(404 NoSuchBucket, It says no): there is no such bucket: make it, or name another place",
            ),
        ] {
            let told = told(&error, act).unwrap();
            assert!(told.starts_with("the store refuses it (") && told.contains(expected), "{told}");
        }
        let listed = Error::Generic {
            store: "S3",
            source: format!("Error performing list request: {}", status("403 Forbidden", "AccessDenied")).into(),
        };
        assert!(told(&listed, Act::List).unwrap().ends_with(": allow s3:ListBucket on lake"));
        let deleted = Error::Generic {
            store: "S3",
            source: "DeleteObjects request failed for key x: Access Denied (code: AccessDenied)".into(),
        };
        let expected = "the store refuses it (AccessDenied): allow s3:DeleteObject under lake/a/b/*";
        assert_eq!(told(&deleted, Act::Delete).unwrap(), expected);
    }

    #[test]
    fn where_a_bucket_is_is_told_to_each_kind_of_store_in_its_own_variables() {
        let elsewhere = generic("301 Moved Permanently", "PermanentRedirect");
        for (place, expected) in [
            ("s3://lake/a", "AWS_REGION"),
            ("gs://lake/a", "GOOGLE_BASE_URL"),
            ("az://lake/a", "AZURE_STORAGE_ENDPOINT"),
        ] {
            let told = told_by(place, &elsewhere, Act::Read).unwrap();
            let todo = told.split_once("): ").unwrap().1;
            let variables = ["AWS_", "GOOGLE_", "AZURE_"].into_iter().filter(|of| todo.contains(of)).count();
            assert!(todo.contains(expected) && variables == 1, "{place}: {told}");
        }
    }

    #[test]
    fn a_folder_refuses_what_this_process_may_not_do_there_and_nothing_else() {
        let of = |kind| {
            let source = io::Error::from(kind);
            told_by("file:///backups", &Error::Generic { store: "LocalFileSystem", source: source.into() }, Act::Write)
        };
        let told = of(io::ErrorKind::PermissionDenied).unwrap();
        assert_eq!(
            told,
            "the system refuses it (/backups/log/1: permission denied): give this process the right to it, or name another \
             place"
        );
        assert!(of(io::ErrorKind::ReadOnlyFilesystem).unwrap().contains("): mount the disk so that it can be written"));
        // Somebody may make room, and a disk may answer again.
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::TimedOut, io::ErrorKind::NotFound] {
            assert_eq!(of(kind), None);
        }
    }

    #[test]
    fn what_may_pass_is_no_refusal() {
        let gone = |code: &str| Error::NotFound { path: "x".to_owned(), source: status("404 Not Found", code) };
        for error in [
            generic("503 Service Unavailable", "SlowDown"),
            generic("507 Insufficient Storage", ""),
            generic("500 Internal Server Error", "InternalError"),
            Error::Generic { store: "S3", source: "Error performing PUT: connection refused".into() },
            denied("QuotaExceeded"),
            gone("NoSuchKey"),
        ] {
            assert_eq!(told(&error, Act::Replace), None, "{error}");
        }
        assert!(is_no_object(&gone("NoSuchKey")) && is_no_object(&gone("")) && !is_no_object(&gone("NoSuchBucket")));
        assert!(!is_no_object(&denied("AccessDenied")));
    }
}
