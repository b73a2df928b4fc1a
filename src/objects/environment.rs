//! What the environment says about a bucket, in the variables that every client of such a store knows. The library believes
//! each of them: it panics over some values, and puts others into its errors. So they are checked before it has them.

use object_store::aws::AmazonS3ConfigKey as S3;
use object_store::azure::AzureConfigKey as Azure;
use object_store::gcp::GoogleConfigKey as Google;
use reqwest::Url;
use std::ffi::OsString;
use std::str::FromStr;

/// What a variable holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// What becomes a part of requests.
    Token,
    /// What becomes a part of a host's name.
    Name,
    /// The path of a file, or what no request carries.
    Text,
    /// An object as JSON.
    Json,
    /// Where a token is asked for.
    Url,
    /// Where the store is.
    Store,
}

/// The variables of a kind of store.
pub(super) trait Variable: FromStr {
    /// What their names begin with.
    const BEGINS: &'static str;
    /// A name that has another beginning.
    const ALSO: Option<&'static str>;

    fn holds(&self) -> Holds;
}

impl Variable for S3 {
    const BEGINS: &'static str = "AWS_";
    const ALSO: Option<&'static str> = None;

    fn holds(&self) -> Holds {
        match self {
            S3::Client(_) | S3::WebIdentityTokenFile | S3::ContainerAuthorizationTokenFile => Holds::Text,
            S3::Region | S3::DefaultRegion => Holds::Name,
            S3::Endpoint | S3::S3Endpoint => Holds::Store,
            S3::StsEndpoint | S3::MetadataEndpoint | S3::ContainerCredentialsFullUri => Holds::Url,
            _ => Holds::Token,
        }
    }
}

impl Variable for Google {
    const BEGINS: &'static str = "GOOGLE_";
    const ALSO: Option<&'static str> = None;

    fn holds(&self) -> Holds {
        match self {
            Google::Client(_) | Google::ServiceAccount | Google::ApplicationCredentials => Holds::Text,
            Google::ServiceAccountKey => Holds::Json,
            Google::BaseUrl => Holds::Store,
            _ => Holds::Token,
        }
    }
}

impl Variable for Azure {
    const BEGINS: &'static str = "AZURE_";
    /// With this name a service of Azure tells the processes that it runs where they get tokens.
    const ALSO: Option<&'static str> = Some("IDENTITY_ENDPOINT");

    fn holds(&self) -> Holds {
        match self {
            Azure::Client(_) | Azure::FederatedTokenFile => Holds::Text,
            Azure::AccountName => Holds::Name,
            Azure::Endpoint => Holds::Store,
            Azure::AuthorityHost | Azure::MsiEndpoint | Azure::FabricTokenServiceUrl => Holds::Url,
            _ => Holds::Token,
        }
    }
}

/// What the environment says to a client.
pub(super) struct Said<K> {
    values: Vec<(K, String)>,
    /// Whether the store may be reached without TLS.
    pub(super) is_plain: bool,
}

impl<K> Said<K> {
    /// The client that has all of it.
    pub(super) fn to<B>(self, builder: B, with: impl Fn(B, K, String) -> B) -> B {
        self.values.into_iter().fold(builder, |builder, (key, value)| with(builder, key, value))
    }
}

