//! What a TLS error means to whoever runs this program.

use std::{error::Error as StdError, io};

use rustls::{CertificateError, Error as TlsError};

/// How many causes of an error are looked at.
const CAUSE_LIMIT: usize = 16;

/// What rustls says of a certificate with `CA:TRUE` that a server shows as its own.
const IS_AN_AUTHORITY: &str = "CaUsedAsEndEntity";

/// The error of rustls among the causes of `error`.
#[must_use]
pub fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a TlsError> {
    let mut cause = Some(error);
    for _ in 0..CAUSE_LIMIT {
        let error = cause?;
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        // An I/O error's `source()` leaves its own inner error out.
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        cause = match inner {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}

/// What to do about a server's certificate that is not accepted: empty, or text that goes on after a semicolon.
#[must_use]
pub fn certificate_advice(error: &TlsError) -> &'static str {
    match error {
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "; if the certificate is self-signed or issued by your own CA, and you trust it, set `SSL_CERT_FILE` to a PEM file with it"
        }
        TlsError::InvalidCertificate(CertificateError::Other(other))
            if other.to_string().contains(IS_AN_AUTHORITY) =>
        {
            "; the server uses a CA certificate (CA:TRUE) as its own: create a self-signed one with `-addext basicConstraints=critical,CA:FALSE`, and set `SSL_CERT_FILE` to a PEM file with it"
        }
        TlsError::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => "; is the clock of this machine right?",
        TlsError::InvalidMessage(_) => "; does the server speak TLS on this port?",
        _ => "",
    }
}
