//! What the environment says about a bucket, in the variables that every client of AWS knows. The library believes each of
//! them: it panics over some values, and puts others into its errors. So they are checked before it has them.

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey as Key};
use reqwest::Url;
use std::ffi::OsString;

/// A client that has what these variables say. A variable without a value is one that is not set.
///
/// # Errors
/// Names a variable whose value no request can carry, or whose URL would put a secret into log lines.
pub(super) fn builder(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<AmazonS3Builder, String> {
    let mut builder = AmazonS3Builder::new();
    for (name, value) in variables.filter(|(_, value)| !value.is_empty()) {
        let Some(name) = name.to_str().filter(|name| name.starts_with("AWS_")) else { continue };
        let Ok(key) = name.to_ascii_lowercase().parse::<Key>() else { continue };
        let value = value.to_str().ok_or_else(|| format!("{name} is not UTF-8"))?;
        check(key, value).map_err(|why| format!("{name} {why}"))?;
        builder = builder.with_config(key, value);
    }
    Ok(builder)
}

/// The variable that names a store which is reached without TLS; `None` when there is none.
pub(super) fn in_the_clear(mut variables: impl Iterator<Item = (OsString, OsString)>) -> Option<String> {
    variables.find_map(|(name, value)| {
        let name = name.to_str().filter(|name| name.starts_with("AWS_"))?;
        let key = name.to_ascii_lowercase().parse::<Key>().ok()?;
        let is_plain = value.to_str()?.starts_with("http://");
        (is_plain && matches!(key, Key::Endpoint | Key::S3Endpoint)).then(|| name.to_owned())
    })
}

fn check(key: Key, value: &str) -> Result<(), &'static str> {
    match key {
        Key::Client(_) | Key::WebIdentityTokenFile | Key::ContainerAuthorizationTokenFile => Ok(()),
        _ if !value.chars().all(|c| c.is_ascii_graphic()) => {
            Err("has a character that no request can carry, as a line break at its end would be")
        }
        Key::Region | Key::DefaultRegion if value.chars().any(|c| !c.is_ascii_alphanumeric() && c != '-') => {
            Err("is no region: it has another character than letters, digits and -")
        }
        Key::Endpoint | Key::S3Endpoint | Key::StsEndpoint | Key::MetadataEndpoint => is_base(value),
        Key::ContainerCredentialsFullUri => is_base(value),
        _ => Ok(()),
    }
}

/// Whether it is a URL to which a path can be added, and which log lines may tell.
fn is_base(value: &str) -> Result<(), &'static str> {
    match Url::parse(value) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() || value.contains('@') => {
            Err("has a user in it, which log lines would tell")
        }
        Ok(url) if url.query().is_some() || url.fragment().is_some() => {
            Err("has a query or a fragment, which log lines would tell")
        }
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(()),
        _ => Err("is no URL like https://HOST:PORT"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn told(name: &str, value: impl Into<OsString>) -> Result<(), String> {
        builder([(OsString::from(name), value.into())].into_iter()).map(drop)
    }

    /// The story: a secret of Kubernetes was made from a file that ends with a line break, and ended every process that
    /// used it.
    #[test]
    fn a_value_that_no_request_can_carry_is_named_and_not_told() {
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_ROLE_ARN"] {
            for value in ["hidden\n", "hid\u{7}den", "hid den", "hiddén"] {
                let why = told(name, value).unwrap_err();
                assert!(why.starts_with(&format!("{name} has a character that no request can carry")), "{why}");
                assert!(!why.contains("hid"), "{why}");
            }
            assert_eq!(told(name, "us-east-1"), Ok(()));
            assert_eq!(told(name, ""), Ok(()), "an empty variable is not set");
        }
        assert_eq!(told("AWS_REGION", "eu/west").unwrap_err().split(':').next(), Some("AWS_REGION is no region"));
        let not_utf8 = OsString::from_vec(vec![0xff, b'k']);
        assert_eq!(told("AWS_ACCESS_KEY_ID", not_utf8), Err("AWS_ACCESS_KEY_ID is not UTF-8".to_owned()));
    }

    #[test]
    fn an_endpoint_is_a_url_without_a_secret() {
        let names = ["AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_STS", "AWS_Endpoint"];
        let more = ["AWS_METADATA_ENDPOINT", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];
        for name in names.into_iter().chain(more) {
            for (value, why) in [
                ("store", "is no URL like"),
                ("store:9000", "is no URL like"),
                ("ftp://store", "is no URL like"),
                ("http://", "is no URL like"),
                ("https://key:secret@store", "has a user in it"),
                ("https://store/?token=secret", "has a query or a fragment"),
                ("https://store/#secret", "has a query or a fragment"),
                ("https://store\n", "has a character that no request can carry"),
            ] {
                let told = told(name, value).unwrap_err();
                assert!(told.starts_with(&format!("{name} {why}")) && !told.contains("secret"), "{value}: {told}");
            }
            for value in ["http://127.0.0.1:9000", "https://s3.example.com/base/"] {
                assert_eq!(told(name, value), Ok(()), "{value}");
            }
        }
    }

    #[test]
    fn what_is_not_for_the_client_is_not_looked_at() {
        for name in ["AWS_PROFILE", "HOME", "aws_access_key_id"] {
            assert_eq!(told(name, "any\nthing"), Ok(()), "{name}");
        }
        assert_eq!(told("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/töken"), Ok(()));
    }
}
