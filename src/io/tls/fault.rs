//! What can be wrong with a TLS connection, in the words of the log.
//!
//! Told apart is what an operator would mend in different places: our files, the endpoint's
//! certificate, the URL.

use std::error::Error;
use std::fmt;

use rustls::{AlertDescription, CertificateError};

/// Why there is no TLS connection, or no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// What it says is not TLS: perhaps it is plain HTTP.
    NotTls,
    /// It speaks no version, or no cipher, that we speak.
    NothingInCommon,
    /// Nobody whom we trust has signed its certificate.
    UnknownIssuer,
    /// Its certificate is made out to another name.
    WrongName,
    /// Its certificate is not valid any more.
    Expired,
    /// Its certificate is not valid yet.
    NotYetValid,
    /// Its certificate is bad in this way.
    BadCertificate(&'static str),
    /// It refuses: our certificate, or what we ask for.
    Refused(AlertDescription),
    /// It closed the connection in the handshake.
    Closed,
    /// It took too long for the handshake.
    Slow,
    /// It closed the connection, or something on the way did, without saying that this is the end.
    Truncated,
    /// It broke the rules of TLS, or something on the way changed its bytes.
    Broken,
}

impl TlsFault {
    /// What an error of rustls means, in the handshake or after it.
    pub fn of(error: &rustls::Error, is_handshake: bool) -> TlsFault {
        match error {
            rustls::Error::InvalidCertificate(error) => TlsFault::of_certificate(error),
            rustls::Error::NoCertificatesPresented => TlsFault::BadCertificate("is missing"),
            rustls::Error::AlertReceived(alert) => TlsFault::Refused(*alert),
            rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol => {
                TlsFault::NothingInCommon
            }
            rustls::Error::InvalidMessage(_) if is_handshake => TlsFault::NotTls,
            _ => TlsFault::Broken,
        }
    }

    fn of_certificate(error: &CertificateError) -> TlsFault {
        match error {
            // The latter of an authority that has the name of one that is trusted, and another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                TlsFault::UnknownIssuer
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                TlsFault::WrongName
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                TlsFault::Expired
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                TlsFault::NotYetValid
            }
            CertificateError::BadEncoding => TlsFault::BadCertificate("can't be read"),
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                TlsFault::BadCertificate("is made out for another use")
            }
            CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
                TlsFault::BadCertificate("is signed in a way that is not known or not safe")
            }
            CertificateError::Other(_) => {
                TlsFault::BadCertificate("is an authority's, or breaks another rule of X.509")
            }
            _ => TlsFault::BadCertificate("is not acceptable"),
        }
    }
}

impl TlsFault {
    /// In a sentence about whoever is at the other end.
    pub fn of_whom(self, who: &str) -> String {
        match self {
            TlsFault::NotTls => format!("{who} does not speak TLS"),
            TlsFault::NothingInCommon => format!("{who} speaks no TLS that we speak"),
            TlsFault::UnknownIssuer => {
                format!("{who}'s certificate is not trusted: nobody known has signed it")
            }
            TlsFault::WrongName => format!("{who}'s certificate is made out to another name"),
            TlsFault::Expired => format!("{who}'s certificate has expired"),
            TlsFault::NotYetValid => format!("{who}'s certificate is not valid yet"),
            TlsFault::BadCertificate(how) => format!("{who}'s certificate {how}"),
            TlsFault::Refused(alert) => format!("{who} refuses the TLS connection: {alert:?}"),
            TlsFault::Closed => format!("{who} closes the connection in the TLS handshake"),
            TlsFault::Slow => format!("{who} took too long for the TLS handshake"),
            TlsFault::Truncated => format!("{who} closed the connection without an end of TLS"),
            TlsFault::Broken => format!("{who}'s TLS is broken"),
        }
    }
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.of_whom("endpoint"))
    }
}

impl Error for TlsFault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_what_is_to_be_mended() {
        let of = |error| TlsFault::of(&rustls::Error::InvalidCertificate(error), true).to_string();
        let cases = [
            (of(CertificateError::UnknownIssuer), "nobody known"),
            (of(CertificateError::BadSignature), "nobody known"),
            (of(CertificateError::Expired), "has expired"),
            (of(CertificateError::NotValidYet), "not valid yet"),
            (of(CertificateError::NotValidForName), "another name"),
            (of(CertificateError::InvalidPurpose), "for another use"),
            (
                TlsFault::Refused(AlertDescription::CertificateRequired).to_string(),
                "refuses the TLS connection: CertificateRequired",
            ),
        ];
        for (text, expected) in cases {
            assert!(text.starts_with("endpoint") && text.contains(expected), "{text}");
        }
    }
}
