//! Where objects are written: a folder, or a bucket.

use std::fmt;
use std::path::PathBuf;

/// How a place is named.
pub(crate) const PLACES: &str = "file:///FOLDER, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX";
/// Hosts of an account in the URL of an Azure container, after its name.
const AZURE_HOSTS: [&str; 2] = ["dfs.core.windows.net", "blob.core.windows.net"];

/// A place for objects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ObjectPlace {
    /// A folder, which is there already.
    Folder(PathBuf),
    /// A bucket. How it is reached is in the environment, as for every client of such a store.
    Bucket {
        /// The kind of store.
        store: StoreKind,
        /// The bucket as a URL, without a slash at its end.
        url: String,
        /// What the names of its objects begin with, without a slash at its end.
        prefix: String,
    },
}

/// A kind of store, by what is spoken with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreKind {
    /// Amazon S3, and all that speak it.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage, whose buckets are called containers.
    Azure,
}

impl fmt::Display for ObjectPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ObjectPlace::Folder(dir) => write!(f, "file://{}", dir.display()),
            ObjectPlace::Bucket { url, prefix, .. } => write!(f, "{url}/{prefix}"),
        }
    }
}

/// The place that a text names.
///
/// # Errors
/// What a place looks like.
pub fn place(text: &str) -> Result<ObjectPlace, String> {
    if let Some(dir) = text.strip_prefix("file://").filter(|dir| dir.starts_with('/')) {
        return Ok(ObjectPlace::Folder(PathBuf::from(dir)));
    }
    bucket(text).ok_or_else(|| format!("is no place like {PLACES}, of letters, digits, -, _ and ."))
}

fn bucket(text: &str) -> Option<ObjectPlace> {
    let (scheme, rest) = text.split_once("://")?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_end_matches('/');
    let (store, is_bucket) = match scheme {
        "s3" => (StoreKind::S3, is_name(bucket)),
        "gs" => (StoreKind::Google, is_name(bucket)),
        "az" | "abfs" | "abfss" => (StoreKind::Azure, is_container(bucket)),
        _ => return None,
    };
    let is_place = is_bucket && (prefix.is_empty() || prefix.split('/').all(is_name));
    is_place.then(|| ObjectPlace::Bucket { store, url: format!("{scheme}://{bucket}"), prefix: prefix.to_owned() })
}

fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    text.chars().all(is_plain) && text.chars().any(|c| c.is_ascii_alphanumeric())
}

/// A container, or one with its account as in `CONTAINER@ACCOUNT.dfs.core.windows.net`.
fn is_container(text: &str) -> bool {
    let is_one = |name: &str| is_name(name) && !name.contains(['.', '_']);
    match text.split_once('@') {
        None => is_one(text),
        Some((container, host)) => host
            .split_once('.')
            .is_some_and(|(account, rest)| is_one(container) && is_one(account) && AZURE_HOSTS.contains(&rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_folder_or_a_bucket_of_one_of_three_kinds() {
        assert_eq!(place("file:///srv/lake"), Ok(ObjectPlace::Folder(PathBuf::from("/srv/lake"))));
        for (text, kind) in [
            ("s3://shop-prod/headroom", StoreKind::S3),
            ("s3://shop/a/b.c", StoreKind::S3),
            ("gs://shop_prod.example.com/headroom", StoreKind::Google),
            ("az://shop/headroom", StoreKind::Azure),
            ("abfs://shop/headroom", StoreKind::Azure),
            ("abfss://shop@account.dfs.core.windows.net/a/b", StoreKind::Azure),
            ("az://shop@account.blob.core.windows.net/a", StoreKind::Azure),
        ] {
            let found = place(text).unwrap();
            assert!(matches!(found, ObjectPlace::Bucket { store, .. } if store == kind), "{text}");
            assert_eq!(found.to_string(), text);
        }
        assert_eq!(place("s3://shop").unwrap(), place("s3://shop/").unwrap());
        for bad in [
            "",
            "/srv/lake",
            "file://srv/lake",
            "http://shop/x",
            "s3://",
            "s3:///x",
            "s3://a/b//c",
            "s3://k:s@a/b",
            "s3://..",
            "s3://a/../b",
            "s3://a b",
            "s3://a/b?c",
            "gs://k@a/b",
            "gs://",
            "az://a.b/c",
            "az://a_b/c",
            "az://a@b/c",
            "az://a@b.example.com/c",
            "az://a@b.c.dfs.core.windows.net/d",
            "az://a:b@c.dfs.core.windows.net/d",
            "adl://a/b",
        ] {
            let why = place(bad).unwrap_err();
            assert!(why.starts_with("is no place like file:///FOLDER, s3://"), "{bad}: {why}");
        }
    }
}
