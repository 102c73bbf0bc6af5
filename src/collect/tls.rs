//! TLS for what is not asked over the HTTP seam.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::CollectError;
use crate::transport::{certificate_advice, tls_error, usable_roots};

/// The server has to show a certificate for its name, of an authority compiled in or one of `extra_roots`.
///
/// # Errors
///
/// Extra roots that cannot be used.
pub(super) fn verified(extra_roots: Option<&[u8]>) -> Result<Arc<ClientConfig>, CollectError> {
    let mut roots = RootCertStore::empty();
    let compiled_in = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned();
    roots.add_parsable_certificates(compiled_in);
    if let Some(pem) = extra_roots {
        roots.add_parsable_certificates(usable_roots(pem).ok_or(CollectError::Roots)?);
    }
    let config = builder().with_root_certificates(roots);
    Ok(Arc::new(config.with_no_client_auth()))
}

/// Whatever certificate the server shows is accepted: what `sslmode=require` and `prefer` mean.
pub(super) fn encrypted_only() -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let config = builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)));
    Arc::new(config.with_no_client_auth())
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has what they take")
}

/// Asks nothing of a certificate but that whoever shows it has its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The name that a certificate has to be for.
///
/// # Errors
///
/// A host that no certificate can be for.
pub(super) fn server_name(
    host: &str,
    service: &'static str,
) -> Result<ServerName<'static>, CollectError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(bare.to_owned()).map_err(|_| CollectError::Address {
        service,
        problem: "expected a host name or an IP address that a certificate can be for",
    })
}

/// What a failure means in which TLS may have had a part; `None` where it had none.
pub(super) fn failure<E>(peer: &str, error: E) -> Result<CollectError, E>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let Some(advice) = tls_error(&error).map(certificate_advice) else {
        return Err(error);
    };
    Ok(CollectError::Tls {
        peer: peer.to_owned(),
        advice: advice.into(),
        source: Box::new(error),
    })
}
