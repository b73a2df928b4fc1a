//! Where objects are written: a folder, or a bucket.

use std::fmt;
use std::path::PathBuf;

/// A place for objects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ObjectPlace {
    /// A folder, which is there already.
    Folder(PathBuf),
    /// A bucket that speaks S3. How it is reached is in the environment, as for every client of AWS.
    S3 {
        /// The name that the bucket has in its store.
        bucket: String,
        /// What the names of its objects begin with, without a slash at its end.
        prefix: String,
    },
}

impl fmt::Display for ObjectPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ObjectPlace::Folder(dir) => write!(f, "file://{}", dir.display()),
            ObjectPlace::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
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
    let bucket = text.strip_prefix("s3://").map(|rest| rest.split_once('/').unwrap_or((rest, "")));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_name = |text: &str| text.chars().all(is_plain) && text.chars().any(|c| c.is_ascii_alphanumeric());
    match bucket.map(|(bucket, prefix)| (bucket, prefix.trim_end_matches('/'))) {
        Some((bucket, prefix)) if is_name(bucket) && (prefix.is_empty() || prefix.split('/').all(is_name)) => {
            Ok(ObjectPlace::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
        }
        _ => Err("is neither file:///FOLDER nor s3://BUCKET/PREFIX of letters, digits, -, _ and .".to_owned()),
    }
}
