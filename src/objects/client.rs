//! The client of a bucket, of each kind of store.

use super::environment::{self, Said};
use crate::causes::causes;
use crate::config::StoreKind;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

/// Makes a client of the bucket at this URL. The store is not called yet.
///
/// # Errors
/// Why there cannot be one, in words.
pub(super) fn client(
    (store, url): (StoreKind, &str),
    variables: impl Iterator<Item = (OsString, OsString)>,
    connect_limit: Duration,
) -> Result<Arc<dyn ObjectStore>, String> {
    // A call is tried again by who made it, with pauses that grow. Its time is limited there as well.
    let no_retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let options = |is_plain| {
        ClientOptions::new().with_timeout_disabled().with_connect_timeout(connect_limit).with_allow_http(is_plain)
    };
    // The builders have the same methods and no trait for them.
    macro_rules! built {
        ($builder:ident) => {{
            let said: Said<_> = environment::said(variables)?;
            let options = options(said.is_plain);
            let builder = said.to($builder::new(), |builder, key, value| builder.with_config(key, value));
            let builder = builder.with_url(url).with_retry(no_retry).with_client_options(options);
            Arc::new(builder.build().map_err(|error| causes(&error))?)
        }};
    }
    Ok(match store {
        StoreKind::S3 => built!(AmazonS3Builder),
        StoreKind::Google => built!(GoogleCloudStorageBuilder),
        StoreKind::Azure => built!(MicrosoftAzureBuilder),
    })
}
