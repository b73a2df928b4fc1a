//! How an issuer is asked for its keys.

use reqwest::Url;

/// Checks that what is read from this URL cannot be changed on its way: it has to be `https`, or `http` to this machine.
///
/// # Errors
/// What is wrong, for a person.
pub fn check_url(text: &str) -> Result<(), String> {
    let url: Url = text.parse().map_err(|_| "is not a URL".to_owned())?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_local = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_local => Ok(()),
        "http" => Err("has to begin with https://: keys that are read over plain HTTP can be replaced".to_owned()),
        _ => Err("has to begin with https://".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_of_https_or_of_this_machine() {
        for good in ["https://id.example/realm", "http://127.0.0.1:80/x", "http://localhost/x", "http://[::1]:9/x"] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for bad in ["http://id.example", "ftp://localhost", "id.example", "", "http://127.0.0.1.example/", "file:///x"]
        {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }
}
