//! The settings of TLS, and the checks of those that depend on each other.

use super::auth::file;
use super::{Checking, Setting, either};
use std::path::PathBuf;

/// The files of TLS, all in PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tls {
    /// The certificate of the server, followed by those of the authorities between it and a known one.
    pub certificate: PathBuf,
    /// The private key of that certificate.
    pub key: PathBuf,
    /// The authorities that sign client certificates; `None`: no client is asked for one.
    pub client_ca: Option<PathBuf>,
    /// Whether a client without a certificate is turned away.
    pub is_client_required: bool,
}

/// The files; `None` when TLS is off, or when a problem was noted.
pub(super) fn check(checking: &mut Checking<'_>) -> Option<Tls> {
    let certificate = checking.optional(Setting::TlsCertificate, file);
    let key = checking.optional(Setting::TlsKey, file);
    let client_ca = checking.optional(Setting::TlsClientCa, file);
    let is_client_required =
        checking.setting(Setting::TlsClientAuth, |text| either(text, [("required", true), ("optional", false)]));
    if checking.is_changed(Setting::TlsClientAuth) && !checking.is_given(Setting::TlsClientCa) {
        checking.clash(Setting::TlsClientAuth, "is set, and tls_client_ca is not");
    }
    for (setting, needs) in [
        (Setting::TlsCertificate, Setting::TlsKey),
        (Setting::TlsKey, Setting::TlsCertificate),
        (Setting::TlsClientCa, Setting::TlsCertificate),
    ] {
        if !checking.is_given(needs) {
            checking.clash(setting, format_args!("needs {} as well", needs.name()));
        }
    }
    Some(Tls { certificate: certificate?, key: key?, client_ca, is_client_required: is_client_required? })
}

#[cfg(test)]
mod tests {
    use crate::config::Setting;
    use crate::config::tests::check;

    #[test]
    fn tls_needs_both_files_and_asks_clients_only_with_an_authority() {
        use Setting::{TlsCertificate, TlsClientAuth, TlsClientCa, TlsKey};
        assert_eq!(check(&[]).unwrap().tls, None);
        let pair = [(TlsCertificate, "c.pem"), (TlsKey, "k.pem")];
        let tls = check(&pair).unwrap().tls.unwrap();
        assert_eq!((tls.client_ca, tls.is_client_required), (None, true));
        let tls = check(&[pair[0], pair[1], (TlsClientCa, "ca.pem"), (TlsClientAuth, "optional")]).unwrap().tls;
        assert!(tls.is_some_and(|tls| tls.client_ca.is_some() && !tls.is_client_required));
        for (settings, problem) in [
            (&pair[..1], "tls_certificate needs tls_key as well"),
            (&pair[1..], "tls_key needs tls_certificate as well"),
            (&[(TlsClientCa, "ca.pem")][..], "tls_client_ca needs tls_certificate as well"),
            (&[pair[0], pair[1], (TlsClientAuth, "optional")], "tls_client_auth is set, and tls_client_ca is not"),
            (&[(TlsClientAuth, "maybe")], "is neither required nor optional"),
            (&[(TlsKey, "")], "is empty: give the path of a file"),
        ] {
            let problems = check(settings).unwrap_err();
            assert!(problems.contains(problem), "{problem} in\n{problems}");
        }
    }
}
