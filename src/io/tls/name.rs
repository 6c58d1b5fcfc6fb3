//! The name in a certificate that somebody has shown.

use std::rc::Rc;

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::{PrintableStringRef, Utf8StringRef};
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// The common name of its subject, or else the first DNS name, mail address or URI that it is made out to.
/// `None`: it has neither, or one that is empty or no text.
pub fn name_of(certificate: &CertificateDer<'_>) -> Option<Rc<str>> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let tbs = certificate.tbs_certificate();
    let mut attributes = tbs.subject().iter().filter(|attribute| attribute.oid == COMMON_NAME);
    if let Some(attribute) = attributes.next() {
        let value = &attribute.value;
        let utf8 = value.decode_as::<Utf8StringRef<'_>>().map(|text| text.as_str().into());
        let text = || value.decode_as::<PrintableStringRef<'_>>().map(|text| text.as_str().into());
        let name: Option<Rc<str>> = utf8.or_else(|_| text()).ok();
        return name.filter(|name| !name.is_empty());
    }
    let (_, names) = tbs.get_extension::<SubjectAltName>().ok()??;
    names.0.iter().find_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.as_str().into()),
        GeneralName::Rfc822Name(name) => Some(name.as_str().into()),
        GeneralName::UniformResourceIdentifier(name) => Some(name.as_str().into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair};

    use super::*;

    fn made(names: &[&str], common: Option<DnValue>) -> CertificateDer<'static> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("good names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        common
            .into_iter()
            .for_each(|name| params.distinguished_name.push(DnType::CommonName, name));
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().clone()
    }

    #[test]
    fn a_certificate_has_the_name_of_its_subject_or_else_the_first_that_it_is_made_out_to() {
        let utf8 = |text: &str| Some(DnValue::Utf8String(text.into()));
        let printable = DnValue::PrintableString("prom 1".try_into().expect("letters"));
        for (names, common, expected) in [
            (&["a.example", "b.example"][..], utf8("prom-\u{e4}"), Some("prom-\u{e4}")),
            (&["a.example"], Some(printable), Some("prom 1")),
            (&["a.example", "b.example"], None, Some("a.example")),
            (&["127.0.0.1", "b.example"], None, Some("b.example")),
            (&["127.0.0.1"], None, None),
            (&[], None, None),
            (&["a.example"], utf8(""), None),
        ] {
            assert_eq!(name_of(&made(names, common)).as_deref(), expected, "{names:?}");
        }
        assert_eq!(name_of(&CertificateDer::from(vec![0x30, 0x80, 1])), None);
    }
}
