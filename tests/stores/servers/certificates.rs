//! TLS certificates for tests: a trusted authority with server and client certificates for
//! 127.0.0.1, faulty certificates, and a second authority that no store trusts.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use tempfile::TempDir;

/// A temporary folder with PEM files.
#[derive(Debug)]
pub(crate) struct Certificates {
    folder: TempDir,
}

impl Certificates {
    pub(crate) fn make() -> Self {
        let made = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        made.make_again();
        made
    }

    /// Replaces all files with new certificates of new authorities.
    pub(crate) fn make_again(&self) {
        let authority = self.authority("ca");
        let stranger = self.authority("stranger");
        let here = ["127.0.0.1", "localhost"];
        self.certificate("server", &here, false, &authority);
        self.certificate("client", &here, false, &authority);
        self.certificate("expired", &here, true, &authority);
        self.certificate("elsewhere", &["elsewhere.example"], false, &authority);
        self.certificate("foreign", &here, false, &stranger);
    }

    fn certificate(
        &self,
        name: &str,
        hosts: &[&str],
        is_expired: bool,
        authority: &Issuer<'static, KeyPair>,
    ) {
        let key = KeyPair::generate().unwrap();
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        // etcd also connects to itself as a client, so every certificate has both usages.
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        if is_expired {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let certificate = params.signed_by(&key, authority).unwrap();
        self.write(&format!("{name}.pem"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    fn authority(&self, name: &str) -> Issuer<'static, KeyPair> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self.write(
            &format!("{name}.pem"),
            &params.self_signed(&key).unwrap().pem(),
        );
        Issuer::new(params, key)
    }

    pub(crate) fn write(&self, name: &str, pem: &str) {
        std::fs::write(self.path(name), pem).unwrap();
    }

    /// Returns the path of a file in the folder. Authorities: `ca.pem` and `stranger.pem`.
    /// Certificates, each with `.pem` and `.key`: `server`, `client`, `expired`, `elsewhere` (for
    /// another host) and `foreign` (signed by `stranger`).
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