/// What these variables say. A variable without a value is one that is not set.
///
/// # Errors
/// Names a variable whose value no request can carry, whose URL would put a secret into log lines, or that names a store
/// without TLS although nothing allows it.
pub(super) fn said<K: Variable>(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<Said<K>, String> {
    let allows = format!("{}ALLOW_HTTP", K::BEGINS);
    let (mut values, mut is_plain, mut in_the_clear) = (Vec::new(), false, None);
    for (name, value) in variables.filter(|(_, value)| !value.is_empty()) {
        let is_one = |name: &&str| name.starts_with(K::BEGINS) || K::ALSO == Some(*name);
        let Some(name) = name.to_str().filter(is_one) else { continue };
        let Ok(key) = name.to_ascii_lowercase().parse::<K>() else { continue };
        let value = value.to_str().ok_or_else(|| format!("{name} is not UTF-8"))?;
        let holds = key.holds();
        check(holds, value).map_err(|why| format!("{name} {why}"))?;
        is_plain |= name == allows && value == "true";
        if holds == Holds::Store && value.starts_with("http://") {
            in_the_clear = Some(name.to_owned());
        }
        values.push((key, value.to_owned()));
    }
    match in_the_clear.filter(|_| !is_plain) {
        Some(name) => Err(format!("{name} begins with http://: set {allows}=true, or name an https:// URL")),
        None => Ok(Said { values, is_plain }),
    }
}

fn check(holds: Holds, value: &str) -> Result<(), &'static str> {
    match holds {
        Holds::Text => Ok(()),
        Holds::Json => match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(value) {
            Ok(_) => Ok(()),
            Err(_) => Err("is no JSON object, as the key of a service account is"),
        },
        _ if !value.chars().all(|c| c.is_ascii_graphic()) => {
            Err("has a character that no request can carry, as a line break at its end would be")
        }
        Holds::Name if value.chars().any(|c| !c.is_ascii_alphanumeric() && c != '-') => {
            Err("has another character than letters, digits and -")
        }
        Holds::Url | Holds::Store => is_base(value),
        Holds::Name | Holds::Token => Ok(()),
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

    fn of<K: Variable>(name: &str, value: impl Into<OsString>) -> Result<(), String> {
        said::<K>([(OsString::from(name), value.into())].into_iter()).map(drop)
    }

    fn told(name: &str, value: impl Into<OsString>) -> Result<(), String> {
        match name.split('_').next() {
            Some("GOOGLE") => of::<Google>(name, value),
            Some("AZURE" | "IDENTITY") => of::<Azure>(name, value),
            _ => of::<S3>(name, value),
        }
    }

    /// The story: a secret of Kubernetes was made from a file that ends with a line break, and ended every process that
    /// used it.
    #[test]
    fn a_value_that_no_request_can_carry_is_named_and_not_told() {
        for name in [
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "AWS_REGION",
            "AWS_ROLE_ARN",
            "GOOGLE_BEARER_TOKEN",
            "AZURE_STORAGE_ACCOUNT_NAME",
            "AZURE_STORAGE_ACCOUNT_KEY",
            "AZURE_STORAGE_SAS_TOKEN",
            "AZURE_STORAGE_TOKEN",
            "AZURE_CLIENT_ID",
            "AZURE_CLIENT_SECRET",
            "AZURE_TENANT_ID",
        ] {
            for value in ["hidden\n", "hid\u{7}den", "hid den", "hiddén"] {
                let why = told(name, value).unwrap_err();
                assert!(why.starts_with(&format!("{name} has a character that no request can carry")), "{why}");
                assert!(!why.contains("hid"), "{why}");
            }
            assert_eq!(told(name, "us-east-1"), Ok(()));
            assert_eq!(told(name, ""), Ok(()), "an empty variable is not set");
        }
        for name in ["AWS_REGION", "AZURE_STORAGE_ACCOUNT_NAME"] {
            assert_eq!(told(name, "a/b"), Err(format!("{name} has another character than letters, digits and -")));
        }
        for value in ["hidden", "\"hidden\"", "[\"hidden\"]", "{\"private_key\": \"hidden\""] {
            let why = told("GOOGLE_SERVICE_ACCOUNT_KEY", value).unwrap_err();
            assert_eq!(why, "GOOGLE_SERVICE_ACCOUNT_KEY is no JSON object, as the key of a service account is");
        }
        assert_eq!(told("GOOGLE_SERVICE_ACCOUNT_KEY", "{\"private_key\":\n \"k\"}\n"), Ok(()));
        let not_utf8 = OsString::from_vec(vec![0xff, b'k']);
        assert_eq!(told("AWS_ACCESS_KEY_ID", not_utf8), Err("AWS_ACCESS_KEY_ID is not UTF-8".to_owned()));
    }

    #[test]
    fn an_endpoint_is_a_url_without_a_secret() {
        for (name, is_store) in [
            ("AWS_ENDPOINT", true),
            ("AWS_ENDPOINT_URL", true),
            ("AWS_ENDPOINT_URL_S3", true),
            ("AWS_Endpoint", true),
            ("AWS_ENDPOINT_URL_STS", false),
            ("AWS_METADATA_ENDPOINT", false),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", false),
            ("GOOGLE_BASE_URL", true),
            ("AZURE_STORAGE_ENDPOINT", true),
            ("AZURE_ENDPOINT", true),
            ("AZURE_AUTHORITY_HOST", false),
            ("AZURE_MSI_ENDPOINT", false),
            ("IDENTITY_ENDPOINT", false),
        ] {
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
            assert_eq!(told(name, "https://s3.example.com/base/"), Ok(()), "{name}");
            let plain = told(name, "http://127.0.0.1:9000");
            assert_eq!(plain.is_err_and(|why| why.contains("ALLOW_HTTP=true")), is_store, "{name}");
        }
    }

    #[test]
    fn a_store_without_tls_is_reached_only_when_that_is_said() {
        let said = |allows: &str| {
            let named = [("GOOGLE_BASE_URL", "http://127.0.0.1:1"), ("GOOGLE_ALLOW_HTTP", allows)];
            said::<Google>(named.map(|(name, value)| (name.into(), value.into())).into_iter())
        };
        assert!(said("true").is_ok_and(|said| said.is_plain));
        for allows in ["", "false", "yes"] {
            let why = said(allows).map(drop).unwrap_err();
            let expected = "GOOGLE_BASE_URL begins with http://: set GOOGLE_ALLOW_HTTP=true, or name an https:// URL";
            assert_eq!(why, expected);
        }
    }

    #[test]
    fn what_is_not_for_the_client_is_not_looked_at() {
        for name in ["AWS_PROFILE", "HOME", "aws_access_key_id", "GOOGLE_CLOUD_PROJECT", "AZURE_CONFIG_DIR"] {
            assert_eq!(told(name, "any\nthing"), Ok(()), "{name}");
        }
        for name in ["AWS_WEB_IDENTITY_TOKEN_FILE", "GOOGLE_APPLICATION_CREDENTIALS", "AZURE_FEDERATED_TOKEN_FILE"] {
            assert_eq!(told(name, "/var/run/töken"), Ok(()));
        }
    }
}
